"""Which part comes next: by priority and order of arrival, among those that can be computed.

At most two parts are with the compute thread, the one that runs and the next, so
that it never waits for the loop. The next is prepared and the one before is finished
in the loop, beside the one that runs. A part that float16 does not hold goes to the
thread a second time. Where nothing else is to be done, a part that will be short is
computed in the loop itself.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cocoi_agent.engine import run_options
from cocoi_agent.jobs import Job, Outcome, Task
from cocoi_agent.lanes import Lane
from cocoi_agent.short_runs import ShortRuns
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
        self._short = ShortRuns()
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
        if self._is_alone(task) and self._short.expects(task.job.program.id, _elements(task)):
            self._computed(task, self._compute(task))
        else:
            self._submit(task)

    def _is_alone(self, task: Task) -> bool:
        """Whether nothing waits behind a part or is computed beside it: then the loop has time."""
        return self._in_thread == 1 and not self._ready and not task.job.waiting

    def _submit(self, task: Task) -> None:
        if task.options is None:
            task.options = run_options()
        self._lane.submit(lambda: self._compute(task), lambda took_s, error: self._computed(task, took_s, error))

    def _compute(self, task: Task) -> float:
        """Compute a part; return the seconds of this thread's processor that it took."""
        begun_s = time.thread_time()
        self._computer.compute(task)
        return time.thread_time() - begun_s

    def _computed(self, task: Task, took_s: float, error: BaseException | None = None) -> None:
        if error is None and task.error is None and task.computed and task.started_s is not None:
            self._short.took(task.job.program.id, _elements(task), took_s, task.finished_s - task.started_s)
        outcome = self._computer.finish(task) if error is None else _broken(error)
        if outcome is None:
            self._submit(task)  # before any further part: the answers of a run keep their order
            return
        self._in_thread -= 1
        self._dispatch()  # before anything is sent: the thread need not wait for that
        self._ended(task, outcome)


def _elements(task: Task) -> int:
    return sum(array.size for array in task.feeds.values())


def _broken(error: BaseException) -> Outcome:
    return Outcome(Status.FAILED, 0.0, 0.0, code="internal", message=repr(error)[:500])
