"""Cutting activations into pieces and joining what came back, finished on the way: one copy each way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cocoi_cli.model.finish import RAW, Finish

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cocoi_cli.model.geometry import Split
    from cocoi_cli.model.network import Shape


def strip_shape(input_shape: Shape, split: Split, strip: int, axis: int) -> Shape:
    """Shape of one piece of a strip, for an activation of `input_shape`."""
    return (*input_shape[:axis], split.input_length(strip), *input_shape[axis + 1 :])


def cut_strip(
    x: NDArray[Any], split: Split, strip: int, axis: int, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Stack the pieces of one strip.

    Args:
        x: Activation `(batch, channels, *spatial)`, float32 or float16; only read.
        split: The cut along `axis`.
        strip: Which strip.
        axis: The cut axis of `x`; 2 is height.
        out: Written and returned when given: float32 `(pieces, *strip_shape(...))`. Otherwise a new array is made.

    Returns:
        float32 `(pieces, *strip_shape(...))`, C-contiguous, owned by the caller.
    """
    shape = (split.pieces, *strip_shape(x.shape, split, strip, axis))
    pieces = np.empty(shape, np.float32) if out is None else out
    for piece in range(split.pieces):
        _copy_piece(x, split, strip, piece, axis, pieces[piece])
    return pieces


def cut_piece(x: NDArray[Any], split: Split, strip: int, piece: int, axis: int) -> NDArray[np.float32]:
    """One piece of a strip, in new memory: `strip_shape(...)` float32; see `cut_strip`."""
    out = np.empty(strip_shape(x.shape, split, strip, axis), np.float32)
    _copy_piece(x, split, strip, piece, axis, out)
    return out


def _copy_piece(x: NDArray[Any], split: Split, strip: int, piece: int, axis: int, out: NDArray[np.float32]) -> None:
    rows = split.input_rows(piece, strip)
    end = rows.rows - rows.zeros_after
    _rows(out, axis, 0, rows.zeros_before)[...] = 0
    _rows(out, axis, rows.zeros_before, end)[...] = _rows(x, axis, rows.start, rows.stop)
    _rows(out, axis, end, rows.rows)[...] = 0


def join_piece(
    out: NDArray[Any],
    result: NDArray[Any],
    split: Split,
    piece: int,
    strip: int,
    axis: int,
    finish: Finish = RAW,
) -> None:
    """Write one piece of one strip into the output, finished.

    Args:
        out: The whole output `(batch, out_channels, *spatial)`; the rows of this strip are written.
        result: `(batch, out_channels, *spatial)` with the strip's rows on `axis`; only read. Rows beyond
            the end of the output are padding and are dropped.
        split: The cut along `axis`.
        piece: Which piece.
        strip: Which strip.
        axis: The cut axis; 2 is height.
        finish: What is done to the rows on the way.
    """
    start, stop = split.output_rows(piece, strip)
    finish.write(_rows(result, axis, 0, stop - start), _rows(out, axis, start, stop))


def _rows(array: NDArray[Any], axis: int, start: int, stop: int) -> NDArray[Any]:
    """A view of rows `[start, stop)` on an axis."""
    index: tuple[slice, ...] = (*(slice(None),) * axis, slice(start, stop))
    return array[index]
