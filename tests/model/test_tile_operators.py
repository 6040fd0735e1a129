from __future__ import annotations

import numpy as np
import pytest

from cocoi_agent.graphs import check_graph
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.segments import segment_between
from cocoi_cli.model.tiles import fuse
from tests.model.graphs import make, node, prepare, random_arrays, weights
from tests.model.reference_run import relative_difference, run_fused

W = weights(4, 4, 3, 3, seed=1)
SAME = {"pads": [1, 1, 1, 1]}


def conv(x, y, **attributes):
    return node("Conv", [x, "w"], [y], name=f"conv_{y}", **attributes)


def pool(operator, x, y, **attributes):
    return node(operator, [x], [y], **{"kernel_shape": [3, 3], **attributes})


def between(*nodes):
    """Convolutions around some nodes from `a` to `b`."""
    return [conv("x", "a", **SAME), *nodes, conv("b", "y", **SAME)]


CASES = {
    "valid": between(conv("a", "b")),
    "stride": between(conv("a", "b", strides=[2, 3], pads=[1, 0, 0, 1])),
    "long stride": between(conv("a", "b", strides=[4, 1], pads=[1, 1, 1, 1])),
    "dilation": between(conv("a", "b", dilations=[2, 3], pads=[2, 3, 2, 3])),
    "uneven pads": between(conv("a", "b", pads=[2, 1, 0, 2])),
    "upper": between(conv("a", "b", auto_pad="SAME_UPPER", strides=[2, 2])),
    "lower": between(conv("a", "b", auto_pad="SAME_LOWER", strides=[3, 2])),
    "no pads": between(conv("a", "b", auto_pad="VALID")),
    "groups": between(node("Conv", ["a", "grouped", "bias"], ["b"], group=2, kernel_shape=[3, 3], **SAME)),
    "depthwise": between(node("Conv", ["a", "depthwise"], ["b"], group=4, **SAME)),
    "max pool": between(pool("MaxPool", "a", "b", strides=[2, 2], pads=[1, 0, 1, 1])),
    "max pool over the edge": between(pool("MaxPool", "a", "b", strides=[2, 2], ceil_mode=1)),
    "dilated max pool": between(pool("MaxPool", "a", "b", dilations=[2, 1], pads=[1, 1, 1, 1])),
    "same max pool": between(pool("MaxPool", "a", "b", strides=[2, 2], auto_pad="SAME_UPPER")),
    "mean": between(pool("AveragePool", "a", "b", strides=[2, 1], pads=[1, 1, 1, 1])),
    "mean that counts padding": between(pool("AveragePool", "a", "b", pads=[1, 1, 1, 1], count_include_pad=1)),
    "same mean": between(pool("AveragePool", "a", "b", strides=[2, 2], auto_pad="SAME_LOWER")),
    "normalisation": between(
        node("Relu", ["a"], ["r"]), node("BatchNormalization", ["r", "bias", "shift", "mean", "variance"], ["b"])
    ),
    "local response": between(node("LRN", ["a"], ["b"], size=3)),
    "slopes": between(node("PRelu", ["a", "slope"], ["b"])),
    "clip": between(node("Clip", ["a", "low", "high"], ["b"])),
    "operands": between(node("Mul", ["a", "slope"], ["s"]), node("Sub", ["high", "s"], ["b"])),
    "columns": between(node("Add", ["a", "columns"], ["b"])),
    "computed operand": between(node("Reshape", ["bias", "column"], ["beta"]), node("Add", ["a", "beta"], ["b"])),
    "smooth": between(
        node("Sigmoid", ["a"], ["s"]),
        node("HardSwish", ["s"], ["h"]),
        node("Tanh", ["h"], ["t"]),
        node("LeakyRelu", ["t"], ["l"], alpha=0.2),
        node("Elu", ["l"], ["b"]),
    ),
    "residual": between(
        conv("a", "c", **SAME), node("Relu", ["c"], ["r"]), conv("r", "d", **SAME), node("Add", ["d", "a"], ["b"])
    ),
    "down": between(
        conv("a", "c", strides=[2, 2], **SAME),
        conv("c", "d", **SAME),
        node("Conv", ["a", "point"], ["e"], strides=[2, 2]),
        node("Sum", ["d", "e"], ["b"]),
    ),
    "branches": between(
        conv("a", "c", dilations=[3, 1], pads=[3, 1, 3, 1]),
        pool("MaxPool", "a", "p", pads=[1, 1, 1, 1]),
        node("Conv", ["a", "point"], ["e"]),
        node("Concat", ["c", "p", "e"], ["m"], axis=-3),
        node("Conv", ["m", "narrow"], ["b"]),
    ),
    "squares": between(node("Mul", ["a", "a"], ["b"])),
    "wider": between(node("Concat", ["a", "a"], ["b"], axis=3)),
    "enlarged": between(node("Resize", ["a", "", "scales"], ["b"])),
    "enlarged to the floor": between(
        node("Resize", ["a", "", "scales"], ["b"], coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    ),
    "shuffled": between(
        node("SpaceToDepth", ["a"], ["d"], blocksize=2), node("DepthToSpace", ["d"], ["b"], blocksize=2)
    ),
    "enlarged at the end": [conv("x", "c", **SAME), node("DepthToSpace", ["c"], ["y"], blocksize=2)],
    "enlarged and cut back": between(
        node("Resize", ["a", "", "scales"], ["r"]), conv("r", "b", strides=[2, 1], pads=[0, 1, 1, 1])
    ),
    "dropout": between(node("Dropout", ["a"], ["b"])),
}
CONSTANTS = {
    "w": W,
    "grouped": weights(4, 2, 3, 3),
    "depthwise": weights(4, 1, 3, 3),
    "point": weights(4, 4, 1, 1),
    "narrow": weights(4, 12, 1, 1),
    "bias": np.float32([1, -2, 3, 0.5]),
    "shift": np.float32([0.1, 0.2, -0.3, 0.4]),
    "mean": np.float32([0, 1, -1, 0.5]),
    "variance": np.float32([1, 2, 0.5, 1.5]),
    "slope": np.float32([0.1, 0.2, 0.3, -0.4]).reshape(4, 1, 1),
    "columns": np.linspace(-1, 1, 10, dtype=np.float32).reshape(1, 10),
    "column": np.array([1, 4, 1, 1]),
    "low": np.float32(-0.5),
    "high": np.float32(0.7),
    "scales": np.float32([1, 1, 2, 3]),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows", [16, 22])
def test_an_operator_in_every_number_of_tiles(tmp_path, case, rows):
    proto = make(CASES[case], {"x": (2, 4, rows, 10)}, ["y"], CONSTANTS, opset=14 if case == "smooth" else 13)
    assert_tiles_agree(tmp_path, proto)


def assert_tiles_agree(tmp_path, proto):
    """The model as one segment, in every number of tiles, equals plain ONNX Runtime."""
    arrays = random_arrays(proto)
    prepared = prepare(tmp_path, proto, arrays)
    segment = segment_between(prepared, "x", "y")
    (y,) = open_session(proto.SerializeToString()).run(None, arrays)
    for tiles in (*range(1, 9), y.shape[2], y.shape[2] + 1):
        stage = fuse(prepared, segment, tiles, "f32", "f32")
        assert relative_difference(run_fused(stage, arrays["x"]), y) <= 1e-5, tiles
        for program in {*stage.programs, *stage.host_programs, stage.whole}:
            check_graph(program)  # as agents look at it
    half = run_fused(fuse(prepared, segment, 5, "f16", "f16"), arrays["x"])
    assert relative_difference(half, y) <= 1e-2
    whole = open_session(stage.whole).run(["y32"], {**arrays, **stage.weights})[0]
    assert relative_difference(whole, y) <= 1e-5


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18])
def test_every_operator_set(tmp_path, opset):
    dropout = {"ratio": 0.5} if opset < 12 else {}
    nodes = [
        conv("x", "a", **SAME),
        node("BatchNormalization", ["a", "bias", "shift", "mean", "variance"], ["n"]),
        node("Relu", ["n"], ["r"]),
        node("BatchNormalization", ["r", "bias", "shift", "mean", "variance"], ["m"]),
        node("Dropout", ["m"], ["d"], **dropout),
        pool("MaxPool", "d", "p", strides=[2, 2]),
        conv("d", "c", strides=[2, 2]),
        node("Add", ["p", "c"], ["s"]),
        conv("s", "y", **SAME),
    ]
    assert_tiles_agree(tmp_path, make(nodes, {"x": (1, 4, 21, 10)}, ["y"], CONSTANTS, opset=opset))


