"""Every convolution of a model at known sizes, and why some must stay on the host."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto, TensorProto, TypeProto, helper

from cocoi_cli.model.absorbing import activation_behind
from cocoi_cli.model.convolution import is_convolution, multiply_accumulates, operands, read_spec
from cocoi_cli.model.fold import fold
from cocoi_cli.model.geometry import output_shape
from cocoi_cli.model.graph import DEFAULT_DOMAINS, Graph, bodies, fresh_name, is_default, random_operator
from cocoi_cli.model.load import dtype_name
from cocoi_cli.model.network import Behind, ConvLayer, ConvSpec, LoadedModel, Shape
from cocoi_cli.model.quantised import is_quantised
from cocoi_cli.model.reading import read_graph
from cocoi_cli.model.shapes import conv_shapes, infer_types, known_shape
from cocoi_cli.model.value_sizes import sized_by_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OLDEST_OPSET = 7  # before it, Add does not broadcast as the split-off bias needs


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model folded and measured at given input sizes, ready to be cut by any plan.

    Attributes:
        model: What it was made from.
        input_shapes: Graph input name to its shape.
        graph: The folded graph; not written.
        types: `TypeProto` of its tensors.
        layers: Every convolution in the order of the graph.
        nodes: Layer name to the index of the graph's node that is it, or holds it in a body.
    """

    model: LoadedModel
    input_shapes: Mapping[str, Shape]
    graph: Graph = field(repr=False)
    types: Mapping[str, TypeProto] = field(repr=False)
    layers: tuple[ConvLayer, ...]
    nodes: Mapping[str, int]


def find_layers(model: LoadedModel, input_shapes: Mapping[str, Shape]) -> Prepared:
    """Fold a model and describe its convolutions.

    Args:
        model: The model; not written.
        input_shapes: Every tensor input's shape, from `resolve_input_shapes`.

    Raises:
        ModelError: ONNX Runtime refuses a part that had to be computed.
    """
    graph = fold(read_graph(model.proto))
    types = infer_types(graph, input_shapes)
    convolutions = [node for node in graph.nodes if is_convolution(node)]
    measured = [name for node in convolutions for name in (operands(node)[0], node.output[0])]
    sizes, unsettled = conv_shapes(graph, types, measured), sized_by_values(graph)
    types.update(
        {
            name: helper.make_tensor_type_proto(types[name].tensor_type.elem_type, shape)
            for name, shape in sizes.items()
            if name in types and name not in unsettled
        }
    )
    facts = _Facts(graph, types, sizes)
    layers: list[ConvLayer] = []
    nodes: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for described in facts.describe(index, node):
            name = fresh_name(described.name, nodes.__contains__)
            nodes[name] = index
            layers.append(replace(described, name=name))
    return Prepared(model, dict(input_shapes), graph, types, tuple(layers), nodes)


