"""What a decision asks of devices, host and wires: sizes of one share and how many are needed. Pure.

A share here is whatever an agent computes at once: a strip of a share of a code, or a tile of a segment.
Sizes are means over the shares of a stage; the last pieces may be padding.

Notation: `n` shares per codeword, `k` pieces, `m` strips per piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cocoi_cli.model.geometry import kernel_extent
from cocoi_cli.model.network import Behind
from cocoi_cli.model.weights import FLOAT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.model.network import ConvLayer, ConvSpec
    from cocoi_cli.model.segments import TileCost

WIDTHS: Final = {"f16": 2, "f32": 4}
"""Bytes of a number on the wire."""

FIRST_AXIS: Final = 2  # after batch and channels

# Passes of the host over memory, in units of one read and write (docs/methods.md, what the host does beside).
SOCKET_PASSES: Final = 2.0  # of the bytes on the wire, in each direction
PARITY_PASSES: Final = 0.8  # of a codeword's pieces, for each parity share
MISSING_PASSES: Final = 1.0  # of a codeword's answers, for each piece that must be decoded
JOIN_PASSES: Final = 1.0  # of a piece that is put into its place as it is
# Of one that gets its bias there, or a bias and a ReLU, in the mean over all of VGG16: 1.0 and 1.6 where a channel has
# thousands of elements in a piece, 2 and 2.9 where it has dozens, since numpy pays for each run anew.
FINISH_PASSES: Final[Mapping[Behind, float]] = MappingProxyType(
    {Behind.NOTHING: 1.5, Behind.HOST: 1.5, Behind.JOINED: 2.1}
)
# Of the output, behind the last answer: what the host computes along with a convolution of its own.
AFTER_PASSES: Final[Mapping[Behind, float]] = MappingProxyType(
    {Behind.NOTHING: 0.0, Behind.HOST: 2.0, Behind.JOINED: 0.0}
)


@dataclass(frozen=True, slots=True)
class Slice:
    """A run of rows of one convolution, as `DeviceModel.compute` wants it described."""

    macs: int
    kernel: int
    in_channels: int
    out_channels: int
    width: int
    rows: int


@dataclass(frozen=True, slots=True)
class Load:
    """One distributed stage.

    Attributes:
        slices: What one share computes.
        up: Bytes of one share on the wire.
        down: Bytes of its answer.
        needed: Answers that the stage needs in all: k per codeword.
        capacity: Shares that one agent can take at most.
        up_pass: Bytes that the host goes over for one share: cutting, encoding, casting, sending.
        down_pass: The same for one answer: receiving, casting, decoding, joining, with bias and activation.
        after_pass: The same when the last answer is there.
        weights: Bytes that each holder keeps.
        working: Bytes in use while a share is computed.
        copies: Holders of each share; 1 but for replication.
        eager: Whether all shares are sent at once.
        patient: Whether late holders are waited for.
    """

    slices: tuple[Slice, ...]
    up: float
    down: float
    needed: int
    capacity: int
    up_pass: float
    down_pass: float
    after_pass: float
    weights: int
    working: float
    copies: int = 1
    eager: bool = False
    patient: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one share."""
        return sum(each.macs for each in self.slices)


