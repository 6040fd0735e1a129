"""Which input rows a run of output rows needs: pure arithmetic on integers.

A convolution is cut along one axis (height, or width) into `pieces` equal runs of
output rows, the last ones padded with rows that nobody reads, and every piece into
`strips`. Strip `j` of every piece has the same input and the same output length, so
the pieces of a strip can be stacked and coded. "Rows" stands for positions on the cut
axis, whichever it is.

Source: docs/methods.md, geometry shared by all splits: CoCoI (Liu, Huang, Tang, arXiv 2501.06856) with
dilation, unequal pads, strips and clipping.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cocoi_cli.model.network import ConvSpec, Shape


@dataclass(frozen=True, slots=True)
class StripRange:
    """Output rows `[start, stop)` inside a piece."""

    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of output rows."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class RowRange:
    """Input rows of one strip of one piece.

    Attributes:
        start: First row of the real input, unpadded coordinates.
        stop: One past the last; equal to `start` where the strip lies wholly in padding.
        zeros_before: Rows of zeros in front.
        zeros_after: Rows of zeros behind.
    """

    start: int
    stop: int
    zeros_before: int
    zeros_after: int

    @property
    def rows(self) -> int:
        """Length with the zeros: the same for every piece of a strip."""
        return self.zeros_before + self.stop - self.start + self.zeros_after


@dataclass(frozen=True, slots=True)
class Split:
    """How one convolution is cut along one axis.

    Attributes:
        input_rows_total: Rows of the unpadded input.
        output_rows_total: Rows of the real output.
        pieces: Number of equal pieces (k).
        piece_rows: Output rows of a piece; `pieces * piece_rows >= output_rows_total`.
        strips: Output rows of every strip, the same in each piece, in order, none empty.
        stride: Input rows from one output row to the next.
        extent: Input rows that one output row reads: `dilation * (kernel - 1) + 1`.
        pad_begin: Rows of zeros that the convolution puts before the input.
    """

    input_rows_total: int
    output_rows_total: int
    pieces: int
    piece_rows: int
    strips: tuple[StripRange, ...]
    stride: int
    extent: int
    pad_begin: int

    def input_length(self, strip: int) -> int:
        """Input rows of a strip, zeros included; the same for every piece."""
        return (self.strips[strip].rows - 1) * self.stride + self.extent

    def input_rows(self, piece: int, strip: int) -> RowRange:
        """The rows of the unpadded input that a strip of a piece reads, and the zeros around them."""
        first = (piece * self.piece_rows + self.strips[strip].start) * self.stride - self.pad_begin
        last = first + self.input_length(strip)
        start = min(max(first, 0), self.input_rows_total)
        stop = max(start, min(last, self.input_rows_total))
        before = max(0, min(last, start) - first)
        return RowRange(start, stop, before, last - first - before - (stop - start))

    def output_rows(self, piece: int, strip: int) -> tuple[int, int]:
        """Rows `[start, stop)` of the output that a strip of a piece fills; empty where all is padding."""
        base = piece * self.piece_rows
        start = min(base + self.strips[strip].start, self.output_rows_total)
        return start, min(base + self.strips[strip].stop, self.output_rows_total)


def kernel_extent(kernel: int, dilation: int) -> int:
    """Input rows between the first and the last tap of a kernel, both counted."""
    return dilation * (kernel - 1) + 1


def output_length(length: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> int:
    """Output rows of a convolution over `length` input rows; zero or less where the kernel does not fit."""
    return (length + sum(pads) - kernel_extent(kernel, dilation)) // stride + 1


def output_shape(spec: ConvSpec, input_shape: Shape) -> Shape:
    """`(batch, out_channels, *spatial)` for an input of `(batch, channels, *spatial)`."""
    spatial = tuple(
        output_length(length, kernel, stride, dilation, (begin, end))
        for length, kernel, stride, dilation, begin, end in zip(
            input_shape[2:], spec.kernel, spec.strides, spec.dilations, spec.pads_begin, spec.pads_end, strict=True
        )
    )
    return (input_shape[0], spec.out_channels, *spatial)


def split_rows(spec: ConvSpec, axis: int, input_length: int, pieces: int, strips: int) -> Split:
    """Cut a convolution along one axis.

    Args:
        spec: The convolution.
        axis: Axis of the activation `(batch, channels, *spatial)`; 2 is height.
        input_length: Rows of the unpadded input on that axis.
        pieces: Equal pieces (k), at least 1; may exceed the output rows, pieces beyond them are padding.
        strips: Strips of a piece, from 1 to `ceil(output rows / pieces)`; their lengths differ by at most one.

    Raises:
        ValueError: The kernel does not fit, or pieces or strips are out of range.
    """
    at = axis - 2
    stride, pad_begin = spec.strides[at], spec.pads_begin[at]
    pads = (pad_begin, spec.pads_end[at])
    total = output_length(input_length, spec.kernel[at], stride, spec.dilations[at], pads)
    if total < 1:
        raise ValueError(f"a kernel of {spec.kernel[at]} does not fit into {input_length} rows with pads {pads}")
    if pieces < 1:
        raise ValueError(f"{pieces} pieces: at least 1 is needed")
    piece_rows = -(-total // pieces)
    if not 1 <= strips <= piece_rows:
        raise ValueError(f"{strips} strips in pieces of {piece_rows} rows")
    bounds = [number * piece_rows // strips for number in range(strips + 1)]
    return Split(
        input_rows_total=input_length,
        output_rows_total=total,
        pieces=pieces,
        piece_rows=piece_rows,
        strips=tuple(StripRange(start, stop) for start, stop in itertools.pairwise(bounds)),
        stride=stride,
        extent=kernel_extent(spec.kernel[at], spec.dilations[at]),
        pad_begin=pad_begin,
    )
