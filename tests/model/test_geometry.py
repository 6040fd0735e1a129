from __future__ import annotations

from itertools import product

import pytest

from cocoi_cli.model.geometry import output_length, output_shape, split_rows
from cocoi_cli.model.network import ConvSpec


def spec_of(kernel, stride, dilation, pads):
    return ConvSpec((kernel,), (stride,), (dilation,), (pads[0],), (pads[1],), 1, 1, 1)


def slow_convolution(x, kernel, stride, dilation):
    """Without padding, tap by tap; weights 1, 10, 100, … tell every tap apart."""
    rows = (len(x) - dilation * (len(kernel) - 1) - 1) // stride + 1
    return [sum(x[at * stride + tap * dilation] * kernel[tap] for tap in range(len(kernel))) for at in range(rows)]


GRID = [
    (kernel, stride, dilation, pads, length)
    for kernel, stride, dilation, pads, length in product(
        (1, 2, 3, 5), (1, 2, 3), (1, 2), ((0, 0), (1, 2), (2, 0), (0, 3), (4, 4)), (1, 4, 7, 12)
    )
    if output_length(length, kernel, stride, dilation, pads) >= 1
]


@pytest.mark.parametrize("pieces", [1, 2, 3, 5, 8])
def test_pieces_and_strips_give_the_rows_of_the_whole(pieces):
    for kernel, stride, dilation, pads, length in GRID:
        taps = [10**tap for tap in range(kernel)]
        x = [3 + 7 * row for row in range(length)]
        whole = slow_convolution([0] * pads[0] + x + [0] * pads[1], taps, stride, dilation)
        spec = spec_of(kernel, stride, dilation, pads)
        rows = split_rows(spec, 2, length, pieces, 1).piece_rows
        for strips in {1, min(2, rows), rows}:
            split = split_rows(spec, 2, length, pieces, strips)
            found: list[int | None] = [None] * len(whole)
            for piece, strip in product(range(pieces), range(strips)):
                part = split.input_rows(piece, strip)
                assert 0 <= part.start <= part.stop <= length
                assert part.zeros_before >= 0 <= part.zeros_after
                assert part.rows == split.input_length(strip)
                padded = [0] * part.zeros_before + x[part.start : part.stop] + [0] * part.zeros_after
                answer = slow_convolution(padded, taps, stride, dilation)
                assert len(answer) == split.strips[strip].rows
                start, stop = split.output_rows(piece, strip)
                assert all(value is None for value in found[start:stop])
                found[start:stop] = answer[: stop - start]
            assert found == whole, (kernel, stride, dilation, pads, length, strips)


def test_strips_are_near_equal_and_cover_the_piece():
    for rows, strips in [(1, 1), (7, 3), (8, 5), (20, 20), (9, 2)]:
        split = split_rows(spec_of(1, 1, 1, (0, 0)), 2, rows, 1, strips)
        lengths = [strip.rows for strip in split.strips]
        assert sum(lengths) == rows
        assert max(lengths) - min(lengths) <= 1
        assert [strip.start for strip in split.strips[1:]] == [strip.stop for strip in split.strips[:-1]]


def test_the_axis_chooses_which_attributes_count():
    spec = ConvSpec((3, 5), (1, 2), (1, 3), (0, 4), (1, 6), 1, 1, 1)
    height, width = split_rows(spec, 2, 10, 2, 1), split_rows(spec, 3, 20, 2, 1)
    assert (height.stride, height.extent, height.pad_begin, height.output_rows_total) == (1, 3, 0, 9)
    assert (width.stride, width.extent, width.pad_begin, width.output_rows_total) == (2, 13, 4, 9)


def test_output_shape_counts_every_axis():
    spec = ConvSpec((3, 5), (2, 1), (1, 2), (1, 0), (1, 2), 2, 4, 6)
    assert output_shape(spec, (2, 4, 9, 9)) == (2, 6, 5, 3)


@pytest.mark.parametrize(("length", "pieces", "strips"), [(2, 1, 1), (9, 0, 1), (9, 2, 0), (9, 2, 5)])
def test_what_cannot_be_cut_is_refused(length, pieces, strips):
    with pytest.raises(ValueError, match=r"does not fit|pieces"):
        split_rows(spec_of(3, 1, 1, (0, 0)), 2, length, pieces, strips)
