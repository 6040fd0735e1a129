"""Graphs built by hand in a few lines, and the comparison every cut must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cocoi_cli.model.load import load_model
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut, find_layers
from tests.model.reference_run import relative_difference, run_network

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import LoadedModel, Network

node = helper.make_node
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def weights(*shape: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    """Values of the size that keeps a convolution's result near one."""
    values = np.random.default_rng(seed).standard_normal(shape) / np.sqrt(max(np.prod(shape[1:]), 1))
    return values.astype(dtype)


def make(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple],
    outputs: list[str],
    constants: dict[str, np.ndarray],
    *,
    opset: int = 13,
    ir_version: int = 8,
    element: int = FLOAT,
    output_element: int | None = None,
    listed: bool = False,
) -> onnx.ModelProto:
    """A model; with `listed`, its initialisers are graph inputs too, as in old files."""
    tensors = [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    declared = [helper.make_tensor_value_info(name, element, shape) for name, shape in inputs.items()]
    if listed:
        declared += [helper.make_tensor_value_info(item.name, item.data_type, item.dims) for item in tensors]
    results = [helper.make_tensor_value_info(name, output_element or element, None) for name in outputs]
    graph = helper.make_graph(nodes, "test", declared, results, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    return model


def save(folder: Path, proto: onnx.ModelProto) -> LoadedModel:
    """Write and load a model."""
    path = folder / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return load_model(path)


def prepare(folder: Path, proto: onnx.ModelProto, arrays: dict[str, np.ndarray]) -> Prepared:
    """Load a model and measure it for these inputs."""
    model = save(folder, proto)
    return find_layers(model, resolve_input_shapes(model, {name: array.shape for name, array in arrays.items()}))


def distributable(prepared: Prepared) -> list[str]:
    """Names of the layers without an obstacle."""
    return [layer.name for layer in prepared.layers if layer.obstacle is None]


def random_arrays(proto: onnx.ModelProto, seed: int = 0) -> dict[str, np.ndarray]:
    """Seeded values for graph inputs whose sizes are all fixed."""
    rng = np.random.default_rng(seed)
    known = {item.name for item in proto.graph.initializer}
    arrays = {}
    for item in proto.graph.input:
        if item.name not in known:
            tensor = item.type.tensor_type
            shape = [size.dim_value for size in tensor.shape.dim]
            arrays[item.name] = rng.standard_normal(shape).astype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    return arrays


def assert_cut_agrees(
    folder: Path, proto: onnx.ModelProto, arrays: dict[str, np.ndarray] | None = None, *, tolerance: float = 1e-5
) -> Network:
    """Distribute all that can be, compare with plain ONNX Runtime, and return the network."""
    arrays = random_arrays(proto) if arrays is None else arrays
    prepared = prepare(folder, proto, arrays)
    network = cut(prepared, distributable(prepared))
    expected = open_session(proto.SerializeToString()).run(None, arrays)
    names = [item.name for item in proto.graph.output]
    for pieces, strips in ((1, 1), (3, 2)):
        found = run_network(network, arrays, pieces=pieces, strips=strips)
        for name, reference in zip(names, expected, strict=True):
            assert relative_difference(found[name], reference) <= tolerance, name
    return network
