"""Outputs that are no plain arrays: strings, sequences, maps."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, TypeProto, helper, numpy_helper

from cocoi_cli.model.load import load_model
from cocoi_cli.runtime.check import Tolerance, compare
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.outputs import arrays_of
from tests.runtime.fakes import Ask, always, infer


def test_arrays_stay_as_they_are() -> None:
    array = np.arange(3)
    assert arrays_of({"y": array})["y"] is array


def test_a_sequence_of_maps_becomes_one_array_and_its_keys() -> None:
    found = arrays_of({"p": [{"a": 0.25, "b": 0.75}, {"a": 1.0, "b": 0.0}]})
    np.testing.assert_array_equal(found["p"], np.array([[0.25, 0.75], [1, 0]], np.float32))
    assert found["p/keys"].tolist() == ["a", "b"]


def test_other_sequences_are_numbered_and_nothing_is_nothing() -> None:
    found = arrays_of({"s": [np.ones(2), np.zeros((1, 3))], "m": {3: 1, 5: 2}, "o": None, "e": []})
    assert sorted(found) == ["m", "m/keys", "s/0", "s/1"]
    assert found["m"].tolist() == [1, 2]


def test_strings_need_no_pickle() -> None:
    assert arrays_of({"t": np.array(["one", "three"], object)})["t"].dtype.kind == "U"


def test_a_network_that_ends_in_a_zipmap_is_distributed_like_any_other(tmp_path) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Softmax", ["f"], ["p"]),
        helper.make_node("ZipMap", ["p"], ["loss"], domain="ai.onnx.ml", classlabels_strings=["a", "b", "c"]),
        helper.make_node("ArgMax", ["p"], ["best"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["names", "best"], ["label"], domain="ai.onnx.ml"),
    ]
    kind = TypeProto()
    kind.sequence_type.elem_type.map_type.key_type = TensorProto.STRING
    kind.sequence_type.elem_type.map_type.value_type.tensor_type.elem_type = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "zipped",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_value_info("loss", kind), helper.make_tensor_value_info("label", TensorProto.STRING, None)],
        [
            numpy_helper.from_array(rng.standard_normal((3, 3, 3, 3)).astype(np.float32), "w"),
            helper.make_tensor("names", TensorProto.STRING, [1, 3], [b"a", b"b", b"c"]),
        ],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 2)]
    path = tmp_path / "zipped.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    model, tensors = load_model(path), {"x": rng.standard_normal((1, 3, 64, 64)).astype(np.float32)}

    reference = HostKernels(threads=1).baseline(model, tensors, repeat=False).outputs
    (outcome,) = infer(model, tensors, [always] * 4, Ask())
    assert [row.name for row in outcome.stages if row.kind == "conv"] == ["conv"]
    report = compare(outcome.outputs, reference, Tolerance("f32"))
    assert report.passed
    assert report.top1_equal
    assert sorted(report.per_output) == ["label", "loss", "loss/keys"]
