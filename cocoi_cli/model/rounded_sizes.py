"""Tensors whose size ONNX's inference and ONNX Runtime round differently.

Where a window of a pooling reaches over the edge (`ceil_mode`), where padding is automatic, or where a
size is multiplied by a fraction, the two disagree by a row now and then. ONNX Runtime is the one that
computes, so the sizes of what such nodes make are measured, not inferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from cocoi_cli.model.graph import attributes, bodies

if TYPE_CHECKING:
    from onnx import NodeProto

    from cocoi_cli.model.graph import Graph

_EXACT_STEPS = 1024  # a scale that is a multiple of 1/1024 gives the same product in any precision
_SCALES = {"Resize": (1, 2), "Upsample": (1,)}  # inputs that may hold scales; opset 10 has no `roi` before them


def sized_by_rounding(graph: Graph) -> frozenset[str]:
    """Names of the tensors made by a node whose output size is rounded in more than one way."""
    return frozenset(name for node in graph.nodes if _rounds(graph, node) for name in node.output if name)


def _rounds(graph: Graph, node: NodeProto) -> bool:
    """Whether a node, or one in its bodies, rounds the size of its output."""
    if any(_rounds(graph, inner) for _, body in bodies(node) for inner in body.node):
        return True
    if node.op_type in _SCALES:
        return not _scales_exactly(graph, node)
    if node.op_type not in ("AveragePool", "ConvTranspose", "LpPool", "MaxPool"):
        return False
    given = attributes(node)
    return bool(given.get("ceil_mode", 0)) or str(given.get("auto_pad", "")).startswith("SAME")


def _scales_exactly(graph: Graph, node: NodeProto) -> bool:
    """Whether every scale of a Resize or Upsample is a constant without a fraction that is rounded."""
    if len(node.input) > 3 and node.input[3]:  # sizes instead of scales
        return True
    given = attributes(node)
    if given.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        return False
    scales = [float(value) for value in given.get("scales", ())]
    for at in _SCALES[node.op_type]:
        name = node.input[at] if at < len(node.input) else ""
        constant = graph.constants.get(name)
        if name and not isinstance(constant, TensorProto):
            return False
        if name:
            scales += graph.array(name).reshape(-1).astype(np.float64).tolist()
    return all((scale * _EXACT_STEPS).is_integer() for scale in scales)
