from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from cocoi_cli.model.reading import read_graph
from cocoi_cli.model.shapes import (
    InputShapeError,
    UnknownInputError,
    UnknownSizeError,
    infer_types,
    known_shape,
    resolve_input_shapes,
)
from tests.model.graphs import assert_cut_agrees, make, node, save, weights

W = weights(4, 3, 3, 3)


@pytest.fixture
def model(tmp_path):
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Add", ["c", "other"], ["y"])]
    return save(tmp_path, make(nodes, {"x": ("N", 3, "H", 9), "other": ("N", 1, 1, None)}, ["y"], {"w": W}))


def test_given_shapes_fix_the_symbols_of_the_others(model):
    shapes = resolve_input_shapes(model, {"x": (2, 3, 7, 9), "other": (2, 1, 1, 1)})
    assert shapes == {"x": (2, 3, 7, 9), "other": (2, 1, 1, 1)}
    with pytest.raises(UnknownSizeError) as caught:
        resolve_input_shapes(model, {"x": (2, 3, 7, 9)})
    assert (caught.value.name, caught.value.shape) == ("other", ("N", 1, 1, None))
    assert "`Nx1x1x?`" in caught.value.message


def test_sizes_by_symbol_and_batch(model):
    shapes = resolve_input_shapes(model, {"other": (1, 1, 1, 1)}, sizes={"H": 5})
    assert shapes["x"] == (1, 3, 5, 9)
    with pytest.raises(UnknownSizeError):
        resolve_input_shapes(model, {}, batch=4)
    assert resolve_input_shapes(model, {"other": (2, 1, 1, 1)}, sizes={"H": 5, "N": 7})["x"][0] == 2


@pytest.mark.parametrize("shape", [(1, 3, 7), (1, 4, 7, 9), (1, 3, 7, 8), ()])
def test_a_wrong_shape_names_expected_and_found(model, shape):
    with pytest.raises(InputShapeError) as caught:
        resolve_input_shapes(model, {"x": shape})
    assert caught.value.exit_status == 2
    assert caught.value.details == {"input": "x", "expected": ["N", 3, "H", 9], "found": list(shape)}


def test_an_unknown_name(model):
    with pytest.raises(UnknownInputError) as caught:
        resolve_input_shapes(model, {"z": (1,)})
    assert caught.value.details == {"input": "z", "inputs": ["x", "other"]}


def test_sizes_that_run_through_shape_arithmetic_are_exact(tmp_path):
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Slice", ["s", "two", "four"], ["hw"]),
        node("Mul", ["hw", "twice"], ["hw2"]),
        node("Slice", ["s", "zero", "two"], ["nc"]),
        node("Concat", ["nc", "hw2"], ["sizes"], axis=0),
        node("Resize", ["x", "", "", "sizes"], ["big"]),
        node("Conv", ["big", "w"], ["y"]),
    ]
    constants = {"w": W, "zero": np.array([0]), "two": np.array([2]), "four": np.array([4]), "twice": np.array([2, 2])}
    proto = make(nodes, {"x": ("N", 3, "H", "W")}, ["y"], constants)
    arrays = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 5)).astype(np.float32)}
    network = assert_cut_agrees(tmp_path, proto, arrays)
    assert network.layers[0].input_shape == (2, 3, 12, 10)
    assert network.layers[0].obstacle is None


def test_stale_sizes_in_the_file_are_not_believed(tmp_path):
    proto = make([node("Relu", ["x"], ["r"]), node("Conv", ["r", "w"], ["y"])], {"x": ("N", 3, 8, 8)}, ["y"], {"w": W})
    proto.graph.value_info.append(helper.make_tensor_value_info("r", 1, (1, 3, 8, 8)))
    arrays = {"x": np.ones((3, 3, 8, 8), np.float32)}
    assert assert_cut_agrees(tmp_path, proto, arrays).layers[0].input_shape == (3, 3, 8, 8)


