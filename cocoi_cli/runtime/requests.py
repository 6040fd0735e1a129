"""Requests to one agent that wait for their answers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from cocoi_agent.wire.messages import Loaded, Missing, Pong, Stored, Vitals, Welcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cocoi_cli.runtime.link_errors import LinkError

Reply = Welcome | Missing | Vitals | Stored | Loaded | Pong
ReplyT = TypeVar("ReplyT", Welcome, Missing, Vitals, Stored, Loaded, Pong)


class Requests:
    """Which answers are awaited: by their class and, where several may be under way, by what they are about."""

    def __init__(self) -> None:
        """Nothing is awaited yet."""
        self._waiting: dict[tuple[type[Reply], str], asyncio.Future[Any]] = {}

    @contextlib.contextmanager
    def waiting(self, answer: type[ReplyT], about: str) -> Iterator[asyncio.Future[ReplyT]]:
        """Expect an answer, until the block ends.

        Args:
            answer: The class of its message.
            about: The blob, program or token that it names; empty for an answer that names none.
        """
        future: asyncio.Future[ReplyT] = asyncio.get_running_loop().create_future()
        self._waiting[answer, about] = future
        try:
            yield future
        finally:
            self._waiting.pop((answer, about), None)

    def answered(self, reply: Reply) -> None:
        """Hand an answer to whoever waits for it; one that nobody waits for any more is dropped."""
        future = self._waiting.get((type(reply), _about(reply)))
        if future is not None and not future.done():
            future.set_result(reply)

    def refused(self, about: str, error: LinkError) -> bool:
        """Fail the one request that a fault is about; False if it is about none of them."""
        for (_, mine), future in self._waiting.items():
            if about and mine == about and not future.done():
                future.set_exception(error)
                return True
        return False

    def failed(self, error: LinkError) -> None:
        """Fail all of them."""
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)


def _about(reply: Reply) -> str:
    match reply:
        case Stored():
            return reply.hash
        case Loaded():
            return reply.program
        case Pong():
            return str(reply.token)
        case _:
            return ""
