"""Taking a model apart: functions inlined, `Constant` nodes as constants, nodes in an order that can be executed."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.checker
import onnx.inliner
from onnx import ModelProto, NodeProto, helper, numpy_helper

from cocoi_cli.model.graph import (
    OLDEST_IR_VERSION,
    BrokenGraphError,
    Constant,
    Graph,
    bodies,
    fresh_name,
    is_default,
    node_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

# What is read without looking whether it is there: the inputs that an operator cannot do without.
_OPERANDS = {
    "BatchNormalization": 5,
    "Conv": 2,
    "ConvInteger": 2,
    "ConvTranspose": 2,
    "FusedConv": 2,
    "NhwcFusedConv": 2,
    "QLinearConv": 8,
}


def read_graph(model: ModelProto) -> Graph:
    """Take a `ModelProto` apart without copying its weights.

    Local functions are inlined; `Constant` nodes become constants; a graph output that is a constant
    gets an `Identity` node.

    Raises:
        BrokenGraphError: No execution order exists.
    """
    if model.functions:
        model = _inlined(model)
    graph = model.graph
    _check_operands(graph.node)
    constants: dict[str, Constant] = {item.name: item for item in graph.initializer}
    constants.update({item.values.name: item for item in graph.sparse_initializer})
    nodes = []
    for node in graph.node:
        value = _constant_value(node)
        if value is None:
            nodes.append(node)
        else:
            constants[node.output[0]] = value
    outputs = tuple(item.name for item in graph.output)
    inputs = tuple(item.name for item in graph.input if item.name not in constants)
    nodes = _execution_order(nodes, {*inputs, *constants}, outputs)
    result = Graph(
        nodes=nodes,
        constants=constants,
        inputs=inputs,
        outputs=outputs,
        types={item.name: item.type for item in graph.input if item.name in inputs},
        ir_version=max(model.ir_version, OLDEST_IR_VERSION),
        opset_imports=tuple(model.opset_import),
        functions=tuple(model.functions),
    )
    for name in dict.fromkeys(outputs):
        if name in constants:
            _output_constant(result, name)
    return result


def _inlined(model: ModelProto) -> ModelProto:
    """The model without local functions.

    ONNX Runtime reads the body of a function by the operator sets of the model, whatever the function imports.
    """
    versions = {item.domain: item.version for item in model.opset_import}
    aligned = onnx.ModelProto()
    aligned.CopyFrom(model)
    for item in (item for function in aligned.functions for item in function.opset_import):
        item.version = versions.get(item.domain, item.version)
    try:
        return onnx.inliner.inline_local_functions(aligned)
    except (onnx.checker.ValidationError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BrokenGraphError(f"the model's functions cannot be resolved: {reason}", reason=reason) from error


def _check_operands(nodes: Iterable[NodeProto]) -> None:
    """Refuse nodes without an output, and convolutions and normalisations that lack an input."""
    for node in nodes:
        label = node.name or next(iter(node.output), "") or node.op_type
        if not node.output:
            raise BrokenGraphError(f"the node `{label}` ({node.op_type}) has no output", node=label)
        needed = _OPERANDS.get(node.op_type, 0)
        if len(node.input) < needed:
            raise BrokenGraphError(
                f"the node `{label}` ({node.op_type}) has {len(node.input)} inputs and needs {needed}",
                node=label,
                operator=node.op_type,
            )
        for _, body in bodies(node):
            _check_operands(body.node)


def _constant_value(node: NodeProto) -> Constant | None:
    """The tensor a `Constant` node holds; None for any other node."""
    if not is_default(node, "Constant") or len(node.attribute) != 1:
        return None
    attribute = node.attribute[0]
    if attribute.name == "value":
        return attribute.t
    if attribute.name == "sparse_value":
        return attribute.sparse_tensor
    value = helper.get_attribute_value(attribute)
    kinds = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    if attribute.name in kinds:
        return numpy_helper.from_array(np.asarray(value, kinds[attribute.name]))
    return None  # strings stay a node


def _execution_order(nodes: list[NodeProto], known: set[str], outputs: tuple[str, ...]) -> list[NodeProto]:
    """The nodes, each after those it reads from; the file's order wherever that is possible."""
    made: set[str] = set()
    for node in nodes:
        for name in filter(None, node.output):
            if name in made or name in known:
                raise BrokenGraphError(f"the tensor `{name}` is made twice", tensor=name)
            made.add(name)
    readers: dict[str, list[int]] = {}
    missing = []  # for each node: how many of its inputs are not there yet
    for index, node in enumerate(nodes):
        absent = [name for name in node_inputs(node) if name not in known]
        missing.append(len(absent))
        for name in absent:
            readers.setdefault(name, []).append(index)
    ready, order = [index for index, count in enumerate(missing) if not count], []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in (reader for name in nodes[index].output if name for reader in readers.get(name, ())):
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(nodes):
        _explain_stuck([node for index, node in enumerate(nodes) if missing[index]], made | known)
    for name in outputs:
        if name not in made and name not in known:
            raise BrokenGraphError(f"no node makes the graph output `{name}`", tensor=name)
    return [nodes[index] for index in order]


def _explain_stuck(nodes: list[NodeProto], made: set[str]) -> None:
    """Raise: these nodes wait for each other, or for a tensor nobody makes."""
    for node in nodes:
        for name in node_inputs(node):
            if name not in made:
                label = node.name or node.output[0]
                raise BrokenGraphError(
                    f"no node makes the tensor `{name}` that `{label}` ({node.op_type}) reads",
                    tensor=name,
                    node=label,
                    operator=node.op_type,
                )
    names = [node.name or node.output[0] for node in nodes]
    raise BrokenGraphError(
        f"the nodes read from each other in a circle: `{names[0]}` and {len(names) - 1} more", nodes=names
    )


def _output_constant(graph: Graph, name: str) -> None:
    """Give a constant that is a graph output a node that makes it."""
    source = fresh_name(f"{name}_constant", graph.names().__contains__)
    graph.constants[source] = graph.constants.pop(name)
    graph.nodes.insert(0, helper.make_node("Identity", [source], [name]))
