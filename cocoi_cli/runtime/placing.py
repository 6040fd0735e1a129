"""Bringing programs and weights to agents, without waiting for those that are late.

As with shares, enough is enough: once k agents hold everything, the others have a little
longer, and whoever is not ready then joins when it is. A device that vanishes at this
moment costs no more than one that vanishes in the middle of a stage.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Protocol

from cocoi_cli.runtime.codewords import Patience
from cocoi_cli.runtime.link_errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cocoi_cli.runtime.link import AgentLink, Program

# Agents share the host's line, so they end together unless something is wrong with one of them. A second is
# nothing beside what weights take, and more than a loaded machine needs to answer a question.
LATE: Final = Patience(1.5, 1.0)


class Owner(Protocol):
    """Who hands out work, and is told who can take it."""

    def occupied(self, agent: str) -> None:
        """An agent can take no share for now."""

    def ready(self, agent: str) -> None:
        """It can again."""

    def lost(self, link: AgentLink, cause: str) -> None:
        """It never will."""


class Placing:
    """Keeps agents up to date; one that is late goes on in the background."""

    def __init__(self, owner: Owner) -> None:
        """Nothing is placed yet; `owner` hears of late, ready and lost agents."""
        self._owner = owner
        self._tasks: dict[str, asyncio.Task[bool]] = {}  # of each agent the latest

    async def place(
        self,
        links: Iterable[AgentLink],
        programs: Mapping[str, Sequence[Program]],
        blobs: Mapping[str, bytes | memoryview],
        enough: int,
    ) -> tuple[str, ...]:
        """Bring agents up to date; one that refuses is given up, with its reason kept.

        Args:
            links: To the living agents.
            programs: What each must hold, by agent.
            blobs: Every blob that the programs name, by SHA-256; borrowed until the last agent has them.
            enough: How many agents can do without the others.

        Returns:
            Agents that are not ready yet; they are occupied until they are.
        """
        loop = asyncio.get_running_loop()
        start = loop.time()
        tasks: dict[asyncio.Task[bool], str] = {}
        for link in links:
            task = loop.create_task(self._bring(link, self._tasks.get(link.id), programs[link.id], blobs))
            self._tasks[link.id] = task
            tasks[task] = link.id
        pending, failed = set(tasks), 0
        limit: float | None = None
        while pending:
            left = None if limit is None else limit - (loop.time() - start)
            if left is not None and left <= 0:
                break
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            failed += sum(not task.result() for task in done)
            if limit is None and len(tasks) - len(pending) - failed >= enough:
                limit = LATE.limit(loop.time() - start)
        late = tuple(name for task, name in tasks.items() if task in pending)
        for name in late:
            self._owner.occupied(name)
        return late

    async def aclose(self) -> None:
        """Give up whatever is still under way."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _bring(
        self,
        link: AgentLink,
        earlier: asyncio.Task[bool] | None,
        programs: Sequence[Program],
        blobs: Mapping[str, bytes | memoryview],
    ) -> bool:
        """Whether the agent has taken everything; it is asked one thing at a time."""
        if earlier is not None:
            await asyncio.wait([earlier])
        try:
            await link.prepare(programs, blobs)
        except LinkError as error:
            await link.aclose()
            self._owner.lost(link, error.cause)
            return False
        if self._tasks.get(link.id) is asyncio.current_task():
            self._owner.ready(link.id)
        return True
