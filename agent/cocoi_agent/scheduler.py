"""Which part comes next: by priority and order of arrival, among those that can be computed.

At most two parts are with the compute thread, the one that runs and the next, so
that it never waits for the loop. The next is prepared and the one before is finished
in the loop, beside the one that runs. A part that float16 does not hold goes to the
thread a second time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cocoi_agent.jobs import Job, Outcome, Task
from cocoi_agent.lanes import Lane
from cocoi_agent.wire.messages import Status

if TYPE_CHECKING:
    from cocoi_agent.clients import Client
    from cocoi_agent.compute import Computer

AHEAD: Final = 2

Ended = Callable[[Task, Outcome], None]


class Scheduler:
    """The queue of runs and the compute thread.

    Args:
        computer: Prepares, computes and finishes one part.
        ended: Called in the loop for each part that the thread was given, in the order of ending.
    """

    def __init__(self, computer: Computer, ended: Ended) -> None:
        self._computer = computer
        self._ended = ended
        self._lane = Lane("compute")
        self._ready: list[tuple[tuple[int, int], Job]] = []
        self._in_thread = 0

    def __repr__(self) -> str:
        return f"<Scheduler ready={len(self._ready)} in_thread={self._in_thread}>"

    def enqueue(self, job: Job) -> None:
        """Let a run take part in the choice, if its next part can be computed."""
        self._push(job)
        self._dispatch()

    def resume(self, client: Client) -> None:
        """Let runs go on that waited for their host to read."""
        if client.parked and not client.is_stalled():
            parked, client.parked = client.parked, []
            for job in parked:
                self.enqueue(job)

    def check(self, answer: Callable[[], None]) -> None:
        """Call `answer` in the loop once the thread has come to it."""
        self._lane.submit(lambda: None, lambda _result, _error: answer())

    def close(self) -> None:
        """Let the thread end after what it is doing."""
        self._lane.close()

    def _push(self, job: Job) -> None:
        if not job.queued and job.is_ready():
            job.queued = True
            heapq.heappush(self._ready, (job.rank, job))

    def _dispatch(self) -> None:
        while self._in_thread < AHEAD and self._ready:
            _, job = heapq.heappop(self._ready)
            job.queued = False
            if not job.is_ready():  # cancelled or skipped meanwhile
                continue
            if job.owner.is_stalled():
                job.owner.parked.append(job)
                continue
            self._hand_over(job.take())
            self._push(job)

    def _hand_over(self, task: Task) -> None:
        self._computer.prepare(task)
        self._in_thread += 1
        self._submit(task)

    def _submit(self, task: Task) -> None:
        self._lane.submit(lambda: self._computer.compute(task), lambda _, error: self._computed(task, error))

    def _computed(self, task: Task, error: BaseException | None) -> None:
        outcome = self._computer.finish(task) if error is None else _broken(error)
        if outcome is None:
            self._submit(task)  # before any further part: the answers of a run keep their order
            return
        self._in_thread -= 1
        self._dispatch()  # before anything is sent: the thread need not wait for that
        self._ended(task, outcome)


def _broken(error: BaseException) -> Outcome:
    return Outcome(Status.FAILED, 0.0, 0.0, code="internal", message=repr(error)[:500])
