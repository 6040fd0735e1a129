from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.slices import slice_program

SPEC = ConvSpec((3, 5), (2, 1), (1, 2), (1, 2), (0, 4), 2, 4, 6)


def test_the_same_geometry_gives_the_same_bytes_whatever_the_channels():
    wider = replace(SPEC, in_channels=64, out_channels=32)
    assert slice_program(SPEC, 2, "f16") == slice_program(wider, 2, "f16")


@pytest.mark.parametrize(
    "change",
    [{"kernel": (3, 3)}, {"strides": (1, 1)}, {"dilations": (1, 1)}, {"pads_begin": (1, 1)}, {"group": 1}],
)
def test_another_geometry_gives_other_bytes(change):
    assert slice_program(SPEC, 2, "f32") != slice_program(replace(SPEC, **change), 2, "f32")


def test_padding_on_the_cut_axis_does_not_matter():
    assert slice_program(SPEC, 2, "f32") == slice_program(replace(SPEC, pads_begin=(0, 2), pads_end=(9, 4)), 2, "f32")


def test_float16_programs_answer_in_both_types():
    session = open_session(slice_program(SPEC, 2, "f16"), threads=1)
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 8)).astype(np.float16)
    w = np.random.default_rng(1).standard_normal((6, 2, 3, 5)).astype(np.float32)
    half, single = session.run(["y16", "y32"], {"x": x, "w": w})
    assert [item.name for item in session.get_outputs()] == ["y16", "y32"]
    assert (half.dtype, single.dtype) == (np.float16, np.float32)
    assert np.array_equal(half, single.astype(np.float16))
    assert single.shape == (1, 6, 4, 6)
    exact = open_session(slice_program(SPEC, 2, "f32"), threads=1).run(None, {"x": x.astype(np.float32), "w": w})
    assert len(exact) == 1
    assert np.array_equal(exact[0], single)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_number_of_spatial_axes(axes):
    ones = (1,) * axes
    spec = ConvSpec((3,) * axes, ones, ones, ones, ones, 1, 2, 2)
    w = np.ones((2, 2, *spec.kernel), np.float32)
    y = open_session(slice_program(spec, 2, "f32")).run(None, {"x": np.ones((1, 2, *(6,) * axes), np.float32), "w": w})
    assert y[0].shape == (1, 2, 4, *(6,) * (axes - 1))


def test_programs_are_readable_by_old_runtimes():
    model = onnx.load_from_string(slice_program(SPEC, 2, "f16"))
    assert (model.ir_version, model.opset_import[0].version) == (8, 13)
    onnx.checker.check_model(model)


def test_an_unknown_transport_is_refused():
    with pytest.raises(ValueError, match="bf16"):
        slice_program(SPEC, 2, "bf16")
