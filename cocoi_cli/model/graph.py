"""A model's graph as nodes and constants: what the passes of this package work on.

`Graph` refers to the messages of the loaded file and copies none of the weights. Nodes are
in an order that respects every dependency; the file's messages are never written, a pass
that changes a node replaces it by a new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import onnx
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


# Operators that give other values every time; a Dropout may be one.
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
        """The values of a dense constant; the caller must not write them.

        Raises:
            BrokenGraphError: The file holds more or fewer of them than its shape says.
        """
        return values_of(self.constants[name], name)


def values_of(constant: Constant, name: str) -> NDArray[Any]:
    """The values of a dense constant; the caller must not write them.

    Raises:
        BrokenGraphError: The file holds more or fewer of them than its shape says.
    """
    try:
        values: NDArray[Any] = numpy_helper.to_array(constant)
    except ValueError as error:
        raise BrokenGraphError(f"the values of the tensor `{name}` do not fill its shape", tensor=name) from error
    return values


def random_operator(graph: Graph) -> str | None:
    """An operator of the graph that draws random numbers; None where the same inputs give the same outputs."""
    return next((node.op_type for node in _with_bodies(graph.nodes) if _draws(graph, node)), None)


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
    model.functions.extend(graph.functions)
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


def _with_bodies(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """All nodes, with those inside control flow."""
    for node in nodes:
        yield node
        for _, body in bodies(node):
            yield from _with_bodies(body.node)


def _draws(graph: Graph, node: NodeProto) -> bool:
    """Whether a node draws random numbers: a Dropout does where it is told to train, as it can be from opset 12 on."""
    if node.op_type != "Dropout":
        return is_default(node, *_RANDOM)
    name = node.input[2] if len(node.input) > 2 else ""
    constant = graph.constants.get(name)
    return name != "" and not (isinstance(constant, TensorProto) and not graph.array(name).any())


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
