"""Recognising convolutions that compute on integers: they stay whole and on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.model.graph import is_default

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import NodeProto

    from cocoi_cli.model.graph import Graph

# What ONNX Runtime merges into a quantised convolution between it and the QuantizeLinear.
_BETWEEN = ("Relu", "Clip", "LeakyRelu", "Identity")


def is_quantised(
    graph: Graph,
    node: NodeProto,
    producers: Mapping[str, int],
    consumers: Mapping[str, Sequence[int]],
) -> bool:
    """Whether a `Conv` stands between DequantizeLinear and QuantizeLinear nodes.

    ONNX Runtime turns such a group into one convolution on integers. A convolution in floats with
    weights that were merely stored as integers is not one, nor is one whose result stays float.

    Args:
        graph: The graph.
        node: A `Conv` of it.
        producers: `graph.producers()`.
        consumers: `graph.consumers()`.
    """
    if any(name not in producers or not _dequantises(graph.nodes[producers[name]]) for name in node.input[:2]):
        return False
    name = node.output[0]
    while len(consumers.get(name, ())) == 1:
        reader = graph.nodes[consumers[name][0]]
        if reader.op_type == "QuantizeLinear":
            return True
        if not is_default(reader, *_BETWEEN):
            return False
        name = reader.output[0]
    return any(graph.nodes[reader].op_type == "QuantizeLinear" for reader in consumers.get(name, ()))


def _dequantises(node: NodeProto) -> bool:
    return bool(node.op_type == "DequantizeLinear")
