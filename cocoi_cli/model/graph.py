"""A model's graph as nodes and constants: what the passes of this package work on.

`Graph` refers to the messages of the loaded file and copies none of the weights. Nodes are
in an order that respects every dependency; the file's messages are never written, a pass
that changes a node replaces it by a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import onnx
import onnx.inliner
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    numpy_helper,
)

from cocoi_cli.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

Constant: TypeAlias = "TensorProto | SparseTensorProto"
DEFAULT_DOMAINS = ("", "ai.onnx")
OLDEST_IR_VERSION = 4  # initialisers need not be graph inputs from here on

_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli", "Dropout"}
)


class BrokenGraphError(ModelError):
    """The graph cannot be executed: a tensor nobody makes, made twice, or a circle."""

    code: ClassVar[str] = "broken-graph"


@dataclass(slots=True)
class Graph:
    """Nodes and constants of one model.

    Attributes:
        nodes: `NodeProto` in execution order, without `Constant` nodes.
        constants: Name to `TensorProto`, or to `SparseTensorProto` where the file holds one.
        inputs: Names of the graph inputs that are no constants, in the order of the file.
        outputs: Names of the graph outputs, in the order of the file.
        types: `TypeProto` of the graph inputs, as the file declares them.
        ir_version: At least 4.
        opset_imports: `OperatorSetIdProto` of the file.
        functions: `FunctionProto` of the file.
    """

    nodes: list[NodeProto]
    constants: dict[str, Constant]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    types: Mapping[str, TypeProto]
    ir_version: int
    opset_imports: tuple[onnx.OperatorSetIdProto, ...]
    functions: tuple[onnx.FunctionProto, ...]

    @property
    def opset(self) -> int:
        """Version of the default operator set; 0 where the file imports none."""
        return next((item.version for item in self.opset_imports if item.domain in DEFAULT_DOMAINS), 0)

    def producers(self) -> dict[str, int]:
        """Tensor name to the index of the node that makes it."""
        return {name: index for index, node in enumerate(self.nodes) for name in node.output if name}

    def names(self) -> set[str]:
        """Every tensor name, with those inside bodies, which a new name must not shadow."""
        return {*self.constants, *self.inputs, *_names_made(self.nodes)}

    def consumers(self) -> dict[str, list[int]]:
        """Tensor name to the indices of the nodes that read it, in order."""
        readers: dict[str, list[int]] = {}
        for index, node in enumerate(self.nodes):
            for name in node_inputs(node):
                readers.setdefault(name, []).append(index)
        return readers

    def constant_nodes(self) -> frozenset[int]:
        """Indices of the nodes that depend on constants only and always give the same values."""
        known = set(self.constants)
        found = []
        for index, node in enumerate(self.nodes):
            repeatable = node.op_type not in _RANDOM and not any(True for _ in bodies(node))
            if repeatable and all(name in known for name in node_inputs(node)):
                known.update(node.output)
                found.append(index)
        return frozenset(found)

    def array(self, name: str) -> NDArray[Any]:
        """The values of a dense constant; the caller must not write them."""
        values: NDArray[Any] = numpy_helper.to_array(self.constants[name])
        return values


def read_graph(model: ModelProto) -> Graph:
    """Take a `ModelProto` apart without copying its weights.

    Local functions are inlined; `Constant` nodes become constants; a graph output that is a constant
    gets an `Identity` node.

    Raises:
        BrokenGraphError: No execution order exists.
    """
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    graph = model.graph
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


def bodies(node: NodeProto) -> Iterator[tuple[str, GraphProto]]:
    """Name and `GraphProto` of the sub-graphs a control-flow node holds."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.name, attribute.g
        elif attribute.type == onnx.AttributeProto.GRAPHS:
            for number, body in enumerate(attribute.graphs):
                yield f"{attribute.name}_{number}", body


def node_inputs(node: NodeProto) -> tuple[str, ...]:
    """Tensors a node reads, each once, with those its sub-graphs take from outside."""
    names = dict.fromkeys(name for name in node.input if name)
    for _, body in bodies(node):
        names.update(dict.fromkeys(_captured(body)))
    return tuple(names)


