from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from cocoi_cli.model.fold import evaluate, fold
from cocoi_cli.model.reading import read_graph
from tests.model.graphs import HALF, assert_cut_agrees, make, node, weights

W = weights(4, 3, 3, 3, seed=1)
B = weights(4, seed=2)
SHAPE = {"x": (1, 3, 8, 7)}
FILL = numpy_helper.from_array(np.float32([0.25]))

STORED = {
    "initialiser": ([], {"w": W}),
    "constant node": ([node("Constant", [], ["w"], value=numpy_helper.from_array(W))], {}),
    "cast of float16": ([node("Cast", ["h"], ["w"], to=TensorProto.FLOAT)], {"h": W.astype(np.float16)}),
    "dequantised": (
        [node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0)],
        {
            "q": np.clip(np.round(W * 90), -127, 127).astype(np.int8),
            "s": np.float32([0.01, 0.02, 0.03, 0.01]),
            "z": np.zeros(4, np.int8),
        },
    ),
    "filled": ([node("ConstantOfShape", ["n"], ["w"], value=FILL)], {"n": np.array(W.shape)}),
    "reshaped and transposed": (
        [node("Reshape", ["r", "n"], ["t"]), node("Transpose", ["t"], ["w"], perm=[3, 2, 1, 0])],
        {"r": np.ascontiguousarray(W.T).reshape(9, -1), "n": np.array([3, 3, 3, 4])},
    ),
    "identity": ([node("Identity", ["i"], ["w"])], {"i": W}),
    "shape of a constant": (
        [node("Shape", ["i"], ["n"]), node("ConstantOfShape", ["n"], ["w"], value=FILL)],
        {"i": W},
    ),
}


@pytest.mark.parametrize("way", STORED)
def test_weights_computed_from_constants_become_constants(tmp_path, way):
    nodes, constants = STORED[way]
    proto = make([*nodes, node("Conv", ["x", "w", "b"], ["y"])], SHAPE, ["y"], {**constants, "b": B})
    before = proto.SerializeToString()
    graph = fold(read_graph(proto))
    assert [item.op_type for item in graph.nodes] == ["Conv"]
    assert proto.SerializeToString() == before
    network = assert_cut_agrees(tmp_path, proto)
    assert [layer.obstacle for layer in network.layers] == [None]


def test_a_computed_bias_is_folded_too(tmp_path):
    nodes = [node("Cast", ["h"], ["b"], to=TensorProto.FLOAT), node("Conv", ["x", "w", "b"], ["y"])]
    proto = make(nodes, SHAPE, ["y"], {"w": W, "h": B.astype(np.float16)})
    assert len(fold(read_graph(proto)).nodes) == 1
    assert_cut_agrees(tmp_path, proto)


def test_weights_of_other_nodes_are_not_evaluated(tmp_path):
    nodes = [
        node("ConstantOfShape", ["n"], ["m"], value=FILL),
        node("Conv", ["x", "w"], ["c"]),
        node("Flatten", ["c"], ["f"]),
        node("MatMul", ["f", "m"], ["y"]),
    ]
    proto = make(nodes, SHAPE, ["y"], {"w": W, "n": np.array([120, 5])})
    assert [item.op_type for item in fold(read_graph(proto)).nodes] == [item.op_type for item in nodes]
    network = assert_cut_agrees(tmp_path, proto)
    assert network.stages[-1].operators == 3


def test_a_computed_weight_that_others_read_stays_for_them(tmp_path):
    nodes = [node("Identity", ["i"], ["w"]), node("Conv", ["x", "w"], ["y"]), node("Relu", ["w"], ["z"])]
    proto = make(nodes, SHAPE, ["y", "z"], {"i": W})
    assert [item.op_type for item in fold(read_graph(proto)).nodes] == ["Identity", "Conv", "Relu"]
    assert_cut_agrees(tmp_path, proto)


def normalisation(opset=13, *, names="smiv", extra=(), **attributes):
    return (
        node("BatchNormalization", ["c", *names], ["y", *extra], epsilon=1e-3, **attributes),
        {
            "s": np.float32([0.5, 1, 2, -1]),
            "m": np.float32([0, 1, -1, 3]),
            "i": np.float32([0, 0.5, -2, 1]),
            "v": np.float32([1, 0.2, 3, 1e-6]),
        },
    )


@pytest.mark.parametrize("opset", [7, 9, 13, 14, 15])
@pytest.mark.parametrize("biased", [False, True])
def test_a_normalisation_is_folded_into_its_convolution(tmp_path, opset, biased):
    batch, constants = normalisation()
    convolution = node("Conv", ["x", "w", "b"] if biased else ["x", "w"], ["c"])
    proto = make([convolution, batch], SHAPE, ["y"], {**constants, "w": W, "b": B}, opset=opset)
    graph = fold(read_graph(proto))
    assert [item.op_type for item in graph.nodes] == ["Conv"]
    assert list(graph.nodes[0].output) == ["y"]
    factor = constants["s"] / np.sqrt(constants["v"].astype(np.float64) + 1e-3)
    np.testing.assert_allclose(graph.array(graph.nodes[0].input[1]), W * factor.reshape(-1, 1, 1, 1), rtol=1e-6)
    assert_cut_agrees(tmp_path, proto)