def cut_load(
    layer: ConvLayer,
    *,
    n: int,
    k: int,
    axis: int,
    strips: int,
    transport: str,
    reply: str,
    scheme: str = "coded",
    eager: bool = False,
    patient: bool = False,
) -> Load:
    """The load of one convolution that is cut along one axis.

    Args:
        layer: With a spec and known shapes.
        n: Shares per codeword.
        k: Pieces.
        axis: Axis that is cut.
        strips: Strips per piece.
        transport: What shares travel as.
        reply: What answers travel as.
        scheme: `coded` mixes pieces; the others copy.
        eager: As `Load` has it.
        patient: As `Load` has it.
    """
    spec = spec_of(layer)
    at = axis - FIRST_AXIS
    length = layer.output_shape[axis]
    piece = math.ceil(length / k)
    rows = _felt(piece / strips, math.ceil(piece / strips), k * strips / n, (piece % strips or strips) / strips)
    in_rows = (rows - 1) * spec.strides[at] + kernel_extent(spec.kernel[at], spec.dilations[at])
    inputs = math.prod(layer.input_shape) / layer.input_shape[axis] * in_rows
    outputs = math.prod(layer.output_shape) / length * rows
    macs = round(layer.macs / length * rows)
    spare = n - k if scheme == "coded" else 0
    missing = k * spare / n
    return Load(
        slices=(Slice(macs, *_described(spec), _width(layer, axis), max(1, round(rows))),),
        up=inputs * WIDTHS[transport],
        down=outputs * WIDTHS[reply],
        needed=k * strips,
        capacity=strips,
        up_pass=_up_pass(inputs, transport) + PARITY_PASSES * spare * inputs * FLOAT,
        down_pass=_down_pass(outputs, reply, FINISH_PASSES[layer.behind]) + MISSING_PASSES * missing * outputs * FLOAT,
        after_pass=after_pass(layer),
        weights=weight_bytes(layer),
        working=(inputs + outputs) * FLOAT,
        copies=max(1, n // k) if scheme == "replication" else 1,
        eager=eager,
        patient=patient,
    )


def segment_load(layers: Sequence[ConvLayer], cost: TileCost, *, n: int, transport: str, reply: str) -> Load:
    """The load of a run of layers that is computed tile by tile.

    Args:
        layers: Its convolutions.
        cost: What its tiles cost together.
        n: Agents that take tiles.
        transport: What tiles travel as.
        reply: What answers travel as.
    """
    tiles, rounds, large = cost.tiles, cost.tiles / n, cost.large / cost.tiles
    inputs = _felt(cost.bytes_in_elems / tiles, cost.largest_in_elems, rounds, large)
    outputs = _felt(cost.bytes_out_elems / tiles, cost.largest_out_elems, rounds, large)
    work = _felt(cost.macs / tiles, cost.largest_macs, rounds, large)
    whole = sum(layer.macs for layer in layers) or 1
    slices = []
    for layer in layers:
        spec = spec_of(layer)
        rows = max(1, round(layer.output_shape[FIRST_AXIS] / tiles))
        slices.append(Slice(round(work * layer.macs / whole), *_described(spec), _width(layer, FIRST_AXIS), rows))
    return Load(
        slices=tuple(slices),
        up=inputs * WIDTHS[transport],
        down=outputs * WIDTHS[reply],
        needed=tiles,
        capacity=tiles,
        up_pass=_up_pass(inputs, transport),
        down_pass=_down_pass(outputs, reply, JOIN_PASSES),
        after_pass=0.0,
        weights=sum(weight_bytes(layer) for layer in layers),
        working=cost.memory_elems * FLOAT,
    )


def mixed_load(layer: ConvLayer, *, n: int, k: int, filters: int, transport: str, reply: str) -> Load:
    """The load of one convolution whose input and filters are coded: little to keep, more to send and to decode.

    Args:
        layer: With a spec and known shapes.
        n: Shares.
        k: Answers that suffice.
        filters: Groups of output channels, k_B; k_A follows from k.
        transport: What shares travel as.
        reply: What answers travel as.
    """
    spec = spec_of(layer)
    groups = 2 if filters > 1 else 1  # mixtures of filters at each agent, l_B
    pieces = max(1, 4 * k // filters if filters > 1 else 2 * k)  # k_A
    mixtures = 2 if pieces > 1 else 1  # of the input, l_A
    length = layer.output_shape[FIRST_AXIS]
    rows = math.ceil(length / pieces)
    in_rows = (rows - 1) * spec.strides[0] + kernel_extent(spec.kernel[0], spec.dilations[0])
    inputs = mixtures * math.prod(layer.input_shape) / layer.input_shape[FIRST_AXIS] * in_rows
    outputs = mixtures * groups * math.prod(layer.output_shape) / length * rows / filters
    kernel, channels, _ = _described(spec)
    macs = round(mixtures * groups * layer.macs / length * rows / filters)
    part = Slice(macs, kernel, channels, max(1, spec.out_channels // filters), _width(layer, FIRST_AXIS), rows)
    return Load(
        slices=(part,),
        up=inputs * WIDTHS[transport],
        down=outputs * WIDTHS[reply],
        needed=k,
        capacity=1,
        up_pass=_up_pass(inputs, transport) + PARITY_PASSES * pieces * inputs * FLOAT,
        down_pass=_down_pass(outputs, reply, FINISH_PASSES[layer.behind]) + MISSING_PASSES * 4 * k * outputs * FLOAT,
        after_pass=after_pass(layer),
        weights=weight_bytes(layer) * groups // filters,
        working=(inputs + outputs) * FLOAT,
    )


def whole(layer: ConvLayer) -> Slice:
    """The whole convolution as one slice."""
    spec = layer.spec
    if spec is None or not layer.output_shape:
        return Slice(layer.macs, 1, 1, 1, 1, 1)
    return Slice(layer.macs, *_described(spec), _width(layer, FIRST_AXIS), layer.output_shape[FIRST_AXIS])


def after_pass(layer: ConvLayer) -> float:
    """Bytes that the host goes over when the last answer to a distributed layer is there."""
    return AFTER_PASSES[layer.behind] * math.prod(layer.output_shape) * FLOAT


def weight_bytes(layer: ConvLayer) -> int:
    """Bytes of the layer's weights in float32; 0 where they are unknown."""
    if layer.spec is None:
        return 0
    return FLOAT * layer.spec.out_channels * layer.spec.in_channels // layer.spec.group * math.prod(layer.spec.kernel)


def spec_of(layer: ConvLayer) -> ConvSpec:
    """The attributes of a layer that can be cut.

    Raises:
        ValueError: If they are unknown.
    """
    if layer.spec is None:
        raise ValueError(f"the attributes of `{layer.name}` are unknown")
    return layer.spec


def _felt(mean: float, largest: float, rounds: float, large: float) -> float:
    """The size that decides: the largest where each agent has one share, the mean where each has many.

    Where few shares are large (the part `large` of them), they are not the slowest device's as well: the last of many
    is a usual share on a slow device about as often as a large one on a usual device.
    """
    return mean + (largest - mean) * math.sqrt(large) / max(rounds, 1.0)


def _described(spec: ConvSpec) -> tuple[int, int, int]:
    kernel = max(1, round(math.prod(spec.kernel) ** (1 / len(spec.kernel))))
    return kernel, max(1, spec.in_channels // spec.group), spec.out_channels


def _width(layer: ConvLayer, axis: int) -> int:
    """Columns: all spatial positions beside the cut axis."""
    return max(1, math.prod(layer.output_shape[FIRST_AXIS:]) // layer.output_shape[axis])


def _up_pass(inputs: float, transport: str) -> float:
    cast = FLOAT * inputs if transport == "f16" else 0.0
    return FLOAT * inputs + cast + SOCKET_PASSES * inputs * WIDTHS[transport]


def _down_pass(outputs: float, reply: str, joining: float) -> float:
    cast = FLOAT * outputs if reply == "f16" else 0.0
    return joining * FLOAT * outputs + cast + SOCKET_PASSES * outputs * WIDTHS[reply]
