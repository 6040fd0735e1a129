"""From a part to its outcome: made ready in the loop, computed in the thread, finished in the loop.

The thread enters ONNX Runtime and comes back, nothing else: convolving empties the
caches, so that a little Python between two strips costs 0.1 ms. The loop does it
meanwhile, for the part before and the part after. A short part that is alone the loop
computes too (`scheduler`): then nothing is to be done beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_agent.conversion import conversion_of
from cocoi_agent.engine import Engine, EngineError, OutOfMemoryError, TerminatedError
from cocoi_agent.jobs import Outcome, Task
from cocoi_agent.replies import Replier
from cocoi_agent.wire.messages import Status

if TYPE_CHECKING:
    from collections.abc import Callable


class Computer:
    """Turns tasks into outcomes. `compute` is for the thread, the rest for the loop; nothing here raises."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._replier = Replier()

    def prepare(self, task: Task) -> None:
        """Lay out all that the thread needs; an error is kept until the task's turn."""
        job = task.job
        try:
            if job.conversion is None:
                job.conversion = conversion_of(job.program, job.run, job.arrays)
            task.feeds = job.conversion.feeds(job.cut(task.part))
            task.outputs = job.conversion.outputs(widen=job.widen)
        except Exception as error:  # noqa: BLE001, RUF100 - one bad run must not end the loop
            task.error = error

    def compute(self, task: Task) -> None:
        """Compute one part, unless it was dropped or is too late; in the thread, or in its stead in the loop."""
        if task.started_s is None:
            task.started_s = self._clock()
            is_late = task.expires_s is not None and task.started_s > task.expires_s
            task.ended = task.dropped or (Status.EXPIRED if is_late else None)
        # A part that was begun is not skipped and does not expire; its second attempt may only be cancelled.
        if task.ended is None and task.error is None and not task.job.cancelled:
            try:
                task.computed = self._engine.run(task.job.program, task.feeds, task.outputs, task.options)
            except Exception as error:  # noqa: BLE001, RUF100 - one bad run must not end the thread
                task.error = error
        task.finished_s = self._clock()

    def finish(self, task: Task) -> Outcome | None:
        """What became of the task; None where the thread must compute the wide outputs too."""
        try:
            return self._finish(task)
        except Exception as error:  # noqa: BLE001, RUF100 - one bad run must not end the loop
            return _failed(task, error)

    def _finish(self, task: Task) -> Outcome | None:
        job = task.job
        if task.ended is not None:
            return _ended(task, task.ended)
        if task.error is not None:
            return _failed(task, task.error)
        if job.cancelled or job.conversion is None:
            return _ended(task, Status.CANCELLED)
        task.results.update(zip(task.outputs, task.computed, strict=True))
        reply = self._replier.reply(job.conversion.wanted, task.results, job.conversion.factor)
        job.widen = job.widen or reply.unfit
        if reply.absent:
            task.outputs = reply.absent
            return None
        return Outcome(Status.DONE, task.started_s or 0.0, task.finished_s, reply.tensors)


def _ended(task: Task, status: Status) -> Outcome:
    return Outcome(status, task.started_s or 0.0, task.finished_s)


def _failed(task: Task, error: Exception) -> Outcome:
    """The error in the words of the wire."""
    if isinstance(error, TerminatedError):
        return _ended(task, Status.CANCELLED)
    if isinstance(error, EngineError):
        code, message = error.code, str(error)
    elif isinstance(error, MemoryError):
        code, message = OutOfMemoryError.code, str(error) or "no memory"
    else:
        code, message = "internal", f"{type(error).__name__}: {error}"[:500]
    return Outcome(Status.FAILED, task.started_s or 0.0, task.finished_s, code=code, message=message)
