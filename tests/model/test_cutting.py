from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from cocoi_cli.model.cutting import cut_strip, strip_shape
from cocoi_cli.model.geometry import split_rows
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.slices import slice_program
from tests.model.reference_run import join_strip


def six_loops(x, w, spec):
    """The definition of a convolution in two dimensions, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), *zip(spec.pads_begin, spec.pads_end, strict=True)))
    rows, columns = (
        (x.shape[2 + at] - spec.dilations[at] * (spec.kernel[at] - 1) - 1) // spec.strides[at] + 1 for at in (0, 1)
    )
    out = np.zeros((x.shape[0], spec.out_channels, rows, columns))
    inner, outer = w.shape[1], spec.out_channels // spec.group
    for b, o, i, j in np.ndindex(*out.shape):
        for c, ki, kj in np.ndindex(inner, *spec.kernel):
            row = i * spec.strides[0] + ki * spec.dilations[0]
            column = j * spec.strides[1] + kj * spec.dilations[1]
            out[b, o, i, j] += x[b, o // outer * inner + c, row, column] * w[o, c, ki, kj]
    return out


SPECS = [
    ConvSpec((3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 1, 2, 3),
    ConvSpec((3, 2), (2, 1), (1, 2), (0, 1), (2, 0), 2, 4, 4),
    ConvSpec((5, 1), (1, 3), (2, 1), (3, 0), (0, 2), 4, 4, 8),
    ConvSpec((1, 1), (3, 2), (1, 1), (0, 0), (0, 0), 1, 3, 2),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_cut_pieces_convolved_by_the_program_join_to_the_whole(spec, axis, dtype):
    rng = np.random.default_rng(3)
    x = rng.integers(-4, 5, (2, spec.in_channels, 11, 9)).astype(dtype)
    w = rng.integers(-4, 5, (spec.out_channels, spec.in_channels // spec.group, *spec.kernel)).astype(np.float32)
    whole = six_loops(x, w, spec)
    session = open_session(slice_program(spec, axis, "f32"), threads=1)
    for pieces, strips in product((1, 2, 3, 4), (1, 2)):
        split = split_rows(spec, axis, x.shape[axis], pieces, 1)
        split = split_rows(spec, axis, x.shape[axis], pieces, min(strips, split.piece_rows))
        out = np.empty(whole.shape, np.float32)
        out.fill(np.nan)
        for strip in range(len(split.strips)):
            stacked = cut_strip(x, split, strip, axis)
            assert stacked.dtype == np.float32
            assert stacked.flags.c_contiguous
            assert stacked.shape == (pieces, *strip_shape(x.shape, split, strip, axis))
            answers = [session.run(["y32"], {"x": piece, "w": w})[0] for piece in stacked]
            join_strip(out, answers, split, strip, axis)
        assert np.array_equal(out, whole)


def test_a_given_array_is_filled_completely():
    spec = SPECS[0]
    x = np.ones((1, 2, 5, 5), np.float32)
    split = split_rows(spec, 2, 5, 4, 1)
    stale = np.full((4, *strip_shape(x.shape, split, 0, 2)), np.nan, np.float32)
    assert cut_strip(x, split, 0, 2, out=stale) is stale
    assert np.array_equal(stale, cut_strip(x, split, 0, 2))


def test_joining_casts_to_the_type_of_the_output():
    split = split_rows(SPECS[3], 2, 9, 2, 1)
    out = np.empty((1, 2, 3, 5), np.float16)
    join_strip(out, np.full((2, 1, 2, 2, 5), 0.1, np.float32), split, 0, 2)
    assert np.array_equal(out, np.full(out.shape, 0.1, np.float16))
