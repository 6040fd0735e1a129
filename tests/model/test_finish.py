"""Bias and activation as they are applied to rows, against the operators that they stand for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from cocoi_cli.model.cutting import cut_strip, join_piece
from cocoi_cli.model.finish import RAW, Activation, Finish
from cocoi_cli.model.geometry import split_rows
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.onnxruntime_session import open_session
from tests.model.graphs import make, node
from tests.model.reference_run import finished

LARGEST = float(np.finfo(np.float32).max)
STRANGE = np.float32([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 3, -3, 7, -7, LARGEST, -LARGEST, 1e-40, -1e-40])

RELU = Activation(lowest=0.0)
OPERATORS = {
    "Relu": (node("Relu", ["x"], ["y"]), RELU),
    "Clip, both": (node("Clip", ["x", "zero", "six"], ["y"]), Activation(lowest=0.0, highest=6.0)),
    "Clip, below": (node("Clip", ["x", "zero"], ["y"]), Activation(lowest=0.0, highest=LARGEST)),
    "Clip, above": (node("Clip", ["x", "", "six"], ["y"]), Activation(lowest=-LARGEST, highest=6.0)),
    "Clip, neither": (node("Clip", ["x"], ["y"]), Activation(lowest=-LARGEST, highest=LARGEST)),
    "Clip, upside down": (node("Clip", ["x", "six", "zero"], ["y"]), Activation(lowest=6.0, highest=0.0)),
    "Clip, infinite": (node("Clip", ["x", "zero", "endless"], ["y"]), Activation(lowest=0.0)),
    "LeakyRelu": (node("LeakyRelu", ["x"], ["y"], alpha=0.1), Activation(slope=float(np.float32(0.1)))),
    "LeakyRelu of 1": (node("LeakyRelu", ["x"], ["y"], alpha=1.0), Activation()),
}
CONSTANTS = {"zero": np.float32(0), "six": np.float32(6), "endless": np.float32(np.inf)}


def random_rows(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Values of every kind, in random places."""
    rng = np.random.default_rng(seed)
    values = (4 * rng.standard_normal(shape)).astype(np.float32)
    places = rng.random(shape) < 0.2
    values[places] = rng.choice(STRANGE, places.sum())
    return values


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return np.array_equal(found, expected, equal_nan=True)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("size", [1, 7, 64, 1003])
def test_activations_are_the_operators_to_the_last_bit(name: str, size: int) -> None:
    operator, activation = OPERATORS[name]
    proto = make([operator], {"x": ("n",)}, ["y"], CONSTANTS)
    x = random_rows((size,), size)
    x[:14] = STRANGE[:size]
    (expected,) = open_session(proto.SerializeToString(), threads=1).run(None, {"x": x})
    kept, out = x.copy(), np.empty_like(x)
    activation.write(x, out)
    assert same(out, expected)
    assert same(x, kept)
    activation.write(x, x)
    assert same(x, expected)


@pytest.mark.parametrize("spatial", [(9,), (5, 6), (3, 4, 5), (35, 37)])
@pytest.mark.parametrize("activation", [None, *(activation for _, activation in OPERATORS.values())])
@pytest.mark.parametrize("biased", [True, False])
def test_sums_are_finished_as_by_single_operators(spatial, activation, biased) -> None:
    """In short runs and in one that is long."""
    sums = random_rows((2, 4, *spatial))
    finish = Finish(np.float32([0.5, -3, 3e38, -np.inf]) if biased else None, activation)
    kept, out = sums.copy(), np.full_like(sums, 99)
    finish.write(sums, out)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = finished(sums, finish)
    assert same(out, expected)
    assert same(finish.of(sums), expected)
    assert same(sums, kept)


def test_nothing_is_copied_where_nothing_is_to_be_done() -> None:
    sums = random_rows((1, 3, 4, 4))
    assert RAW.of(sums) is sums
    assert RAW.channels(1, 2) is RAW


def test_a_run_of_channels_has_its_own_biases() -> None:
    sums, finish = random_rows((1, 5, 3, 3)), Finish(np.arange(5, dtype=np.float32), RELU)
    part = finish.channels(1, 4)
    assert same(part.of(sums[:, 1:4]), finish.of(sums)[:, 1:4])


@pytest.mark.parametrize("axis", [2, 3])
def test_pieces_are_finished_in_their_place_in_any_order_and_any_number_of_times(axis: int) -> None:
    """A piece that comes twice, from an agent and from decoding, is finished once."""
    spec = ConvSpec((1, 1), (1, 1), (1, 1), (0, 0), (0, 0), 1, 3, 3)
    sums, finish = random_rows((1, 3, 11, 13)), Finish(np.float32([5, -5, 1]), RELU)
    split = split_rows(spec, axis, sums.shape[axis], 4, 2)
    pieces = [cut_strip(sums, split, strip, axis) for strip in range(2)]
    kept = [block.copy() for block in pieces]
    out = np.full_like(sums, np.nan)
    order = [(strip, piece) for strip in range(2) for piece in range(4)] * 2
    for at in np.random.default_rng(axis).permutation(len(order)):
        strip, piece = order[at]
        join_piece(out, pieces[strip][piece], split, piece, strip, axis, finish)
    assert same(out, finish.of(sums))
    assert all(same(block, before) for block, before in zip(pieces, kept, strict=True))


def test_a_convolution_that_onnx_runtime_fuses_keeps_what_is_no_number() -> None:
    """What this stands against is a convolution with the activation inside."""
    for name, (operator, activation) in OPERATORS.items():
        w = np.zeros((16, 16, 1, 1), np.float32)
        w[range(16), range(16)] = 1
        last = helper.make_node(operator.op_type, ["c", *operator.input[1:]], ["y"])
        last.attribute.extend(operator.attribute)
        proto = make([node("Conv", ["x", "w"], ["c"]), last], {"x": ("n", 16, "h", "w_")}, ["y"], {**CONSTANTS, "w": w})
        session = open_session(proto.SerializeToString(), threads=1)
        for value in (np.nan, 7.0, -7.0):
            x = np.full((1, 16, 5, 7), value, np.float32)
            assert same(Finish(None, activation).of(x), session.run(None, {"x": x})[0]), name