def attributes(node: NodeProto) -> dict[str, Any]:
    """Attribute name to value, strings as `str`."""
    values = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    return {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value for name, value in values.items()
    }


def is_default(node: NodeProto, *operators: str) -> bool:
    """Whether a node is one of these operators of the default domain."""
    return node.domain in DEFAULT_DOMAINS and node.op_type in operators


def named_constant(constant: Constant, name: str) -> Constant:
    """The constant under its name: the message itself where it has that name, else a copy."""
    current = constant.values.name if isinstance(constant, SparseTensorProto) else constant.name
    if current == name:
        return constant
    copy = type(constant)()
    copy.CopyFrom(constant)
    if isinstance(copy, SparseTensorProto):
        copy.values.name = name
    else:
        copy.name = name
    return copy


def fresh_name(base: str, taken: Callable[[str], bool]) -> str:
    """`base`, or `base_2`, `base_3`, … where it is taken."""
    name, number = base, 1
    while taken(name):
        number += 1
        name = f"{base}_{number}"
    return name


def sub_model(
    graph: Graph,
    nodes: Iterable[NodeProto],
    inputs: Iterable[ValueInfoProto],
    outputs: Iterable[ValueInfoProto],
    constants: Mapping[str, Constant] | None = None,
) -> ModelProto:
    """A `ModelProto` of some nodes with the constants they need.

    Args:
        graph: Gives the operator sets and the constants.
        nodes: In execution order.
        inputs: `ValueInfoProto`.
        outputs: `ValueInfoProto`.
        constants: Used instead of the graph's where given.
    """
    nodes, known = list(nodes), graph.constants if constants is None else constants
    model = onnx.ModelProto(ir_version=graph.ir_version)
    model.opset_import.extend(graph.opset_imports)
    model.graph.name = "part"
    model.graph.node.extend(nodes)
    model.graph.input.extend(inputs)
    model.graph.output.extend(outputs)
    for name in dict.fromkeys(name for node in nodes for name in node_inputs(node)):
        if name not in known:
            continue
        message = named_constant(known[name], name)
        if isinstance(message, SparseTensorProto):
            model.graph.sparse_initializer.append(message)
        else:
            model.graph.initializer.append(message)
    return model


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


def _names_made(nodes: Iterable[NodeProto]) -> Iterator[str]:
    """Tensors that nodes make, and all that their bodies define."""
    for node in nodes:
        yield from filter(None, node.output)
        for _, body in bodies(node):
            yield from (item.name for item in (*body.input, *body.initializer))
            yield from (item.values.name for item in body.sparse_initializer)
            yield from _names_made(body.node)


def _captured(body: GraphProto) -> Iterator[str]:
    """Names a sub-graph reads and does not make."""
    own = {item.name for item in body.input} | {item.name for item in body.initializer}
    own |= {item.values.name for item in body.sparse_initializer}
    for node in body.node:
        yield from (name for name in node_inputs(node) if name not in own)
        own.update(node.output)
    yield from (item.name for item in body.output if item.name not in own)


def _execution_order(nodes: list[NodeProto], known: set[str], outputs: tuple[str, ...]) -> list[NodeProto]:
    """The nodes, each after those it reads from; the file's order wherever that is possible."""
    made: set[str] = set()
    for node in nodes:
        for name in filter(None, node.output):
            if name in made or name in known:
                raise BrokenGraphError(f"the tensor `{name}` is made twice", tensor=name)
            made.add(name)
    waiting, ordered, ready = nodes, [], set(known)
    while waiting:
        late = []
        for node in waiting:
            if all(name in ready for name in node_inputs(node)):
                ready.update(node.output)
                ordered.append(node)
            else:
                late.append(node)
        if len(late) == len(waiting):
            _explain_stuck(late, made | known)
        waiting = late
    for name in outputs:
        if name not in ready:
            raise BrokenGraphError(f"no node makes the graph output `{name}`", tensor=name)
    return ordered


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
