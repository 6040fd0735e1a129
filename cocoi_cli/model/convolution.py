"""One convolution node as normalised attributes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import ModelError
from cocoi_cli.model.geometry import kernel_extent
from cocoi_cli.model.graph import DEFAULT_DOMAINS, attributes
from cocoi_cli.model.network import ConvSpec

if TYPE_CHECKING:
    from onnx import NodeProto

    from cocoi_cli.model.network import Shape

# The last two are written by ONNX Runtime when it saves a model that it has optimised.
_DOMAINS = (*DEFAULT_DOMAINS, "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc")

# Operator name to the positions of its activation and its weights.
_OPERATORS = {
    "Conv": (0, 1),
    "ConvInteger": (0, 1),
    "ConvTranspose": (0, 1),
    "FusedConv": (0, 1),
    "NhwcFusedConv": (0, 1),
    "QLinearConv": (0, 3),
}


class BadAttributeError(ModelError):
    """An attribute of a convolution does not fit its kernel."""

    code: ClassVar[str] = "bad-attribute"

    def __init__(self, node: str, attribute: str, value: object) -> None:
        super().__init__(
            f"the attribute `{attribute}` of the convolution `{node}` is `{value}`",
            node=node,
            attribute=attribute,
            value=str(value),
        )
        self.node, self.attribute, self.value = node, attribute, value


def is_convolution(node: NodeProto) -> bool:
    """Whether a node is a convolution of any kind, one that can be distributed or not."""
    return node.op_type in _OPERATORS and node.domain in _DOMAINS


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

    Raises:
        BadAttributeError: An attribute is no list of as many numbers as there are axes.
    """
    given = attributes(node)
    kernel = tuple(weight[2:])
    strides = _numbers(node, "strides", (1,) * len(kernel), least=1)
    dilations = _numbers(node, "dilations", (1,) * len(kernel), least=1)
    (group,) = _numbers(node, "group", (1,), least=1)
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
        pads = _numbers(node, "pads", (0,) * (2 * len(kernel)))
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


def _numbers(node: NodeProto, name: str, default: Shape, least: int | None = None) -> Shape:
    """An attribute of whole numbers, as many as the default has."""
    value = attributes(node).get(name, default)
    numbers = (value,) if isinstance(value, int) else value
    if not isinstance(numbers, (tuple, list)) or len(numbers) != len(default):
        raise BadAttributeError(node.name or node.output[0], name, value)
    if not all(isinstance(number, int) and (least is None or number >= least) for number in numbers):
        raise BadAttributeError(node.name or node.output[0], name, value)
    return tuple(numbers)


def _same_padding(length: int, extent: int, stride: int) -> int:
    """Zeros that make `ceil(length / stride)` output rows."""
    return max((-(-length // stride) - 1) * stride + extent - length, 0)
