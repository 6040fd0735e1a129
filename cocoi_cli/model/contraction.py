"""Replacing each segment of a graph by one node, so that cutting need not know what is inside."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from onnx import NodeProto

from cocoi_cli.errors import UsageError
from cocoi_cli.model.graph import node_inputs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cocoi_cli.model.graph import Graph
    from cocoi_cli.model.linear import LinearGraph
    from cocoi_cli.model.network import FusedStage

_DOMAIN = "cocoi"  # of the node that stands for a segment; it is run by nobody


class OverlappingSegmentsError(UsageError):
    """A plan has an operator computed in two segments."""

    code: ClassVar[str] = "overlapping-segments"

    def __init__(self, first: str, second: str, operator: str) -> None:
        super().__init__(
            f"the segments `{first}` and `{second}` overlap: both hold `{operator}`",
            segments=[first, second],
            operator=operator,
        )
        self.first, self.second, self.operator = first, second, operator


class LayerInSegmentError(UsageError):
    """A plan has a convolution computed alone and in a segment."""

    code: ClassVar[str] = "layer-in-segment"

    def __init__(self, layer: str, segment: str) -> None:
        super().__init__(
            f"the convolution `{layer}` is to be computed alone and in the segment `{segment}`",
            layer=layer,
            segment=segment,
        )
        self.layer, self.segment = layer, segment


@dataclass(frozen=True, slots=True)
class Contracted:
    """A graph with nodes that stand for segments.

    Attributes:
        linear: The graph, with what is known of its nodes.
        segments: Index of a node to the segment it stands for.
    """

    linear: LinearGraph
    segments: Mapping[int, FusedStage]


def check_apart(distributed: Collection[str], segments: Sequence[FusedStage]) -> None:
    """See that no layer is distributed alone and in a segment.

    Raises:
        LayerInSegmentError: One is.
    """
    for segment in segments:
        for layer in segment.layers:
            if layer in distributed:
                raise LayerInSegmentError(layer, segment.name)


def contract(linear: LinearGraph, segments: Sequence[FusedStage]) -> Contracted:
    """Put one node in the place of each segment; constants that only they needed are left out.

    Args:
        linear: The graph; not written.
        segments: Each found in the model that the graph was made from.

    Raises:
        OverlappingSegmentsError: Two share a node.
    """
    if not segments:
        return Contracted(linear, {})
    graph = linear.graph
    constant = graph.constant_nodes()
    owners: dict[int, FusedStage] = {}
    last: dict[int, FusedStage] = {}
    for segment in segments:
        inside = _nodes_of(graph, segment, constant)
        for index in inside:
            if index in owners:
                node = graph.nodes[index]
                raise OverlappingSegmentsError(owners[index].name, segment.name, node.name or node.output[0])
            owners[index] = segment
        last[max(inside)] = segment
    needed, kept = set(graph.outputs), []
    for index in range(len(graph.nodes) - 1, -1, -1):
        node = _stand_in(last[index]) if index in last else graph.nodes[index]
        is_dead = index in constant and not needed.intersection(node.output)
        if (index in owners and index not in last) or is_dead:
            continue
        needed.update(node_inputs(node))
        kept.append((index, node))
    kept.reverse()
    place = {index: number for number, (index, _) in enumerate(kept)}
    contracted = replace(
        linear,
        graph=replace(graph, nodes=[node for _, node in kept]),
        layers={place[index]: layer for index, layer in linear.layers.items()},
        origins=tuple(linear.origins[index] for index, _ in kept),
    )
    return Contracted(contracted, {place[index]: segment for index, segment in last.items()})


def _stand_in(segment: FusedStage) -> NodeProto:
    return NodeProto(op_type="Segment", domain=_DOMAIN, input=[segment.input], output=[segment.output])


def _nodes_of(graph: Graph, segment: FusedStage, constant: Collection[int]) -> set[int]:
    """The nodes between a segment's input and output, but for those that make constants.

    Raises:
        ValueError: The segment is not of this graph.
    """
    producers = graph.producers()
    found: set[int] = set()
    wanted = [segment.output]
    while wanted:
        name = wanted.pop()
        if name == segment.input or name in graph.constants:
            continue
        index = producers.get(name)
        if index is None:
            raise ValueError(f"the segment `{segment.name}` is not of this graph: it needs `{name}`")
        if index not in constant and index not in found:
            found.add(index)
            wanted.extend(node_inputs(graph.nodes[index]))
    return found
