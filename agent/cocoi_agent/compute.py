"""What the compute thread does with one part: convert, run, choose the answer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from cocoi_agent.engine import Engine, EngineError, OutOfMemoryError, Program, TerminatedError, check_feeds, fits
from cocoi_agent.jobs import Job, Outcome, Task
from cocoi_agent.replies import Replier, choose
from cocoi_agent.wire.messages import Status
from cocoi_agent.wire.tensors import DTYPES, AnyArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Computer:
    """Turns tasks into outcomes; used by one thread, never raises."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._replier = Replier()

    def __call__(self, task: Task) -> Outcome:
        """Compute one part, unless it was dropped or is too late."""
        started = self._clock()
        if task.dropped is not None:
            return Outcome(task.dropped, started, started)
        if task.expires_s is not None and started > task.expires_s:
            return Outcome(Status.EXPIRED, started, started)
        try:
            return self._compute(task, started)
        except TerminatedError:
            return Outcome(Status.CANCELLED, started, self._clock())
        except EngineError as error:
            return self._failed(started, error.code, str(error))
        except MemoryError as error:
            return self._failed(started, OutOfMemoryError.code, str(error) or "no memory")
        except Exception as error:  # noqa: BLE001, RUF100 - one bad run must not end the thread
            return self._failed(started, "internal", f"{type(error).__name__}: {error}"[:500])

    def _compute(self, task: Task, started: float) -> Outcome:
        job = task.job
        arrays, task.arrays = task.arrays or job.cut(task.part), None
        feeds, factor = prepare(job, arrays)

        def compute(outputs: Sequence[str]) -> list[AnyArray]:
            return self._engine.run(job.program, feeds, outputs, task.options)

        wanted = choose(job.program.outputs, job.run.reply_dtype)
        tensors, unfit = self._replier.reply(wanted, compute, factor, widen=job.widen)
        job.widen = job.widen or unfit
        if job.cancelled:
            return Outcome(Status.CANCELLED, started, self._clock())
        return Outcome(Status.DONE, started, self._clock(), tuple(tensors))

    def _failed(self, started: float, code: str, message: str) -> Outcome:
        return Outcome(Status.FAILED, started, self._clock(), code=code, message=message)


def prepare(job: Job, arrays: Sequence[AnyArray]) -> tuple[dict[str, AnyArray], float]:
    """The inputs of one part, and the factor that its float outputs must be scaled by.

    The scale of the run's tensors passes through a linear program to its outputs
    untouched; for others, and where scales differ, the tensors are multiplied out.

    Raises:
        EngineError: If the tensors are not what the program takes.
    """
    program, specs = job.program, job.run.tensors
    feeds = {spec.name: array for spec, array in zip(specs, arrays, strict=True)}
    check_feeds(program, feeds)
    scales = {spec.name: spec.scale for spec in specs}
    factor = next(iter(scales.values()), 1.0) if program.linear and len(set(scales.values())) == 1 else 1.0
    ready = {name: _ready(program, name, array, scales[name] / factor) for name, array in feeds.items()}
    return ready, factor


def _ready(program: Program, name: str, array: AnyArray, scale: float) -> AnyArray:
    """Of the type that the graph takes, multiplied by `scale`."""
    port = program.inputs[name]
    if scale != 1.0:
        wide = array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)
        # ldexp instead of a product: the scale itself may be out of float32's range.
        array = np.ldexp(wide, math.frexp(scale)[1] - 1)
    if not fits(port, array):
        array = array.astype(DTYPES[port.dtype])
    return array
