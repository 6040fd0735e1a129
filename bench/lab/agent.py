"""The agent as the rig starts it: the real one, which can be made to dawdle and to lie.

    python -m bench.lab.agent CONTROL_FILE [options of cocoi-agent]

The agent's own code is untouched. What computes is wrapped from outside: a task is computed
as always, in the same thread; afterwards it may be held back for a multiple of the time that
it took, as a slow device would have been busy with it for so long, or its result be spoilt.
A control file says what to do. While it says nothing, a task costs the look at one number in
memory more than without the wrapper.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.lab.behaviour import delay_draw
from bench.lab.control_file import ControlReader
from cocoi_agent.options import parse
from cocoi_agent.quiet import load_runtime

load_runtime(silent=True)  # before anything imports ONNX Runtime, as the agent's own door does

from bench.lab.lies import spoiler  # noqa: E402 - after ONNX Runtime
from cocoi_agent import daemon, worker  # noqa: E402 - the same
from cocoi_agent.compute import Computer  # noqa: E402 - the same

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.lab.behaviour import Draw
    from bench.lab.lies import Spoil
    from cocoi_agent.engine import Engine
    from cocoi_agent.jobs import Task


class FaultyComputer(Computer):
    """Computes as the agent does, and then does what its control file says.

    Args:
        engine, clock: As for the agent's own.
        control: Says how to behave.
        name: Of the device: it has draws of its own.
        sleep: Takes seconds.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], float],
        *,
        control: ControlReader,
        name: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(engine, clock)
        self._control = control
        self._name = name
        self._sleep = sleep
        self._draw: Draw | None = None
        self._spoil: Spoil | None = None

    def compute(self, task: Task) -> None:
        """Compute one part; in the thread."""
        news = self._control.news()
        if news is not None:
            self._draw, self._spoil = delay_draw(news.delay, self._name), spoiler(news.lie)
        if self._draw is None and self._spoil is None:
            super().compute(task)
        else:
            self._misbehave(task)

    def _misbehave(self, task: Task) -> None:
        before, begun = task.computed, self._clock()
        super().compute(task)
        if task.computed is before:  # cancelled, too late or failed: there is nothing to hold back
            return
        if self._spoil is not None:
            task.computed = [self._spoil(tensor) for tensor in task.computed]
        if self._draw is not None:
            self._sleep(self._draw() * (task.finished_s - begun))
            task.finished_s = self._clock()


def main() -> None:
    """Serve as `python -m cocoi_agent` does."""
    control, options = ControlReader(Path(sys.argv[1])), parse(sys.argv[2:])

    def computer(engine: Engine, clock: Callable[[], float]) -> Computer:
        return FaultyComputer(engine, clock, control=control, name=options.name)

    setattr(worker, "Computer", computer)  # noqa: B010 - mypy knows that it is a class
    status = daemon.run(options)
    sys.stderr.flush()
    os._exit(status)  # as the agent's own door: a computation may still run


if __name__ == "__main__":
    main()