def test_parameters_of_a_normalisation_may_be_computed(tmp_path):
    batch, constants = normalisation()
    constants["v_stored"] = constants.pop("v")
    nodes = [node("Identity", ["v_stored"], ["v"]), node("Conv", ["x", "w"], ["c"]), batch]
    proto = make(nodes, SHAPE, ["y"], {**constants, "w": W})
    assert [item.op_type for item in fold(read_graph(proto)).nodes] == ["Conv"]
    assert_cut_agrees(tmp_path, proto)


def test_normalisations_that_must_stay(tmp_path):
    batch, constants = normalisation()
    constants["w"] = W
    convolution = node("Conv", ["x", "w"], ["c"])
    second = node("Relu", ["c"], ["z"])
    for nodes, outputs in [([convolution, batch, second], ["y", "z"]), ([convolution, batch], ["y", "c"])]:
        proto = make(nodes, SHAPE, outputs, constants)
        assert "BatchNormalization" in {item.op_type for item in fold(read_graph(proto)).nodes}
        assert_cut_agrees(tmp_path, proto)
    training = normalisation(extra=["mean_out", "var_out"], training_mode=1)[0]
    proto = make([convolution, training], SHAPE, ["y"], constants, opset=15)
    assert len(fold(read_graph(proto)).nodes) == 2
    computed = node("ReduceMean", ["x"], ["v"], axes=[0, 1, 2, 3], keepdims=0)
    widened = node("Expand", ["v", "four"], ["vv"])
    batch = normalisation(names=["s", "m", "i", "vv"])[0]
    constants = {name: values for name, values in constants.items() if name != "v"}
    absolute = [computed, widened, node("Abs", ["vv"], ["av"])]
    batch.input[4] = "av"
    proto = make([*absolute, convolution, batch], SHAPE, ["y"], {**constants, "four": np.array([4])})
    assert "BatchNormalization" in {item.op_type for item in fold(read_graph(proto)).nodes}
    assert_cut_agrees(tmp_path, proto)


def test_a_normalisation_of_another_length_is_left_to_the_runtime(tmp_path):
    batch, constants = normalisation()
    constants = {name: values[:3] for name, values in constants.items()}
    proto = make([node("Conv", ["x", "w"], ["c"]), batch], SHAPE, ["y"], {**constants, "w": W})
    assert len(fold(read_graph(proto)).nodes) == 2


def test_a_normalisation_that_overflows_is_left_alone(tmp_path):
    batch, constants = normalisation()
    constants["s"] = np.float32([3e38, 1, 1, 1])
    constants["v"] = np.float32([1e-9, 1, 1, 1])
    proto = make([node("Conv", ["x", "w"], ["c"]), batch], SHAPE, ["y"], {**constants, "w": W * 100})
    assert len(fold(read_graph(proto)).nodes) == 2


def test_float16_normalisations_stay(tmp_path):
    batch, constants = normalisation()
    constants = {name: values.astype(np.float16) for name, values in {**constants, "w": W}.items()}
    proto = make([node("Conv", ["x", "w"], ["c"]), batch], SHAPE, ["y"], constants, element=HALF)
    assert len(fold(read_graph(proto)).nodes) == 2
    assert_cut_agrees(tmp_path, proto, tolerance=4e-3)


def test_a_normalisation_of_weights_that_two_convolutions_share(tmp_path):
    batch, constants = normalisation()
    nodes = [node("Conv", ["x", "w"], ["c"]), batch, node("Conv", ["x", "w"], ["z"])]
    proto = make(nodes, SHAPE, ["y", "z"], {**constants, "w": W})
    graph = fold(read_graph(proto))
    assert [item.op_type for item in graph.nodes] == ["Conv", "Conv"]
    assert np.array_equal(graph.array(graph.nodes[1].input[1]), W)
    assert_cut_agrees(tmp_path, proto)


def quantised_nodes(*, tail=True):
    nodes = [
        node("QuantizeLinear", ["x", "xs", "xz"], ["xq"]),
        node("DequantizeLinear", ["xq", "xs", "xz"], ["xd"]),
        node("DequantizeLinear", ["wq", "ws", "wz"], ["wd"]),
        node("Conv", ["xd", "wd"], ["c"]),
        node("Relu", ["c"], ["r"]),
    ]
    if tail:
        nodes += [
            node("QuantizeLinear", ["r", "xs", "xz"], ["rq"]),
            node("DequantizeLinear", ["rq", "xs", "xz"], ["y"]),
        ]
    constants = {
        "xs": np.float32(0.05),
        "xz": np.uint8(128),
        "wq": np.clip(np.round(W * 90), -127, 127).astype(np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
    }
    return nodes, constants


def test_quantised_groups_are_not_touched(tmp_path):
    nodes, constants = quantised_nodes()
    proto = make(nodes, SHAPE, ["y"], constants)
    graph = fold(read_graph(proto))
    assert [item.SerializeToString() for item in graph.nodes] == [item.SerializeToString() for item in nodes]
    network = assert_cut_agrees(tmp_path, proto)
    assert "quantised" in network.layers[0].obstacle


def test_a_convolution_whose_result_stays_float_is_not_quantised(tmp_path):
    nodes, constants = quantised_nodes(tail=False)
    proto = make(nodes, SHAPE, ["r"], constants)
    assert [layer.obstacle for layer in assert_cut_agrees(tmp_path, proto).layers] == [None]


def test_evaluating_nothing_opens_nothing():
    graph = read_graph(make([node("Relu", ["x"], ["y"])], {"x": (1,)}, ["y"], {}))
    assert evaluate(graph, []) == {}
