"""What makes the output of a distributed convolution out of raw sums: bias and activation, element by element.

Raw sums are linear in the input, so they are what agents answer, what is decoded and what spare answers are held
against. They are finished while they are written into the output, and nowhere else: the sums themselves stay as
they are, for whatever is still to be decoded from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHANNELS: Final = 1  # the axis of the channels
# Elements of one channel in a piece. Shorter runs lie scattered in the output, where numpy pays for each anew: they are
# finished side by side and then copied there, which saves up to a quarter.
SHORT_RUN: Final = 1024


@dataclass(frozen=True, slots=True)
class Activation:
    """`slope * x` below zero, then bounded. What is no number stays none, as in ONNX Runtime.

    Attributes:
        slope: Above 0, at most 1.
        lowest: Lower bound, a number.
        highest: Upper bound, a number; it counts where the bounds contradict each other.
    """

    slope: float = 1.0
    lowest: float = -math.inf
    highest: float = math.inf

    def write(self, x: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write `x` activated into `out`, which may be the same array."""
        source = x
        if self.slope != 1.0:
            np.maximum(x, x * np.float32(self.slope), out=out)
            source = out
        if self.highest == math.inf and (source is x or self.lowest > -math.inf):
            np.maximum(source, np.float32(self.lowest), out=out)  # what `clip` does, in half the time for short runs
        elif self.highest < math.inf:
            np.clip(source, np.float32(self.lowest), np.float32(self.highest), out=out)


@dataclass(frozen=True, slots=True)
class Finish:
    """Bias and activation of one convolution, each where there is one.

    Attributes:
        bias: `(channels,)` float32.
        activation: What is applied after the bias.
    """

    bias: NDArray[np.float32] | None = field(default=None, repr=False)
    activation: Activation | None = None

    def write(self, sums: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Write finished sums into their place.

        Args:
            sums: `(batch, channels, *spatial)`; only read.
            out: Of the same shape; shares no memory with `sums`.
        """
        source, target = sums, out
        if self.bias is not None and self.activation is not None and sums[0, 0].size < SHORT_RUN:
            target = np.empty(sums.shape, np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # the result itself is beyond float32 then
            if self.bias is not None:
                np.add(sums, self.bias.reshape(-1, *[1] * (sums.ndim - CHANNELS - 1)), out=target)
                source = target
            if self.activation is not None:
                self.activation.write(source, target)
                source = target
        if source is not out:
            out[...] = source

    def of(self, sums: NDArray[np.float32]) -> NDArray[np.float32]:
        """Finished sums in new memory, or the sums themselves where nothing is to be done."""
        if self.bias is None and self.activation is None:
            return sums
        out = np.empty_like(sums)
        self.write(sums, out)
        return out

    def channels(self, first: int, last: int) -> Finish:
        """The same for a run of the channels alone."""
        return self if self.bias is None else replace(self, bias=self.bias[first:last])


RAW: Final = Finish()
"""Sums are the output already."""