class _Facts:
    """What the descriptions of all layers look up."""

    def __init__(self, graph: Graph, types: Mapping[str, TypeProto], sizes: Mapping[str, Shape]) -> None:
        self._graph, self._types, self._sizes = graph, types, sizes
        self._producers, self._consumers = graph.producers(), graph.consumers()
        self._constant_nodes = graph.constant_nodes()
        self._sized_by_values = sized_by_values(graph)
        self._random = random_operator(graph)

    def describe(self, index: int, node: NodeProto) -> Iterator[ConvLayer]:
        """The layer that a node is, and those in its bodies."""
        if is_convolution(node):
            yield self._layer(index, node)
        yield from _layers_in_bodies(node)

    def _layer(self, index: int, node: NodeProto) -> ConvLayer:
        """A convolution of the main graph."""
        activation, weight_name = operands(node)
        weight = known_shape(self._types.get(weight_name)) or ()
        input_shape = self._size(activation)
        spec = None
        result: Shape = self._size(node.output[0])
        obstacle = self._obstacle_of_node(index, node)
        if is_default(node, "Conv") and weight and len(input_shape) == len(weight):
            spec = read_spec(node, weight, input_shape)
            result = output_shape(spec, input_shape)
            obstacle = obstacle or _obstacle_of_sizes(spec, input_shape, result)
        elif obstacle is None:
            obstacle = "its input size is unknown"
        return ConvLayer(
            name=node.name or node.output[0],
            spec=spec,
            input_shape=input_shape,
            output_shape=result,
            dtype=self._dtype(activation),
            macs=multiply_accumulates(node, weight, input_shape, result),
            obstacle=obstacle,
            behind=self._behind(node),
        )

    def _behind(self, node: NodeProto) -> Behind:
        """What follows a convolution of the main graph."""
        result = node.output[0]
        bias = node.input[2] if is_default(node, "Conv") and len(node.input) > 2 else ""
        at_run_time = bias != "" and not isinstance(self._graph.constants.get(bias), TensorProto)
        if at_run_time or self._dtype(node.input[0]) == "float16":
            return Behind.HOST
        if activation_behind(self._graph, self._consumers, result) is not None:
            return Behind.JOINED
        readers = [self._graph.nodes[reader] for reader in self._consumers.get(result, ())]
        is_added = len(readers) == 1 and is_default(readers[0], "Add")
        return Behind.HOST if is_added else Behind.NOTHING

    def _obstacle_of_node(self, index: int, node: NodeProto) -> str | None:
        """Why a node stays on the host whatever its sizes."""
        if node.op_type == "ConvTranspose":
            return "transposed convolution"
        if node.op_type in ("ConvInteger", "QLinearConv"):
            return f"quantised convolution ({node.op_type})"
        if node.domain not in DEFAULT_DOMAINS:
            return f"{node.op_type} of the domain {node.domain}"
        if self._graph.opset < OLDEST_OPSET:
            return f"operator set {self._graph.opset} is older than {OLDEST_OPSET}"
        if is_quantised(self._graph, node, self._producers, self._consumers):
            return "quantised convolution (between DequantizeLinear and QuantizeLinear)"
        if self._random is not None:
            return f"the network draws random numbers ({self._random}), so no answer could be checked"
        if index in self._constant_nodes:
            return "it depends on constants only"
        if node.input[0] in self._sized_by_values:
            return "its input size depends on values"
        return self._obstacle_of_weights(node.input[1])

    def _obstacle_of_weights(self, name: str) -> str | None:
        """Why weights do not let their layer go."""
        constant = self._graph.constants.get(name)
        if not isinstance(constant, TensorProto):
            return "its weights are computed at run time"
        if constant.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            return f"its weights are {dtype_name(constant.data_type)}"
        if not np.isfinite(self._graph.array(name)).all():
            return "its weights are not all finite"
        return None

    def _size(self, name: str) -> Shape:
        """Shape of a tensor; empty where unknown, or where the one that was measured holds for zeros only."""
        return () if name in self._sized_by_values else self._sizes.get(name, ())

    def _dtype(self, name: str) -> str:
        """Numpy name of a tensor's type."""
        kind = self._types.get(name)
        return dtype_name(kind.tensor_type.elem_type) if kind is not None else "unknown"


def _obstacle_of_sizes(spec: ConvSpec, input_shape: Shape, result: Shape) -> str | None:
    """Why a convolution at these sizes stays on the host."""
    if spec.in_channels != input_shape[1]:
        return f"its weights take {spec.in_channels} channels, its input has {input_shape[1]}"
    if min(*spec.pads_begin, *spec.pads_end) < 0:
        return "negative padding"
    if min(*input_shape, *result) < 1:
        return "its output is empty"
    return None


def _layers_in_bodies(node: NodeProto) -> Iterator[ConvLayer]:
    """The convolutions inside a control-flow node, at unknown sizes."""
    for body, graph in bodies(node):
        place = f"{node.name or node.output[0]}/{body}"
        for inner in graph.node:
            if is_convolution(inner):
                yield ConvLayer(
                    name=f"{place}/{inner.name or inner.output[0]}",
                    spec=None,
                    input_shape=(),
                    output_shape=(),
                    dtype="unknown",
                    macs=0,
                    obstacle=f"inside the body of {node.op_type}",
                )
            for layer in _layers_in_bodies(inner):
                yield replace(layer, name=f"{place}/{layer.name}")