def test_operators_that_only_the_runtime_knows_are_measured(tmp_path):
    nodes = [
        node("ImageScaler", ["x"], ["scaled"], bias=[0.5, -0.5, 0.25], scale=2.0),
        node("Conv", ["scaled", "w"], ["c"], pads=[1, 1, 1, 1]),
        node("Crop", ["c"], ["cropped"], border=[1, 2, 0, 1]),
        node("Relu", ["cropped"], ["r"]),
        node("Conv", ["r", "v"], ["y"]),
    ]
    proto = make(nodes, {"x": ("N", 3, "H", "W")}, ["y"], {"w": W, "v": weights(2, 4, 3, 3)}, opset=7)
    arrays = {"x": np.random.default_rng(0).standard_normal((1, 3, 9, 8)).astype(np.float32)}
    network = assert_cut_agrees(tmp_path, proto, arrays)
    assert [layer.input_shape for layer in network.layers] == [(1, 3, 9, 8), (1, 4, 6, 7)]


def test_large_constants_are_described_without_their_values():
    big = np.zeros((64, 64), np.float32)
    graph = read_graph(make([node("MatMul", ["x", "big"], ["y"])], {"x": ("N", 64)}, ["y"], {"big": big}))
    assert known_shape(infer_types(graph, {"x": (3, 64)})["y"]) == (3, 64)


def test_sizes_that_depend_on_values_keep_a_convolution_on_the_host(tmp_path):
    nodes = [
        node("ReduceMax", ["x"], ["m"], axes=[0, 1, 2], keepdims=0),
        node("GreaterOrEqual", ["m", "half"], ["mask"]),
        node("Compress", ["x", "mask"], ["picked"], axis=3),
        node("Conv", ["picked", "w"], ["y"]),
    ]
    proto = make(nodes, {"x": (1, 3, 8, 8)}, ["y"], {"w": W, "half": np.float32(0.5)})
    arrays = {"x": np.abs(np.random.default_rng(0).standard_normal((1, 3, 8, 8))).astype(np.float32)}
    network = assert_cut_agrees(tmp_path, proto, arrays)
    assert network.layers[0].obstacle == "its input size depends on values"


def test_a_run_on_zeros_that_fails_leaves_the_size_unknown(tmp_path):
    nodes = [
        node("ReduceMax", ["x"], ["m"], keepdims=0),
        node("Div", ["eight", "m"], ["size"]),
        node("Reshape", ["size", "one"], ["sizes"]),
        node("Cast", ["sizes"], ["rows"], to=7),
        node("Concat", ["batch", "rows", "columns"], ["shape"], axis=0),
        node("Reshape", ["x", "shape"], ["r"]),
        node("Conv", ["r", "w"], ["y"]),
    ]
    constants = {
        "w": W,
        "eight": np.float32(8),
        "one": np.array([1]),
        "batch": np.array([1, 3]),
        "columns": np.array([8]),
    }
    proto = make(nodes, {"x": (1, 3, 8, 8)}, ["y"], constants)
    layer = assert_cut_agrees(tmp_path, proto, {"x": np.ones((1, 3, 8, 8), np.float32)}).layers[0]
    assert (layer.input_shape, layer.obstacle) == ((), "its input size depends on values")


def test_a_size_that_is_no_matter_of_values_is_no_obstacle_behind_control_flow(tmp_path):
    body = helper.make_graph([node("Relu", ["x"], ["t"])], "t", [], [helper.make_tensor_value_info("t", 1, None)])
    other = helper.make_graph([node("Neg", ["x"], ["u"])], "u", [], [helper.make_tensor_value_info("u", 1, None)])
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("ReduceProd", ["s"], ["n"], keepdims=0),
        node("Greater", ["n", "four"], ["flag"]),
        node("If", ["flag"], ["p"], then_branch=body, else_branch=other),
        node("Conv", ["p", "w"], ["y"]),
    ]
    proto = make(nodes, {"x": (1, 3, 8, 8)}, ["y"], {"w": W, "four": np.array(4)})
    assert assert_cut_agrees(tmp_path, proto).layers[0].obstacle is None
