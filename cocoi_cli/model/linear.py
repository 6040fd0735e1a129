"""Making chosen convolutions linear: the bias is set aside, float16 rounding becomes a node after them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from cocoi_cli.model.finish import Finish
from cocoi_cli.model.fold import rewired
from cocoi_cli.model.graph import Graph, fresh_name, values_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.network import ConvLayer


@dataclass(frozen=True, slots=True)
class LinearGraph:
    """A graph whose chosen convolutions have no bias and give float32, finished as `finishes` says.

    Attributes:
        graph: The graph; constants and nodes are shared with the one it was made from.
        layers: Index of a node to the layer it is, for the chosen convolutions.
        origins: For each node the index of the node it comes from.
        tensors: `ValueInfoProto` of the tensors that are new, by name, without sizes.
        finishes: Layer name to what is still to be done to its sums; sums of the others are outputs as they are.
    """

    graph: Graph
    layers: Mapping[int, ConvLayer]
    origins: tuple[int, ...]
    tensors: Mapping[str, ValueInfoProto]
    finishes: Mapping[str, Finish]


def make_linear(graph: Graph, chosen: Mapping[int, ConvLayer]) -> LinearGraph:
    """Split bias and rounding off the chosen convolutions.

    A bias that is constant is set aside in `finishes`; one that is computed at run time is added by a node. A
    float16 convolution gives a float32 sum: rounding comes after the bias, as in ONNX Runtime, and a sum that only
    the bias brings back into float16's range does not overflow.

    Args:
        graph: The graph, of operator set 7 or later; not written.
        chosen: Index of a `Conv` node to its layer.
    """
    splitter = _Splitter(graph)
    nodes: list[NodeProto] = []
    origins: list[int] = []
    layers: dict[int, ConvLayer] = {}
    for index, node in enumerate(graph.nodes):
        layer = chosen.get(index)
        made = [node]
        if layer is not None:
            layers[len(nodes)] = layer
            made = splitter.split(node, layer)
        nodes.extend(made)
        origins.extend([index] * len(made))
    return LinearGraph(
        replace(graph, nodes=nodes, constants=splitter.constants),
        layers,
        tuple(origins),
        splitter.tensors,
        splitter.finishes,
    )


class _Splitter:
    """Makes nodes and names for one graph."""

    def __init__(self, graph: Graph) -> None:
        self.constants = dict(graph.constants)
        self.tensors: dict[str, ValueInfoProto] = {}
        self.finishes: dict[str, Finish] = {}
        self._taken = graph.names()

    def split(self, node: NodeProto, layer: ConvLayer) -> list[NodeProto]:
        """The linear convolution and what the host does after it."""
        half = layer.dtype == "float16"
        bias = node.input[2] if len(node.input) > 2 else ""
        constant = self.constants.get(bias)
        if isinstance(constant, TensorProto):
            self.finishes[layer.name] = Finish(values_of(constant, bias).astype(np.float32))
            bias = ""
        axes, result = len(layer.output_shape), node.output[0]
        if not (half or bias):
            return [rewired(node, list(node.input[:2]))]
        tensor = self._tensor(f"{result}_sum", axes)
        nodes = [rewired(node, list(node.input[:2]), [tensor])]
        if bias:
            prepare, bias = self._bias(bias, axes, half=half)
            total = self._tensor(f"{result}_biased", axes) if half else result
            nodes += [*prepare, helper.make_node("Add", [tensor, bias], [total])]
            tensor = total
        if half:
            nodes.append(helper.make_node("Cast", [tensor], [result], to=TensorProto.FLOAT16))
        return nodes

    def _bias(self, name: str, axes: int, *, half: bool) -> tuple[list[NodeProto], str]:
        """A bias `(out_channels,)` as float32 `(1, out_channels, 1, …)`: nodes that make it, and its name."""
        shape = (1, -1, *[1] * (axes - 2))
        target = self._constant(f"{name}_column_shape", np.array(shape, np.int64))
        column = self._tensor(f"{name}_column", axes, TensorProto.FLOAT16 if half else TensorProto.FLOAT)
        nodes = [helper.make_node("Reshape", [name, target], [column])]
        if half:
            wide = self._tensor(f"{name}_column_float32", axes)
            nodes.append(helper.make_node("Cast", [column], [wide], to=TensorProto.FLOAT))
            column = wide
        return nodes, column

    def _name(self, base: str) -> str:
        name = fresh_name(base, self._taken.__contains__)
        self._taken.add(name)
        return name

    def _tensor(self, base: str, axes: int, element: int = TensorProto.FLOAT) -> str:
        name = self._name(base)
        self.tensors[name] = helper.make_tensor_value_info(name, element, [None] * axes)
        return name

    def _constant(self, base: str, values: np.ndarray[Any, Any]) -> str:
        name = self._name(base)
        self.constants[name] = numpy_helper.from_array(values, name)
        return name
