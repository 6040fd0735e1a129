"""What counts as equal to plain ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.runtime.check import Tolerance, compare, difference

F32 = np.float32


@pytest.mark.parametrize(
    ("found", "reference", "expected"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1e-9, 0.0], [0.0, 0.0], np.inf),
        ([np.nan, 1.0], [np.nan, 1.0], 0.0),
        ([np.inf, 1.0], [np.inf, 1.0], 0.0),
        ([-np.inf, 1.0], [np.inf, 1.0], np.inf),
        ([np.nan, 1.0], [0.0, 1.0], np.inf),
        ([0.0, 1.0], [np.nan, 1.0], np.inf),
        ([np.nan, np.nan], [np.nan, np.nan], 0.0),
        ([], [], 0.0),
    ],
)
def test_the_difference_is_relative_to_the_largest_value(found, reference, expected) -> None:
    assert difference(np.array(found, F32), np.array(reference, F32)) == expected


def test_integers_are_counted() -> None:
    reference = np.arange(1000, dtype=np.int64)
    found = reference.copy()
    found[7] = -1
    assert difference(found, reference) == 1e-3


@pytest.mark.parametrize("found", [np.zeros((2, 3), F32), np.zeros((3, 2), np.float16)])
def test_another_shape_or_type_is_never_equal(found) -> None:
    assert difference(found, np.zeros((3, 2), F32)) == np.inf


@pytest.mark.parametrize(
    ("dtype", "transport", "error", "passed"),
    [
        (F32, "f32", 0.9e-4, True),
        (F32, "f32", 1.1e-4, False),
        (F32, "f16", 0.9e-2, True),
        (F32, "f16", 1.1e-2, False),
        (np.float16, "f32", 3e-3, True),
        (np.float16, "f16", 5e-3, False),
    ],
)
def test_the_tolerance_goes_with_transport_and_model(dtype, transport, error, passed) -> None:
    reference = np.ones((1, 4), dtype)
    reference[0, 2] = 2
    found = reference.copy()
    found[0, 0] += 2 * error
    report = compare({"y": found}, {"y": reference}, Tolerance(transport))
    assert report.passed is passed
    assert report.top1_equal is True


@pytest.mark.parametrize(("dtype", "given", "error", "passed"), [
    (F32, 1e-3, 0.9e-3, True),
    (F32, 1e-3, 1.1e-3, False),
    (np.float16, 5e-2, 4e-2, True),
    (np.int64, 5e-2, 1.0, False),
])  # fmt: skip
def test_a_given_tolerance_is_that_of_every_float_output(dtype, given, error, passed) -> None:
    reference = np.array([[2, 4]], dtype)
    found = (reference + np.array([[4 * error, 0]])).astype(dtype)
    for transport in ("f16", "f32"):
        assert compare({"y": found}, {"y": reference}, Tolerance(transport, given)).passed is passed


def test_top1_is_asked_of_classifiers_only() -> None:
    scores, image = np.array([[0.1, 0.9]], F32), np.ones((1, 3, 8, 8), F32)
    assert compare({"p": scores[:, ::-1]}, {"p": scores}, Tolerance("f32")).top1_equal is False
    assert compare({"p": scores[..., None, None]}, {"p": scores[..., None, None]}, Tolerance("f32")).top1_equal is True
    assert compare({"i": image}, {"i": image}, Tolerance("f32")).top1_equal is None


def test_the_worst_output_is_the_one_nearest_its_own_tolerance() -> None:
    reference = {"a": np.ones(4, F32), "b": np.arange(4000)}
    found = {"a": np.full(4, 1.005, F32), "b": np.arange(4000)}
    found["b"] = found["b"].copy()
    found["b"][:3] = -1
    report = compare(found, reference, Tolerance("f16"))
    assert report.tolerance == 1e-3  # 7.5e-4 of 1e-3 is worse than 5e-3 of 1e-2
    assert report.max_rel_error == pytest.approx(5e-3, rel=1e-3)


def test_a_model_that_is_float16_inside_may_err_like_one() -> None:
    reference = np.array([[1.0, 2.0]], F32)
    found = reference + np.float32(4e-3)
    assert not compare({"y": found}, {"y": reference}, Tolerance("f32")).passed
    assert compare({"y": found}, {"y": reference}, Tolerance("f32"), half=True).passed
