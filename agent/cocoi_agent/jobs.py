"""A run while the agent works on it: which parts wait, which rows have come.

Owned by the loop, tasks by the compute thread while it has them; it reads their job's `cancelled`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cocoi_agent.wire.messages import Part, Rows, Run, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_agent.conversion import Conversion
    from cocoi_agent.engine import Program
    from cocoi_agent.wire.tensors import AnyArray, TensorSpec

WHOLE = Part(0, 0, 0)
"""The only part of a run without parts: everything."""


class BadRowsError(Exception):
    """Rows that do not continue the run they name."""


@dataclass(eq=False, slots=True)
class Task:
    """One part on its way through the compute thread.

    Attributes:
        job: The run it belongs to.
        part: What to compute.
        expires_s: Do not begin after this moment.
        options: ONNX Runtime's run options; `terminate` is set to stop it. None until a thread is to compute it.
        dropped: Set by the loop while the task waits: end it so instead of beginning.
        feeds: The part's tensors by the name of the input, as the graph takes them.
        outputs: Names of the outputs that the thread computes next.
        computed: What the thread computed, in the order of `outputs`.
        results: All that was computed so far, by name.
        ended: How the task ended without being computed.
        error: Why it failed.
        started_s, finished_s: On the agent's monotonic clock: of the first and the last attempt.
        outcome: What became of it, while it waits for parts before it to be answered.
    """

    job: Job
    part: Part
    expires_s: float | None
    options: Any = None
    dropped: Status | None = None
    feeds: Mapping[str, AnyArray] = field(default_factory=dict)
    outputs: Sequence[str] = ()
    computed: Sequence[AnyArray] = ()
    results: dict[str, AnyArray] = field(default_factory=dict)
    ended: Status | None = None
    error: Exception | None = None
    started_s: float | None = None
    finished_s: float = 0.0
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task.

    Attributes:
        status: How it ended.
        tensors: Descriptions and arrays of the outputs, if it was computed.
        code, message: The error, if it failed.
        started_s, finished_s: On the agent's monotonic clock.
    """

    status: Status
    started_s: float
    finished_s: float
    tensors: tuple[tuple[TensorSpec, AnyArray], ...] = ()
    code: str = ""
    message: str = ""


