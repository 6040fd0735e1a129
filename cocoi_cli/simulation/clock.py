"""Simulated time: what happens next, in the order of the moments at which it happens."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """A clock that jumps from one planned call to the next.

    Attributes:
        now: Seconds since the beginning; never runs backwards.
    """

    __slots__ = ("_due", "_number", "now")

    def __init__(self) -> None:
        """Nothing is planned, and it is moment 0."""
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, moment: float, call: Callable[..., None], *arguments: object) -> None:
        """Plan a call; calls of one moment happen in the order in which they were planned.

        Args:
            moment: When; what lies in the past happens now.
            call: What.
            arguments: Its arguments.
        """
        self._number += 1
        heapq.heappush(self._due, (max(moment, self.now), self._number, call, arguments))

    def step(self) -> bool:
        """Jump to the next planned call and make it; False where none is left."""
        if not self._due:
            return False
        self.now, _, call, arguments = heapq.heappop(self._due)
        call(*arguments)
        return True
