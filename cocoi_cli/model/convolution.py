"""One convolution node as normalised attributes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cocoi_cli.model.geometry import kernel_extent
from cocoi_cli.model.graph import DEFAULT_DOMAINS, attributes
from cocoi_cli.model.network import ConvSpec

if TYPE_CHECKING:
    from onnx import NodeProto

    from cocoi_cli.model.network import Shape

# Operator name to the positions of its activation and its weights.
_OPERATORS = {
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "ConvTranspose": (0, 1),
    "FusedConv": (0, 1),
    "NhwcFusedConv": (0, 1),
    "QLinearConv": (0, 3),
}


def is_convolution(node: NodeProto) -> bool:
    """Whether a node is a convolution of any kind, one that can be distributed or not."""
    return node.op_type in _OPERATORS and node.domain in (*DEFAULT_DOMAINS, "com.microsoft")


def operands(node: NodeProto) -> tuple[str, str]:
    """Tensor names of the activation and of the weights."""
    activation, weight = _OPERATORS[node.op_type]
    return node.input[activation], node.input[weight]


def read_spec(node: NodeProto, weight: Shape, input_shape: Shape) -> ConvSpec:
    """Normalise a `Conv`: defaults filled in, `auto_pad` resolved.

    Args:
        node: The node.
        weight: `(out_channels, in_channels / group, *kernel)`.
        input_shape: `(batch, channels, *spatial)`, sizes all known.
    """
    given = attributes(node)
    kernel = tuple(weight[2:])
    ones = [1] * len(kernel)
    strides, dilations = tuple(given.get("strides", ones)), tuple(given.get("dilations", ones))
    group = int(given.get("group", 1))
    automatic = given.get("auto_pad", "NOTSET")
    begin: Shape
    end: Shape
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            _same_padding(length, extent, stride)
            for length, extent, stride in zip(
                input_shape[2:], map(kernel_extent, kernel, dilations), strides, strict=True
            )
        ]
        small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        begin, end = (small, large) if automatic == "SAME_UPPER" else (large, small)
    elif automatic == "VALID":
        begin = end = (0,) * len(kernel)
    else:
        pads = tuple(given.get("pads", [0] * (2 * len(kernel))))
        begin, end = pads[: len(kernel)], pads[len(kernel) :]
    return ConvSpec(
        kernel=kernel,
        strides=strides,
        dilations=dilations,
        pads_begin=begin,
        pads_end=end,
        group=group,
        in_channels=weight[1] * group,
        out_channels=weight[0],
    )


def multiply_accumulates(node: NodeProto, weight: Shape, input_shape: Shape, output_shape: Shape) -> int:
    """Multiply-accumulates of a convolution of any kind; 0 where a size is unknown."""
    positions = input_shape if node.op_type == "ConvTranspose" else output_shape
    if not weight or not positions:
        return 0
    return math.prod(positions) * math.prod(weight[1:])


def _same_padding(length: int, extent: int, stride: int) -> int:
    """Zeros that make `ceil(length / stride)` output rows."""
    return max((-(-length // stride) - 1) * stride + extent - length, 0)
