from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cocoi_cli.errors import ModelError, UsageError
from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import TensorInfo
from cocoi_cli.model.onnxruntime_session import RefusedModelError, known_operators, open_session
from tests.model.graphs import make, node, save, weights


def conv_model(**options):
    return make([node("Conv", ["x", "w"], ["y"])], {"x": (1, 2, 5, 5)}, ["y"], {"w": weights(3, 2, 3, 3)}, **options)


def refused(folder, proto):
    with pytest.raises(ModelError) as caught:
        save(folder, proto)
    assert caught.value.exit_status == 3
    return caught.value


def test_a_model_is_described_as_the_file_declares_it(tmp_path):
    proto = make(
        [node("Conv", ["x", "w"], ["y"])],
        {"x": ("N", 2, None, 5), "unused": None},
        ["y"],
        {"w": weights(3, 2, 3, 3)},
        opset=8,
        ir_version=3,
        listed=True,
    )
    helper.set_model_props(proto, {"labels": "a\nb"})
    model = save(tmp_path, proto)
    assert model.name == "model"
    assert model.sha256 == hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    assert model.inputs == (TensorInfo("x", "float32", ("N", 2, None, 5)), TensorInfo("unused", "float32", None))
    assert model.outputs == (TensorInfo("y", "float32", None),)
    assert model.metadata == {"labels": "a\nb"}
    assert model.opset == 8


def test_a_missing_file_is_the_users_move(tmp_path):
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "none.onnx")
    assert caught.value.code == "no-such-file"
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path)
    assert caught.value.code == "unreadable-file"


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"<html></html>", b"\x08\x07"])
def test_bytes_that_are_no_model(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.code == "not-onnx"
    assert str(path) in caught.value.message


def test_a_truncated_model_is_no_model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(conv_model().SerializeToString()[:-30])
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert caught.value.code in ("not-onnx", "empty-graph")


def test_names_that_are_no_text(tmp_path):
    content = conv_model().SerializeToString()
    for name in (b"\x0a\x01x", b"\x12\x01y"):
        assert name in content
        path = tmp_path / "model.onnx"
        path.write_bytes(content.replace(name, name[:2] + b"\xf0"))
        with pytest.raises(ModelError) as caught:
            load_model(path)
        assert caught.value.code in ("not-onnx", "broken-graph")


def test_an_empty_graph(tmp_path):
    proto = conv_model()
    del proto.graph.node[:]
    assert refused(tmp_path, proto).code == "empty-graph"
    proto = conv_model()
    del proto.graph.output[:]
    assert refused(tmp_path, proto).details["missing"] == "outputs"


def test_external_data(tmp_path):
    proto = conv_model()
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    error = refused(tmp_path, proto)
    assert (error.code, error.details["tensor"], error.details["count"]) == ("external-data", "w", 1)


def test_a_missing_operator_set(tmp_path):
    proto = conv_model()
    del proto.opset_import[:]
    assert refused(tmp_path, proto).code == "no-opset"


def test_files_newer_than_the_runtime(tmp_path):
    error = refused(tmp_path, conv_model(ir_version=99))
    assert (error.code, error.details["ir_version"]) == ("model-too-new", 99)
    error = refused(tmp_path, conv_model(opset=999))
    assert (error.code, error.details["opset"]) == ("model-too-new", 999)
    assert "till opset" in error.message


def test_an_operator_of_a_foreign_domain(tmp_path):
    proto = conv_model()
    proto.graph.node.append(node("Wavelet", ["y"], ["z"], domain="org.example", name="last"))
    proto.opset_import.append(helper.make_opsetid("org.example", 1))
    error = refused(tmp_path, proto)
    assert error.code == "unknown-operator"
    assert error.details == {"operator": "Wavelet", "domain": "org.example", "node": "last"}


def test_an_unknown_operator_inside_a_body(tmp_path):
    body = helper.make_graph([node("Nonsense", ["y"], ["b"])], "body", [], [onnx.ValueInfoProto(name="b")])
    proto = conv_model()
    proto.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    proto.graph.node.append(node("If", ["yes"], ["z"], then_branch=body, else_branch=body))
    assert refused(tmp_path, proto).details["operator"] == "Nonsense"


def test_the_models_own_functions_are_known(tmp_path):
    proto = conv_model(opset=18)
    proto.functions.append(
        helper.make_function(
            "own", "Twice", ["a"], ["b"], [node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
        )
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    proto.graph.node.append(node("Twice", ["y"], ["z"], domain="own"))
    assert save(tmp_path, proto).opset == 18


def test_graphs_without_an_execution_order(tmp_path):
    proto = conv_model()
    proto.graph.node[0].input[0] = "nobody"
    error = refused(tmp_path, proto)
    assert (error.code, error.details["tensor"]) == ("broken-graph", "nobody")
    proto = conv_model()
    proto.graph.output[0].name = "nothing"
    assert refused(tmp_path, proto).details["tensor"] == "nothing"
    proto = conv_model()
    proto.graph.node.extend([node("Add", ["y", "b"], ["a"]), node("Relu", ["a"], ["b"])])
    assert "circle" in refused(tmp_path, proto).message
    proto = conv_model()
    proto.graph.node.append(node("Relu", ["x"], ["y"]))
    assert "twice" in refused(tmp_path, proto).message


def test_what_only_a_session_finds_is_a_model_error_too():
    proto = make([node("Conv", ["x", "w"], ["y"])], {"x": (1, 5)}, ["y"], {"w": weights(3, 2, 3, 3)})
    with pytest.raises(RefusedModelError) as caught:
        open_session(proto.SerializeToString())
    assert caught.value.code == "model-refused"
    assert "ONNXRuntimeError" not in caught.value.message
    with pytest.raises(RefusedModelError):
        open_session(b"nonsense")


def test_initialisers_are_read_from_every_kind_of_file(tmp_path):
    proto = make([node("Relu", ["x"], ["y"])], {"x": (1, 2)}, ["y"], {"unused": np.zeros(3, np.int64)})
    assert [item.name for item in save(tmp_path, proto).inputs] == ["x"]


def test_operators_that_onnx_defines_by_others_are_known():
    assert {
        ("", "Mish"),
        ("", "CastLike"),
        ("", "GroupNormalization"),
        ("com.microsoft", "FusedConv"),
    } <= known_operators()


def test_nodes_that_lack_inputs_or_outputs(tmp_path):
    proto = conv_model()
    del proto.graph.node[0].input[1:]
    assert "has 1 inputs and needs 2" in refused(tmp_path, proto).message
    proto = conv_model()
    proto.graph.node.append(node("Relu", ["x"], []))
    assert "has no output" in refused(tmp_path, proto).message


def test_functions_that_call_each_other_in_a_circle(tmp_path):
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    proto = conv_model(opset=18)
    proto.functions.append(
        helper.make_function("own", "Again", ["a"], ["b"], [node("Again", ["a"], ["b"], domain="own")], imports)
    )
    proto.opset_import.append(imports[1])
    proto.graph.node.append(node("Again", ["y"], ["z"], domain="own"))
    assert refused(tmp_path, proto).code == "broken-graph"
