"""From what a program computed to what is sent: which output, in which type, at which scale.

Outputs named alike but for an ending `16` (float16) and `32` (float32) are a pair:
one result in two types, sent under the common stem, in the type that the run asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cocoi_agent.engine import Port, new_session
from cocoi_agent.graphs import float16_cast_model
from cocoi_agent.wire.tensors import AnyArray, TensorSpec, describe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

_INFINITE: Final = 0x7C00  # float16 bits: exponent all ones
_SMALL: Final = 0x2400  # float16 bits of 2^-6: below it, small values begin to lose digits
_TOP_EXPONENT: Final = 14  # the largest stored magnitude is put into [2^14, 2^15), half of what float16 holds


@dataclass(frozen=True, slots=True)
class Wanted:
    """One tensor of the answer: the output to compute, and its wide twin if it has one.

    Attributes:
        name: Name in the answer.
        output: The output to compute first.
        wide: The float32 output to turn to where float16 does not hold the result.
    """

    name: str
    output: str
    wide: str | None = None


@lru_cache(maxsize=1024)
def choose(outputs: tuple[Port, ...], reply_dtype: str | None) -> tuple[Wanted, ...]:
    """What to compute for an answer.

    Args:
        outputs: The program's outputs.
        reply_dtype: `f16` or `f32` picks one of each pair; None takes every output as it is.
    """
    if reply_dtype is None:
        return tuple(Wanted(port.name, port.name) for port in outputs)
    types = {port.name: port.dtype for port in outputs}
    chosen: list[Wanted] = []
    for port in outputs:
        stem, ending = port.name[:-2], port.name[-2:]
        paired = types.get(stem + "16") == "f16" and types.get(stem + "32") == "f32"
        if not paired or ending not in {"16", "32"}:
            chosen.append(Wanted(port.name, port.name))
        elif ending == reply_dtype[1:]:
            chosen.append(Wanted(stem, port.name, stem + "32" if ending == "16" else None))
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer is made of, as far as it was computed.

    Attributes:
        tensors: Description and array of each tensor; empty while something is absent.
        unfit: Whether float16 alone did not do.
        absent: Wide outputs that must be computed before the answer can be made.
    """

    tensors: tuple[tuple[TensorSpec, AnyArray], ...]
    unfit: bool
    absent: tuple[str, ...] = ()


class Replier:
    """Brings computed outputs into the form that is sent. Used in the loop."""

    def __init__(self) -> None:
        self._cast: Any = None

    def reply(self, wanted: Sequence[Wanted], results: Mapping[str, AnyArray], factor: float) -> Reply:
        """Choose and convert.

        Args:
            wanted: From `choose`.
            results: Every output that was computed, by name; the narrow ones among them.
            factor: Power of two by which the value of every float output is larger
                than what was computed.
        """
        unfit = [item.wide for item in wanted if item.wide is not None and not holds(results[item.output])]
        absent = tuple(name for name in unfit if name not in results)
        if absent:
            return Reply((), unfit=True, absent=absent)
        tensors = tuple(self._tensor(item, results, factor, wide=item.wide in unfit) for item in wanted)
        return Reply(tensors, unfit=bool(unfit))

    def _tensor(
        self, item: Wanted, results: Mapping[str, AnyArray], factor: float, *, wide: bool
    ) -> tuple[TensorSpec, AnyArray]:
        array, scale = results[item.output], 1.0
        if wide and item.wide is not None and results[item.wide].any():
            array, scale = self._narrow(results[item.wide])
        if array.dtype.kind == "f":
            scale *= factor
        return describe(item.name, array, scale), array

    def _narrow(self, values: AnyArray) -> tuple[AnyArray, float]:
        """Scale float32 by a power of two so that float16 holds it; as it is where nothing can."""
        top = float(max(np.max(values), -np.min(values)))
        if not math.isfinite(top):
            return values, 1.0
        # The shift stays within what float32 can multiply by; below that there is only dust.
        shift = min(_TOP_EXPONENT - (math.frexp(top)[1] - 1), 126)
        if self._cast is None:
            self._cast = new_session(float16_cast_model())
        narrow: AnyArray = self._cast.run(None, {"x": values * np.float32(2.0**shift)})[0]
        return narrow, 2.0**-shift


def holds(values: NDArray[np.float16]) -> bool:
    """Whether float16 held the result: nothing overflowed, and the largest is not tiny or 0.

    Zeros may be values too small for float16; the wide twin tells.

    Read off the bits: without the sign, the order of float16 is that of its bits.
    Cost: two passes of 2 bytes per element, nothing allocated.
    """
    if not values.size:
        return True
    bits = values.view(np.uint16)
    negative = int(bits.max()) - 0x8000  # the largest magnitude below zero, if any
    positive = int(values.view(np.int16).max())  # the largest at or above zero, if any
    return _SMALL <= max(negative, positive) < _INFINITE