@pytest.mark.parametrize(("operator", "opset"), [("Upsample", 7), ("Upsample", 9), ("Resize", 10)])
def test_older_ways_to_enlarge(tmp_path, operator, opset):
    scales = {"scales": [1.0, 1.0, 2.0, 3.0]} if opset == 7 else {}
    inputs = ["a"] if opset == 7 else ["a", "scales"]
    nodes = between(node(operator, inputs, ["b"], mode="nearest", **scales))
    assert_tiles_agree(tmp_path, make(nodes, {"x": (1, 4, 9, 5)}, ["y"], CONSTANTS, opset=opset))


@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes(tmp_path, axes):
    kernel, same = [3] * axes, {"pads": [1] * (2 * axes)}
    nodes = [
        node("Conv", ["x", "v"], ["a"], **same),
        node("PRelu", ["a", "slope"], ["b"]),
        node("Conv", ["b", "v"], ["c"], strides=[2] * axes, **same),
        node("MaxPool", ["c"], ["d"], kernel_shape=kernel, **same),
        node("Add", ["c", "d"], ["y"]),
    ]
    constants = {"v": weights(4, 4, *kernel), "slope": np.full((4, *[1] * axes), 0.25, np.float32)}
    assert_tiles_agree(tmp_path, make(nodes, {"x": (1, 4, 19, *[6] * (axes - 1))}, ["y"], constants))
