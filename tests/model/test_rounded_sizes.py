from __future__ import annotations

import numpy as np
import onnx
import pytest

from cocoi_cli.model.reading import read_graph
from cocoi_cli.model.rounded_sizes import sized_by_rounding
from cocoi_cli.model.shapes import known_shape
from tests.model.graphs import assert_cut_agrees, make, node, weights

W, V = weights(4, 3, 3, 3), weights(2, 4, 3, 3, seed=1)
POOL = {"kernel_shape": [2, 2], "strides": [4, 4], "pads": [0, 1, 0, 0]}
NO_ROI = np.zeros(0, np.float32)


def scales(factor: float) -> np.ndarray:
    return np.float32([1, 1, factor, factor])


# In each of them ONNX's inference and ONNX Runtime differ by a row or a column.
DISAGREEMENTS = {
    "MaxPool": (node("MaxPool", ["a"], ["b"], ceil_mode=1, **POOL), (6, 7), {}),
    "AveragePool": (node("AveragePool", ["a"], ["b"], ceil_mode=1, **POOL), (6, 7), {}),
    "dilated": (
        node("MaxPool", ["a"], ["b"], auto_pad="SAME_UPPER", kernel_shape=[2, 2], dilations=[2, 2]),
        (8, 9),
        {},
    ),
    "ConvTranspose": (
        node("ConvTranspose", ["a", "t"], ["b"], auto_pad="SAME_LOWER", strides=[2, 2], output_padding=[1, 1]),
        (6, 7),
        {"t": weights(4, 4, 2, 2)},
    ),
    "Resize": (node("Resize", ["a", "r", "s"], ["b"]), (10, 9), {"r": NO_ROI, "s": scales(0.7)}),
}


@pytest.mark.parametrize("case", DISAGREEMENTS)
def test_the_runtimes_size_counts_where_the_two_disagree(tmp_path, case):
    between, (rows, columns), constants = DISAGREEMENTS[case]
    nodes = [
        node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        between,
        node("Conv", ["b", "v"], ["y"], name="last", pads=[1, 1, 1, 1]),
    ]
    proto = make(nodes, {"x": (1, 3, rows, columns)}, ["y"], {"w": W, "v": V, **constants})
    network = assert_cut_agrees(tmp_path, proto)
    layer = next(layer for layer in network.layers if layer.name == "last")
    told = {item.name: item.type for item in onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.value_info}
    assert layer.obstacle is None
    assert known_shape(told["b"]) != layer.input_shape


def test_what_is_joined_behind_a_rounded_size_has_one(tmp_path):
    nodes = [
        node("Resize", ["x", "r", "s"], ["a"]),
        node("Conv", ["x", "w"], ["c"]),
        node("Resize", ["c", "r", "", "sizes"], ["b"]),
        node("Concat", ["a", "b"], ["joined"], axis=1),
        node("Conv", ["joined", "v"], ["y"], name="last"),
    ]
    constants = {"r": NO_ROI, "s": scales(0.7), "w": weights(1, 3, 3, 3), "v": V, "sizes": np.array([1, 1, 7, 6])}
    arrays = {"x": np.random.default_rng(0).standard_normal((1, 3, 10, 9)).astype(np.float32)}
    network = assert_cut_agrees(tmp_path, make(nodes, {"x": (1, 3, "H", "W")}, ["y"], constants), arrays)
    assert next(layer for layer in network.layers if layer.name == "last").input_shape == (1, 4, 7, 6)


@pytest.mark.parametrize(
    ("maker", "constants", "rounded"),
    [
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2]), {}, False),
        (node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1), {}, True),
        (node("Upsample", ["x", "s"], ["y"]), {"s": scales(2.5)}, False),
        (node("Upsample", ["x", "s"], ["y"]), {"s": scales(1.1)}, True),
        (node("Resize", ["x", "r", "s"], ["y"]), {"r": NO_ROI, "s": scales(0.5)}, False),
        (node("Resize", ["x", "", "s"], ["y"]), {}, True),
        (node("Resize", ["x", "", "", "n"], ["y"]), {"n": np.array([1, 3, 5, 5])}, False),
        (node("Resize", ["x", "r", "s"], ["y"], coordinate_transformation_mode="tf_crop_and_resize"),
         {"r": NO_ROI, "s": scales(2)}, True),
    ],
)  # fmt: skip
def test_only_what_is_rounded_is_measured(maker, constants, rounded):
    inputs = {"x": (1, 3, 8, 8)} | ({} if "s" in constants or "s" not in maker.input else {"s": (4,)})
    graph = read_graph(make([maker, node("Relu", ["y"], ["z"])], inputs, ["z"], constants))
    assert sized_by_rounding(graph) == (frozenset("y") if rounded else frozenset())
