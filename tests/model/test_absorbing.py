"""Which activations belong to the stage of the convolution before them, and what stands in the way of the others."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from cocoi_cli.model.finish import RAW, Activation
from cocoi_cli.model.network import Behind, ConvStage, FusedStage
from cocoi_cli.model.segments import segment_between
from cocoi_cli.model.stages import cut
from cocoi_cli.model.tiles import fuse
from tests.model.graphs import (
    HALF,
    assert_cut_agrees,
    distributable,
    make,
    node,
    prepare,
    random_arrays,
    weights,
)
from tests.model.reference_run import relative_difference, run_network

W = weights(3, 3, 3, 3, seed=1)
B = np.float32([0.5, -1, 2])
X = {"x": (1, 3, 8, 7)}
SAME = {"pads": [1, 1, 1, 1]}
RELU = Activation(lowest=0.0)
LARGEST = float(np.finfo(np.float32).max)
CONSTANTS = {"w": W, "b": B, "zero": np.float32(0), "six": np.float32(6), "none": np.float32(np.nan)}


def kinds(network) -> list:
    words = {ConvStage: "conv", FusedStage: "fused"}
    return [words.get(type(stage)) or stage.operators for stage in network.stages]


def convolutions(network) -> list[ConvStage]:
    return [stage for stage in network.stages if isinstance(stage, ConvStage)]


def chain(activation, *, opset: int = 13, more: dict | None = None):
    """Two convolutions with biases and something in between, from `c` to `r`."""
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], **SAME),
        activation,
        node("Conv", ["r", "w", "b"], ["y"], **SAME),
    ]
    return make(nodes, X, ["y"], CONSTANTS | (more or {}), opset=opset)


TAKEN = {
    "Relu": (node("Relu", ["c"], ["r"]), 13, RELU),
    "Relu of an old model": (node("Relu", ["c"], ["r"]), 7, RELU),
    "LeakyRelu": (node("LeakyRelu", ["c"], ["r"], alpha=0.25), 13, Activation(slope=0.25)),
    "LeakyRelu as usual": (node("LeakyRelu", ["c"], ["r"]), 16, Activation(slope=0.01)),
    "Clip by attributes": (node("Clip", ["c"], ["r"], min=0.0, max=0.5), 10, Activation(lowest=0.0, highest=0.5)),
    "Clip by one attribute": (node("Clip", ["c"], ["r"], max=0.5), 7, Activation(lowest=-LARGEST, highest=0.5)),
    "Clip by inputs": (node("Clip", ["c", "zero", "six"], ["r"]), 11, Activation(lowest=0.0, highest=6.0)),
    "Clip by one input": (node("Clip", ["c", "", "zero"], ["r"]), 13, Activation(lowest=-LARGEST, highest=0.0)),
    "Clip by none": (node("Clip", ["c"], ["r"]), 13, Activation(lowest=-LARGEST, highest=LARGEST)),
}


@pytest.mark.parametrize("name", TAKEN)
def test_an_activation_behind_a_convolution_is_part_of_its_stage(tmp_path, name) -> None:
    activation, opset, expected = TAKEN[name]
    network = assert_cut_agrees(tmp_path, chain(activation, opset=opset))
    assert kinds(network) == ["conv", "conv"]
    first, second = network.stages
    assert (first.output, second.input, second.output) == ("r", "r", "y")
    assert first.finish.activation == expected
    assert second.finish.activation is None
    assert all(np.array_equal(stage.finish.bias, B) for stage in network.stages)
    assert [layer.behind for layer in network.layers] == [Behind.JOINED, Behind.NOTHING]


LEFT = {
    "Sigmoid": node("Sigmoid", ["c"], ["r"]),
    "LeakyRelu without a slope": node("LeakyRelu", ["c"], ["r"], alpha=0.0),
    "LeakyRelu that is steeper below": node("LeakyRelu", ["c"], ["r"], alpha=2.0),
    "LeakyRelu that turns round": node("LeakyRelu", ["c"], ["r"], alpha=-0.5),
    "Clip by what is no number": node("Clip", ["c", "none", "six"], ["r"]),
    "another domain": node("Relu", ["c"], ["r"], domain="own"),
}


@pytest.mark.parametrize("name", LEFT)
def test_other_operators_stay_on_the_host(tmp_path, name) -> None:
    proto = chain(LEFT[name], opset=18)
    body = [node("Neg", ["a"], ["d"])]
    proto.functions.append(helper.make_function("own", "Relu", ["a"], ["d"], body, [helper.make_opsetid("", 18)]))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    network = assert_cut_agrees(tmp_path, proto)
    assert kinds(network) == ["conv", 1, "conv"]
    assert convolutions(network)[0].finish.activation is None
    assert [layer.behind for layer in network.layers] == [Behind.NOTHING] * 2


def test_bounds_known_at_run_time_stay_on_the_host(tmp_path) -> None:
    nodes = [
        node("ReduceMax", ["x"], ["top"], keepdims=0),
        node("Conv", ["x", "w", "b"], ["c"], **SAME),
        node("Clip", ["c", "zero", "top"], ["r"]),
        node("Conv", ["r", "w"], ["y"], **SAME),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], CONSTANTS))
    assert kinds(network) == [1, "conv", 1, "conv"]


def test_a_convolution_that_bounds_another_is_not_clipped(tmp_path) -> None:
    """What a Clip reads beside its first input is no activation of it."""
    nodes = [
        node("Conv", ["x", "v"], ["c"]),
        node("Squeeze", ["c"], ["s"]),
        node("Clip", ["x", "", "s"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"v": weights(1, 3, 8, 7)}))
    assert kinds(network) == ["conv", 2]


@pytest.mark.parametrize("other", ["a node", "an output", "a body", "an addition to itself"])
def test_a_sum_that_others_need_is_not_activated(tmp_path, other) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["c"], **SAME), node("Relu", ["c"], ["r"])]
    outputs = ["y"]
    if other == "a node":
        nodes += [node("Neg", ["c"], ["n"]), node("Add", ["r", "n"], ["y"])]
    elif other == "an output":
        nodes += [node("Conv", ["r", "w"], ["y"], **SAME)]
        outputs.append("c")
    elif other == "a body":
        yes, no = (
            helper.make_graph([node(kind, ["c"], [kind])], kind, [], [helper.make_tensor_value_info(kind, 1, None)])
            for kind in ("Neg", "Abs")
        )
        nodes += [
            node("ReduceSum", ["x"], ["total"], keepdims=0),
            node("Greater", ["total", "zero"], ["flag"]),
            node("If", ["flag"], ["picked"], then_branch=yes, else_branch=no),
            node("Add", ["r", "picked"], ["y"]),
        ]
    else:
        nodes = [nodes[0], node("Add", ["c", "c"], ["d"]), node("Relu", ["d"], ["y"])]
    network = assert_cut_agrees(tmp_path, make(nodes, X, outputs, CONSTANTS))
    first = convolutions(network)[0]
    assert (first.output, first.finish.activation) == ("c", None)
    assert np.array_equal(first.finish.bias, B)


def test_an_activated_sum_may_leave_the_network(tmp_path) -> None:
    nodes = [node("Conv", ["x", "w"], ["c"], **SAME), node("Relu", ["c"], ["y"]), node("Neg", ["y"], ["z"])]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y", "z"], CONSTANTS))
    assert kinds(network) == ["conv", 1]
    assert (network.stages[0].output, network.stages[0].finish.activation) == ("y", RELU)
    assert network.stages[0].finish.bias is None


def test_one_activation_of_several_is_taken(tmp_path) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], **SAME),
        node("LeakyRelu", ["c"], ["l"], alpha=0.5),
        node("Clip", ["l", "zero", "six"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], CONSTANTS))
    assert kinds(network) == ["conv", 1]
    assert network.stages[0].finish.activation == Activation(slope=0.5)


def test_a_bias_computed_at_run_time_keeps_both_on_the_host(tmp_path) -> None:
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[0, 2, 3], keepdims=0),
        node("Conv", ["x", "w", "m"], ["c"], **SAME),
        node("Relu", ["c"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], CONSTANTS))
    (stage,) = convolutions(network)
    assert stage.finish is RAW
    assert [layer.behind for layer in network.layers] == [Behind.HOST]


def test_what_is_rounded_to_float16_is_activated_on_the_host(tmp_path) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["r"]), node("Conv", ["r", "w"], ["y"])]
    constants = {"w": W.astype(np.float16), "b": B.astype(np.float16)}
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], constants, element=HALF), tolerance=4e-3)
    first, second = convolutions(network)
    assert kinds(network) == ["conv", 2, "conv", 1]
    assert (first.finish.bias.dtype, first.finish.activation) == (np.float32, None)
    assert np.array_equal(first.finish.bias, B)
    assert second.finish is RAW
    assert [layer.behind for layer in network.layers] == [Behind.HOST] * 2


def test_a_folded_normalisation_and_its_activation_are_one_stage(tmp_path) -> None:
    statistics = {name: np.float32([0.5, 1, 2]) for name in ("scale", "shift", "mean", "variance")}
    nodes = [
        node("Conv", ["x", "w"], ["c"], **SAME),
        node("BatchNormalization", ["c", *statistics], ["n"]),
        node("Relu", ["n"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], CONSTANTS | statistics))
    assert kinds(network) == ["conv"]
    assert network.stages[0].finish.bias is not None
    assert network.stages[0].finish.activation == RELU


def test_a_normalisation_that_cannot_be_folded_stays_with_its_activation(tmp_path) -> None:
    statistics = {name: np.float32([0.5, 1, 2]) for name in ("shift", "mean", "variance")}
    nodes = [
        node("ReduceMean", ["x"], ["scale"], axes=[0, 2, 3], keepdims=0),
        node("Conv", ["x", "w", "b"], ["c"], **SAME),
        node("BatchNormalization", ["c", "scale", *statistics], ["n"]),
        node("Relu", ["n"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], CONSTANTS | statistics))
    assert kinds(network) == [1, "conv", 2]
    assert network.stages[1].finish.activation is None


def test_only_distributed_convolutions_take_activations(tmp_path) -> None:
    proto = chain(node("Relu", ["c"], ["r"]))
    arrays = random_arrays(proto)
    prepared = prepare(tmp_path, proto, arrays)
    first, second = distributable(prepared)
    assert kinds(cut(prepared, [second])) == [2, "conv"]
    assert kinds(cut(prepared, [first])) == ["conv", 1]


def test_an_activation_at_the_head_of_a_segment_stays_there(tmp_path) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="first", **SAME),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w", "b"], ["d"], name="second", **SAME),
        node("Relu", ["d"], ["e"]),
        node("Conv", ["e", "w", "b"], ["f"], name="third", **SAME),
        node("Relu", ["f"], ["y"]),
    ]
    proto = make(nodes, X, ["y"], CONSTANTS)
    arrays = random_arrays(proto)
    prepared = prepare(tmp_path, proto, arrays)
    segment = fuse(prepared, segment_between(prepared, "c", "d"), 3, "f32", "f32")
    network = cut(prepared, ["first", "third"], [segment])
    assert kinds(network) == ["conv", "fused", 1, "conv"]
    assert [stage.finish.activation for stage in convolutions(network)] == [None, RELU]
    assert segment.bare is segment
    found = run_network(network, arrays, pieces=3, strips=2)["y"]
    whole = run_network(cut(prepared, []), arrays)["y"]
    assert relative_difference(found, whole) <= 1e-5


@pytest.mark.parametrize(("spatial", "group"), [((9,), 1), ((9,), 3), ((5, 6), 3), ((4, 5, 6), 1)])
def test_any_number_of_axes_and_groups(tmp_path, spatial, group) -> None:
    constants = {"w": weights(6, 3 // group, *[3] * len(spatial)), "b": np.arange(6, dtype=np.float32) - 3}
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 2 * len(spatial), group=group),
        node("LeakyRelu", ["c"], ["y"], alpha=0.5),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, {"x": (2, 3, *spatial)}, ["y"], constants))
    assert kinds(network) == ["conv"]
