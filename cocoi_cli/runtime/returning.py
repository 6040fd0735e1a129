"""Agents that come back: a device that was rebooted or plugged in again takes part in the next inference."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from cocoi_cli.runtime.connecting import BadKeysError, open_living
from cocoi_cli.runtime.link import AgentLink

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from cocoi_cli.runtime.addresses import AgentAddress
    from cocoi_cli.runtime.deployed import DeployedFleet
    from cocoi_cli.runtime.inference import LinkOwner

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0


class Returning:
    """Asks missing agents again, in the background, ever more seldom."""

    def __init__(self, fleet: DeployedFleet, owner: LinkOwner, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody is asked yet; links that open belong to `owner`. The clock gives monotonic seconds."""
        self._fleet, self._owner, self._clock = fleet, owner, clock
        self._tasks: dict[str, asyncio.Task[AgentLink | None]] = {}
        self._next: dict[str, tuple[float, float]] = {}  # agent -> when to ask again, and how long to wait after that

    @property
    def addresses(self) -> tuple[AgentAddress, ...]:
        """Of all agents of the fleet, missing or not."""
        return self._fleet.addresses

    def seek(self, known: Collection[str]) -> None:
        """Begin to ask those that are missing, where it is time to; `known` are those that are not to be asked."""
        now = self._clock()
        for address in self._fleet.addresses:
            agent = address.id
            if agent in known:
                self._next.pop(agent, None)
                continue
            moment, wait = self._next.setdefault(agent, (now + FIRST_WAIT_S, FIRST_WAIT_S))
            if agent not in self._tasks and now >= moment:
                self._next[agent] = (now + wait, min(2 * wait, LONGEST_WAIT_S))
                self._tasks[agent] = asyncio.get_running_loop().create_task(self._ask(agent))

    def returned(self) -> list[AgentLink]:
        """Open links to those that have come back since the last call."""
        ended = [agent for agent, task in self._tasks.items() if task.done()]
        links = [self._tasks.pop(agent).result() for agent in ended]
        return [link for link in links if link is not None and link.is_open]

    async def aclose(self) -> None:
        """Ask no more; links that nobody took are closed."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, AgentLink):
                await result.aclose()

    async def _ask(self, agent: str) -> AgentLink | None:
        link = AgentLink(agent, self._owner)
        address = next(address for address in self._fleet.addresses if address.id == agent)
        try:
            failures = await open_living([link], [address], self._fleet.identity)
        except BadKeysError:  # the host's keys were taken away meanwhile: the agents that are there do without
            return None
        return None if failures else link
