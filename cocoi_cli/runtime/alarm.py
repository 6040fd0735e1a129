"""A clock that rings once: how the session is woken."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm:
    """One timer; one that rings earlier is left alone, since whoever is woken then asks again."""

    def __init__(self, clock: Callable[[], float], ring: Callable[[], None]) -> None:
        """Nothing is set.

        Args:
            clock: Monotonic seconds.
            ring: Called in the event loop at the moment that was asked for, or at an earlier one.
        """
        self._clock, self._ring = clock, ring
        self._timer: asyncio.TimerHandle | None = None
        self._moment_s = 0.0  # while there is a timer

    def set(self, moment_s: float) -> None:
        """Ring at this moment of the clock at the latest."""
        if self._timer is not None:
            if self._moment_s <= moment_s:
                return
            self._timer.cancel()
        self._moment_s = moment_s
        delay = max(moment_s - self._clock(), 0.0)
        self._timer = asyncio.get_running_loop().call_later(delay, self._rings)

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rings(self) -> None:
        self._timer = None
        self._ring()
