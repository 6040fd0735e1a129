"""Which rows of every tensor of a segment a run of its output rows needs: pure arithmetic on integers.

A segment is a small graph of operators whose output rows depend on a window of input rows. Walked from its
output backwards, each tensor is held in the union of the rows that its readers need, as one run without gaps.
"Rows" are positions on the cut axis.

Source: docs/methods.md, fused tiles: the backward walk of DeepThings (zoranzhao/DeepThings) with unequal pads,
dilation, clipping and branches.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple


class Rows(NamedTuple):
    """Rows `[first, last)` of a tensor."""

    first: int
    last: int

    @property
    def size(self) -> int:
        """How many."""
        return self.last - self.first


@dataclass(frozen=True, slots=True)
class Window:
    """How the rows of an operator's output depend on those of its inputs; without arguments row on row.

    Attributes:
        stride: Input rows from one output row to the next.
        extent: Input rows that one output row reads, holes of a dilation counted.
        pad: Rows of padding before the first.
        repeat: Output rows made of one input row (enlargement); not 1 only where the others are as by default.
    """

    stride: int = 1
    extent: int = 1
    pad: int = 0
    repeat: int = 1

    def needs(self, rows: Rows) -> Rows:
        """Input rows in unpadded coordinates: below 0 and beyond the end there is padding."""
        if self.repeat > 1:
            return Rows(rows.first // self.repeat, -(-rows.last // self.repeat))
        return Rows(rows.first * self.stride - self.pad, (rows.last - 1) * self.stride + self.extent - self.pad)

    def made(self, rows: Rows) -> Rows:
        """The rows that come out when `rows` are asked for: an enlargement makes whole groups."""
        if self.repeat == 1:
            return rows
        return Rows(rows.first // self.repeat * self.repeat, -(-rows.last // self.repeat) * self.repeat)

    def is_within(self, length: int, output_length: int) -> bool:
        """Whether every output row reads at least one row that is no padding."""
        if self.repeat > 1:
            return output_length == length * self.repeat
        last = self.needs(Rows(output_length - 1, output_length))
        return 0 <= self.pad < self.extent and last.first < length


@dataclass(frozen=True, slots=True)
class Step:
    """One operator: `inputs` are numbers of the tensors it reads, each once."""

    inputs: tuple[int, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class RowGraph:
    """The operators of a segment in execution order.

    Attributes:
        lengths: Rows of each tensor. Tensor 0 is the input, step `i` makes tensor `i + 1`, the last is the output.
        steps: Every tensor but the last is read by a later step.
    """

    lengths: tuple[int, ...]
    steps: tuple[Step, ...]

    def held(self, rows: Rows) -> tuple[Rows, ...]:
        """The rows of every tensor that exist when `rows` of the output are computed, clipped to the picture."""
        lengths = self.lengths
        first, last = list(lengths), [0] * len(lengths)
        first[-1], last[-1] = rows
        for number in range(len(self.steps) - 1, -1, -1):
            step = self.steps[number]
            made = step.window.made(Rows(first[number + 1], last[number + 1]))
            first[number + 1], last[number + 1] = made
            needed = step.window.needs(made)
            for tensor in step.inputs:
                first[tensor] = min(first[tensor], max(needed.first, 0))
                last[tensor] = max(last[tensor], min(needed.last, lengths[tensor]))
        return tuple(map(Rows, first, last))

    @property
    def grain(self) -> int:
        """Output rows come in groups of so many: 1 unless something is enlarged."""
        return math.lcm(*(step.window.repeat for step in self.steps))


def tile_rows(length: int, tiles: int, grain: int = 1) -> tuple[Rows, ...]:
    """Cut the rows of an output into tiles as even as can be.

    Args:
        length: Rows of the output.
        tiles: How many tiles; there are never more than rows.
        grain: Cuts are multiples of it where that leaves enough tiles.

    Raises:
        ValueError: There is no tile, or no row.
    """
    if tiles < 1 or length < 1:
        raise ValueError(f"{tiles} tiles of {length} rows")
    if length % grain or length // grain < tiles:
        grain = 1
    units = length // grain
    count = min(tiles, units)
    bounds = [number * units // count * grain for number in range(count + 1)]
    return tuple(Rows(start, stop) for start, stop in itertools.pairwise(bounds))
