"""How many weights are read beside those of the convolutions: dense layers, which no plan distributes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cocoi_cli.model.graph import node_inputs

if TYPE_CHECKING:
    from onnx import NodeProto

    from cocoi_cli.model.graph import Graph
    from cocoi_cli.model.layers import Prepared

FLOAT: Final = 4  # bytes of a number in memory
_SMALL: Final = 4096  # elements of a constant below which reading it costs nothing worth counting


def read_bytes(graph: Graph, node: NodeProto) -> int:
    """Bytes of the large constants that a node reads, as float32."""
    constants = [name for name in node_inputs(node) if name in graph.constants]
    sizes = [math.prod(int(length) for length in graph.constants[name].dims) for name in constants]
    return FLOAT * sum(size for size in sizes if size > _SMALL)


def bytes_beside(prepared: Prepared) -> int:
    """Bytes of the large constants that a model reads, as float32, its convolutions left out."""
    graph = prepared.graph
    left_out = graph.constant_nodes() | frozenset(prepared.nodes.values())
    return sum(read_bytes(graph, node) for index, node in enumerate(graph.nodes) if index not in left_out)
