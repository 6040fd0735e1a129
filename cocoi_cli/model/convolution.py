"""One convolution node as normalised attributes."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Taps:
    """A kernel over the spatial axes, with explicit padding."""

    kernel: Shape
    strides: Shape
    dilations: Shape
    pads_begin: Shape
    pads_end: Shape


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
    kernel = tuple(weight[2:])
    (group,) = _numbers(node, "group", (1,), least=1)
    taps = read_taps(node, kernel, input_shape[2:])
    return ConvSpec(
        kernel=kernel,
        strides=taps.strides,
        dilations=taps.dilations,
        pads_begin=taps.pads_begin,
        pads_end=taps.pads_end,
        group=group,
        in_channels=weight[1] * group,
        out_channels=weight[0],
    )


def read_taps(node: NodeProto, kernel: Shape, spatial: Shape) -> Taps:
    """Where the kernel of a `Conv` or of a pooling lies: defaults filled in, `auto_pad` resolved.

    Args:
        node: The node.
        kernel: One size per spatial axis.
        spatial: Sizes of the input without batch and channels, all known.

    Raises:
        BadAttributeError: An attribute is no list of as many numbers as there are axes.
    """
    strides = _numbers(node, "strides", (1,) * len(kernel), least=1)
    dilations = _numbers(node, "dilations", (1,) * len(kernel), least=1)
    automatic = attributes(node).get("auto_pad", "NOTSET")
    if automatic in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            _same_padding(length, extent, stride)
            for length, extent, stride in zip(spatial, map(kernel_extent, kernel, dilations), strides, strict=True)
        ]
        small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
        begin, end = (small, large) if automatic == "SAME_UPPER" else (large, small)
        return Taps(kernel, strides, dilations, begin, end)
    if automatic == "VALID":
        return Taps(kernel, strides, dilations, (0,) * len(kernel), (0,) * len(kernel))
    pads = _numbers(node, "pads", (0,) * (2 * len(kernel)))
    return Taps(kernel, strides, dilations, pads[: len(kernel)], pads[len(kernel) :])


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
