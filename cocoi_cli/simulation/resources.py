"""What work waits for: a server takes one job after another, in the order in which they come.

Network ports, links and processors are all of this kind. A port is shared by all devices, a link belongs to
one; a message streams through both at once, so that the slower of them decides, and it queues at each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.simulation.clock import Clock


@dataclass(slots=True)
class Server:
    """One job at a time, first come, first served.

    Attributes:
        free_at: When it has finished everything that it was asked for.
        busy_s: Seconds of work so far.
    """

    free_at: float = 0.0
    busy_s: float = 0.0

    def serve(self, now: float, seconds: float) -> tuple[float, float]:
        """Take a job that comes `now`; returns when it begins and when it ends."""
        start = max(now, self.free_at)
        self.free_at = start + seconds
        self.busy_s += seconds
        return start, self.free_at


def stream(now: float, port: Server, port_s: float, link: Server, link_s: float) -> float:
    """Send a message out of a shared port and along a link; returns when its last byte is there.

    Args:
        now: When it is ready to go.
        port: Of the host; the message holds it for `port_s`.
        port_s: Bytes over the port's speed.
        link: Of the device; the message holds it for `link_s`, beginning with the port's first byte.
        link_s: Bytes over the link's speed.
    """
    start, end = port.serve(now, port_s)
    _, there = link.serve(start, link_s)
    return max(end, there)


class Backlog:
    """Jobs of a serial processor whose length is known only when they begin.

    A job is a call that is given the moment at which it begins and returns the one at which it ends.
    """

    __slots__ = ("_clock", "_jobs", "_woken", "busy_s", "free_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: list[Callable[[float], float]] = []
        self._woken = False
        self.free_at = 0.0
        self.busy_s = 0.0

    def add(self, job: Callable[[float], float]) -> None:
        """Do this as soon as everything before it is done."""
        if self._clock.now >= self.free_at and not self._jobs:
            self._do(job)
        else:
            self._jobs.append(job)
            self._wake()

    def _do(self, job: Callable[[float], float]) -> None:
        start = self._clock.now
        self.free_at = max(job(start), start)
        self.busy_s += self.free_at - start

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            self._clock.at(self.free_at, self._next)

    def _next(self) -> None:
        self._woken = False
        if self._jobs:
            self._do(self._jobs.pop(0))
        if self._jobs:
            self._wake()