class Job:
    """One run.

    Attributes:
        run: The message.
        program: What to run; None if it is not loaded, and every part fails.
        arrays: The run's tensors, full size, in the order of the message.
        waiting: Parts that have not been given to the thread, in order.
        working: Tasks in the thread's hands, and those that wait to be answered in order.
        reserved: Bytes that count against the memory limit.
        credit: Bytes to give back when the run has ended.
        conversion: From the run's tensors to feeds and answers; None until the first part is prepared.
        widen: float16 did not hold an earlier part: compute the wide output at once.
    """

    def __init__(
        self,
        owner: Any,  # noqa: ANN401 - the client, which imports this module
        run: Run,
        program: Program,
        tensors: tuple[AnyArray, ...],
        *,
        order: int,
        received_s: float,
        reserved: int,
    ) -> None:
        self.owner = owner
        self.run = run
        self.program = program
        self.order = order
        self.received_s = received_s
        self.reserved = reserved
        self.credit = sum(array.nbytes for array in tensors)
        self.waiting: deque[Part] = deque(run.parts or (WHOLE,))
        self.working: list[Task] = []
        self.cancelled = False
        self.queued = False
        self.is_retired = False
        self.conversion: Conversion | None = None
        self.widen = False
        self.rows = tensors[0].shape[run.axis] if tensors and run.rows_total is not None else 0
        self.arrays = tensors if run.rows_total is None else tuple(self._grown(array) for array in tensors)

    def __repr__(self) -> str:
        return f"<Job run={self.run.run} waiting={len(self.waiting)} working={len(self.working)} rows={self.rows}>"

    @property
    def rank(self) -> tuple[int, int]:
        """Sorts runs: higher priority first, then order of arrival."""
        return (-self.run.priority, self.order)

    @property
    def is_finished(self) -> bool:
        """Whether every part has ended."""
        return not self.waiting and not self.working

    def is_ready(self) -> bool:
        """Whether the next part has all its rows."""
        if not self.waiting:
            return False
        if self.run.rows_total is None:
            return True
        part = self.waiting[0]
        return self.rows >= (self.run.rows_total if part is WHOLE else part.stop)

    def take(self) -> Task:
        """Hand out the next part."""
        deadline = self.run.deadline_s
        task = Task(self, self.waiting.popleft(), None if deadline is None else self.received_s + deadline)
        self.working.append(task)
        return task

    def expects(self, message: Rows) -> int:
        """Bytes that a message may bring now.

        Raises:
            BadRowsError: If its rows do not continue what came, or its tensors are not those of the run.
        """
        total = self.run.rows_total
        if total is None or message.start != self.rows:
            raise BadRowsError(f"rows from {message.start} came where {self.rows} were expected")
        for spec, known, array in zip(message.tensors, self.run.tensors, self.arrays, strict=False):
            if spec.name != known.name or spec.dtype != known.dtype or spec.scale != known.scale:
                raise BadRowsError(f"tensor `{spec.name}` is not the `{known.name}` of the run")
            self._check_shape(spec, array)
        if len(message.tensors) != len(self.arrays):
            raise BadRowsError(f"{len(message.tensors)} tensors came for a run with {len(self.arrays)}")
        return sum(spec.nbytes for spec in message.tensors)

    def add_rows(self, tensors: tuple[AnyArray, ...]) -> None:
        """Put rows that `expects` has accepted in their place."""
        if not tensors:
            return
        axis, count = self.run.axis, tensors[0].shape[self.run.axis]
        place = (slice(None),) * axis + (slice(self.rows, self.rows + count),)
        for array, rows in zip(self.arrays, tensors, strict=True):
            array[place] = rows
        self.rows += count
        self.credit += sum(array.nbytes for array in tensors)

    def drop(self, parts: frozenset[int]) -> list[Part]:
        """Take parts out of the queue; those already with the thread are marked instead."""
        dropped = [part for part in self.waiting if part.part in parts]
        self.waiting = deque(part for part in self.waiting if part.part not in parts)
        for task in self.working:
            if task.part.part in parts:
                task.dropped = Status.SKIPPED
        return dropped

    def cancel(self) -> list[Part]:
        """Empty the queue and stop what the thread has; return the parts that end at once."""
        self.cancelled = True
        dropped = list(self.waiting)
        self.waiting.clear()
        for task in self.working:
            task.dropped = Status.CANCELLED
            if task.options is not None:
                task.options.terminate = True
        return dropped

    def cut(self, part: Part) -> tuple[AnyArray, ...]:
        """The rows of one part, of every tensor, contiguous."""
        if part is WHOLE:
            return self.arrays
        place = (slice(None),) * self.run.axis + (slice(part.start, part.stop),)
        return tuple(np.ascontiguousarray(array[place]) for array in self.arrays)

    def _grown(self, array: AnyArray) -> AnyArray:
        """The tensor at its full size, the first rows filled in."""
        axis, total = self.run.axis, self.run.rows_total or 0
        shape = (*array.shape[:axis], total, *array.shape[axis + 1 :])
        full = np.empty(shape, array.dtype)
        full[(slice(None),) * axis + (slice(0, self.rows),)] = array
        return full

    def _check_shape(self, spec: TensorSpec, array: AnyArray) -> None:
        axis, shape = self.run.axis, array.shape
        fits = len(spec.shape) == len(shape) and all(
            size == full for at, (size, full) in enumerate(zip(spec.shape, shape, strict=True)) if at != axis
        )
        if not fits or spec.shape[axis] > shape[axis] - self.rows:
            raise BadRowsError(f"tensor `{spec.name}` of shape {spec.shape} does not continue {shape}")
