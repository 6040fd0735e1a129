"""Taking activations into the distributed convolutions that alone they follow.

The stage applies them to each run of rows as it joins it, while other rows are still on their way; what is
not taken stays a pass of the host over the whole output, behind the last answer.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import TensorProto

from cocoi_cli.model.finish import RAW, Activation
from cocoi_cli.model.fold import rewired
from cocoi_cli.model.graph import attributes, is_default

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import NodeProto

    from cocoi_cli.model.contraction import Contracted
    from cocoi_cli.model.graph import Graph

_LARGEST: Final = float(np.finfo(np.float32).max)  # what a Clip without a bound is bounded by
_BOUNDS_ARE_INPUTS: Final = 11  # operator set from which on a Clip has its bounds as inputs
_USUAL_SLOPE: Final = 0.01  # of a LeakyRelu that names none


def absorb(contracted: Contracted) -> Contracted:
    """Take into each distributed convolution the activation that alone reads it.

    Args:
        contracted: Its convolutions give raw sums with no more than a bias; not written.

    Returns:
        The same graph without these activations; the convolutions make what they made.
    """
    linear = contracted.linear
    graph, consumers = linear.graph, linear.graph.consumers()
    nodes, finishes = list(graph.nodes), dict(linear.finishes)
    gone: set[int] = set()
    for index, layer in linear.layers.items():
        found = activation_behind(graph, consumers, nodes[index].output[0])
        if found is not None:
            reader, activation = found
            finishes[layer.name] = replace(finishes.get(layer.name, RAW), activation=activation)
            nodes[index] = rewired(nodes[index], list(nodes[index].input), list(nodes[reader].output))
            gone.add(reader)
    if not gone:
        return contracted
    kept = [index for index in range(len(nodes)) if index not in gone]
    place = {index: number for number, index in enumerate(kept)}
    absorbed = replace(
        linear,
        graph=replace(graph, nodes=[nodes[index] for index in kept]),
        layers={place[index]: layer for index, layer in linear.layers.items()},
        origins=tuple(linear.origins[index] for index in kept),
        finishes=finishes,
    )
    return replace(
        contracted,
        linear=absorbed,
        segments={place[index]: segment for index, segment in contracted.segments.items()},
    )


def activation_behind(
    graph: Graph, consumers: Mapping[str, Sequence[int]], tensor: str
) -> tuple[int, Activation] | None:
    """The activation that is all that happens to a tensor, if a stage can apply it.

    Args:
        graph: The graph.
        consumers: `graph.consumers()`.
        tensor: In float32.

    Returns:
        Its node by index and what it does; None where the tensor is read by anything else or leaves the network.
    """
    readers = consumers.get(tensor, ())
    if len(readers) != 1 or tensor in graph.outputs:
        return None
    activation = _read(graph, graph.nodes[readers[0]])
    return None if activation is None else (readers[0], activation)


def _read(graph: Graph, node: NodeProto) -> Activation | None:
    """What a node does to its first input; None where it is no activation of the kinds that are known here."""
    if is_default(node, "Relu"):
        return Activation(lowest=0.0)
    if is_default(node, "LeakyRelu"):
        slope = float(attributes(node).get("alpha", _USUAL_SLOPE))
        return Activation(slope=slope) if 0.0 < slope <= 1.0 else None
    if is_default(node, "Clip"):
        lowest = _bound(graph, node, 1, "min", -_LARGEST)
        highest = _bound(graph, node, 2, "max", _LARGEST)
        if lowest is not None and highest is not None:
            return Activation(lowest=lowest, highest=highest)
    return None


def _bound(graph: Graph, node: NodeProto, position: int, name: str, default: float) -> float | None:
    """A bound of a Clip; None where it is only known at run time, or no number."""
    if graph.opset < _BOUNDS_ARE_INPUTS:
        return _number(attributes(node).get(name, default))
    if len(node.input) <= position or node.input[position] == "":
        return default
    constant = graph.constants.get(node.input[position])
    if not isinstance(constant, TensorProto):
        return None
    values = graph.array(node.input[position])
    return _number(values.item()) if values.size == 1 else None


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
