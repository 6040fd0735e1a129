"""Tensors whose size is known only once values are: boxes that were found, pixels that were picked.

A convolution behind such a tensor cannot be planned for. Sizes that follow from the sizes of the
inputs, through Shape and arithmetic on it, are no such case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.model.graph import bodies, node_inputs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnx import NodeProto

    from cocoi_cli.model.graph import Graph

# Operators whose output size is a matter of values whatever their inputs.
_COUNTING = frozenset({"Compress", "Loop", "NonMaxSuppression", "NonZero", "SequenceMap", "StringSplit", "Unique"})

# Their second input holds the axes.
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")

# Operator to the positions of the inputs whose values are sizes, positions or repetitions.
_SIZE_OPERANDS = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "If": (0,),
    "MaxUnpool": (2,),
    "OneHot": (1,),
    "Pad": (1, 3),
    "Range": (0, 1, 2),
    **{f"Reduce{kind}": (1,) for kind in _REDUCTIONS},
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "SequenceAt": (1,),
    "SplitToSequence": (1,),
    "Squeeze": (1,),
    "Tile": (1, 2),
    "TopK": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
}


def sized_by_values(graph: Graph) -> frozenset[str]:
    """Names of the tensors whose shape depends on the values of the graph's inputs."""
    valued = set(graph.inputs)  # tensors whose values depend on the values of the inputs
    sized: set[str] = set()
    for node in graph.nodes:
        inputs = node_inputs(node)
        if node.op_type in ("Shape", "Size"):
            valued.update(node.output if sized.intersection(inputs) else ())
            continue
        if valued.intersection(inputs):
            valued.update(node.output)
        if sized.intersection(inputs) or _sizes_its_output(node, valued):
            sized.update(node.output)
            valued.update(node.output)
    return frozenset(sized)


def _sizes_its_output(node: NodeProto, valued: set[str]) -> bool:
    """Whether a node makes an output whose size depends on values."""
    if _counts([node]):
        return bool(valued.intersection(node_inputs(node)))
    operands = _SIZE_OPERANDS.get(node.op_type, ())
    return any(at < len(node.input) and node.input[at] in valued for at in operands)


def _counts(nodes: Iterable[NodeProto]) -> bool:
    """Whether one of these nodes, or of those in their bodies, counts what it finds."""
    return any(node.op_type in _COUNTING or any(_counts(body.node) for _, body in bodies(node)) for node in nodes)
