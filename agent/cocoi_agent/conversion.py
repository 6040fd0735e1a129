"""What is the same for all parts of a run: from its tensors to the graph's inputs, and which outputs are sent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cocoi_agent.engine import Port, Program, check_feeds, fits
from cocoi_agent.replies import Wanted, choose
from cocoi_agent.wire.tensors import DTYPES, AnyArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_agent.wire.messages import Run


@dataclass(frozen=True, slots=True)
class Conversion:
    """Made once per run; its parts then cost little.

    Attributes:
        inputs: For each tensor of the run the input it is fed to, and the power of two
            that it is multiplied by before.
        factor: Power of two by which every float output stands for more than what is computed.
        wanted: The tensors of an answer.
    """

    inputs: tuple[tuple[Port, float], ...]
    factor: float
    wanted: tuple[Wanted, ...]

    def feeds(self, arrays: Sequence[AnyArray]) -> dict[str, AnyArray]:
        """The inputs of one part, by name; `arrays` are its tensors in the order of the run."""
        return {port.name: _ready(port, array, by) for (port, by), array in zip(self.inputs, arrays, strict=True)}

    def outputs(self, *, widen: bool) -> list[str]:
        """What to compute; with `widen` the wide twins too, since float16 did not do before."""
        names = [item.output for item in self.wanted]
        return [*names, *(item.wide for item in self.wanted if item.wide is not None)] if widen else names


def conversion_of(program: Program, run: Run, arrays: Sequence[AnyArray]) -> Conversion:
    """How the parts of a run are computed.

    The scale of the run's tensors passes through a linear program to its outputs
    untouched; for others, and where scales differ, the tensors are multiplied out.

    Args:
        program: What it runs.
        run: The message.
        arrays: Its tensors, whole or in part.

    Raises:
        EngineError: If the tensors are not what the program takes.
    """
    check_feeds(program, {spec.name: array for spec, array in zip(run.tensors, arrays, strict=True)})
    scales = [spec.scale for spec in run.tensors]
    factor = scales[0] if program.linear and len(set(scales)) == 1 else 1.0
    inputs = tuple((program.inputs[spec.name], spec.scale / factor) for spec in run.tensors)
    return Conversion(inputs, factor, choose(program.outputs, run.reply_dtype))


def _ready(port: Port, array: AnyArray, by: float) -> AnyArray:
    """Multiplied, and of the type that the graph takes."""
    if by != 1.0:
        wide = array.astype(np.float64 if array.dtype.itemsize == 8 else np.float32)
        # ldexp instead of a product: the scale itself may be out of float32's range.
        array = np.ldexp(wide, math.frexp(by)[1] - 1)
    if not fits(port, array):
        array = array.astype(DTYPES[port.dtype])
    return array
