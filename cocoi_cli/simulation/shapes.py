"""The stages of a planned model as a simulation needs them: sizes only, no weights.

A shared stage has codewords whose shares go to devices; a local stage is what the host does between two of
them. What the host does for one share is counted in bytes that it goes over, with the planner's constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from cocoi_cli.codes.families.fcdcc import FilterCode
from cocoi_cli.codes.families.hedged import SCHEME as HEDGED
from cocoi_cli.codes.registry import make_code, traits
from cocoi_cli.model.geometry import split_rows
from cocoi_cli.model.weights import FLOAT
from cocoi_cli.planning.defaults import gain_limit
from cocoi_cli.planning.loads import (
    FINISH_PASSES,
    JOIN_PASSES,
    MISSING_PASSES,
    PARITY_PASSES,
    SOCKET_PASSES,
    WIDTHS,
    Slice,
    spec_of,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.model.segments import Segment
    from cocoi_cli.planning.plan import ConvPlan, SegmentPlan

FIRST_AXIS = 2  # after batch and channels


@dataclass(frozen=True)
class Sizes:
    """One share of one codeword.

    Attributes:
        inputs: Numbers that are sent.
        outputs: Numbers that come back.
        transport: What the share travels as, `f16` or `f32`.
        reply: What the answer travels as.
        slices: What a device computes.
        pieces: Pieces that the codeword's input is cut into.
        mixtures: Mixtures of them in a share; more than one where filters are coded too.
        parts: Pieces of the output in an answer; likewise.
        joining: Passes over a piece of the output until it is in its place, finished.
    """

    inputs: int
    outputs: int
    transport: str
    reply: str
    slices: tuple[Slice, ...]
    pieces: int = 1
    mixtures: int = 1
    parts: int = 1
    joining: float = JOIN_PASSES

    @cached_property
    def bytes_out(self) -> int:
        """On the wire to the device."""
        return self.inputs * WIDTHS[self.transport]

    @cached_property
    def bytes_in(self) -> int:
        """On the wire from the device."""
        return self.outputs * WIDTHS[self.reply]

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of one share."""
        return sum(each.macs for each in self.slices)

    @cached_property
    def send_pass(self) -> float:
        """Bytes that the host goes over to cast and send one share."""
        cast = FLOAT * self.inputs if self.transport == "f16" else 0.0
        return cast + SOCKET_PASSES * self.bytes_out

    @cached_property
    def receive_pass(self) -> float:
        """Bytes that the host goes over to take one answer out of the socket."""
        return SOCKET_PASSES * self.bytes_in

    @cached_property
    def take_pass(self) -> float:
        """Bytes that the host goes over to cast one answer that is wanted."""
        return FLOAT * self.outputs if self.reply == "f16" else 0.0

    @cached_property
    def join_pass(self) -> float:
        """Bytes that the host goes over to put one piece of the output into its place, finished."""
        return self.joining * FLOAT * self.outputs / self.parts

    @cached_property
    def cut_pass(self) -> float:
        """Bytes that the host goes over to cut all pieces of a codeword."""
        return FLOAT * self.pieces * self.inputs / self.mixtures

    def mix_pass(self, pieces: int) -> float:
        """Bytes that the host goes over to encode one share that mixes so many pieces."""
        return PARITY_PASSES * FLOAT * self.inputs * pieces

    @cached_property
    def decode_pass(self) -> float:
        """Bytes that the host goes over to decode one missing piece, per answer."""
        return MISSING_PASSES * FLOAT * self.outputs


@dataclass(frozen=True, slots=True)
class LocalShape:
    """What the host does alone between two shared stages, or after the last.

    Attributes:
        name: Of the stage.
        slices: Its convolutions.
        passes: Bytes that everything else goes over.
    """

    name: str
    slices: tuple[Slice, ...]
    passes: float


@dataclass(frozen=True, slots=True)
class SharedShape:
    """A stage that devices compute.

    Attributes:
        name: Of the layer or the segment.
        kind: `conv` or `fused`.
        layer: Place of its first layer among all layers: which of the random numbers are its own.
        scheme: Name of the code family.
        n: Homes per codeword, the host's included.
        k: Pieces, or what the family means by it.
        code: Of every codeword.
        host: Whether the host holds the last home.
        eager: Whether every share is sent at once.
        patient: Whether late holders are waited for.
        strips: One entry per codeword, in order.
        mixed: Shares that are mixtures; all of a codeword are made with the first.
    """

    name: str
    kind: str
    layer: int
    scheme: str
    n: int
    k: int
    code: Code = field(repr=False)
    host: bool
    eager: bool
    patient: bool
    strips: tuple[Sizes, ...]
    mixed: frozenset[int] = frozenset()


StageShape = LocalShape | SharedShape


def conv_shape(layer: ConvLayer, plan: ConvPlan, place: int) -> SharedShape:
    """The shape of a distributed convolution.

    Args:
        layer: With a spec and known sizes.
        plan: A distributed one, for this layer.
        place: Of the layer among all layers.

    Raises:
        UsageError: If the code family refuses the plan's n and k.
    """
    code = make_code(plan.scheme, plan.n, plan.k, gain_limit=gain_limit(plan.transport), filters=plan.filters)
    style = traits(plan.scheme)
    return SharedShape(
        name=plan.layer,
        kind="conv",
        layer=place,
        scheme=plan.scheme,
        n=plan.n,
        k=plan.k,
        code=code,
        host=plan.host,
        eager=style.eager,
        patient=style.patient,
        strips=_strips(layer, plan, code),
        mixed=frozenset(share for share in range(code.shares or 0) if code.piece_of(share) is None),
    )


def segment_shape(segment: Segment, layers: Sequence[ConvLayer], plan: SegmentPlan, place: int) -> SharedShape:
    """The shape of a fused segment: every tile is a codeword of one piece, which any agent may compute.

    Args:
        segment: The run of layers.
        layers: Its convolutions.
        plan: How many tiles, and who takes them.
        place: Of its first layer among all layers.
    """
    cost = segment.cost(plan.tiles)
    tiles, style = cost.tiles, traits(HEDGED)
    total = sum(layer.macs for layer in layers) or 1
    slices = tuple(_part(whole(layer), cost.macs / total / tiles, tiles) for layer in layers)
    sizes = Sizes(
        inputs=math.ceil(cost.bytes_in_elems / tiles),
        outputs=math.ceil(cost.bytes_out_elems / tiles),
        transport=plan.transport,
        reply=plan.answers,
        slices=slices,
    )
    return SharedShape(
        name=plan.name,
        kind="fused",
        layer=place,
        scheme=HEDGED,
        n=plan.n,
        k=1,
        code=make_code(HEDGED, max(plan.n, 1), 1, gain_limit=gain_limit(plan.transport)),
        host=plan.host,
        eager=style.eager,
        patient=style.patient,
        strips=(sizes,) * tiles,
    )


def _part(slice_: Slice, share: float, tiles: int) -> Slice:
    """A slice cut into tiles: its rows are divided, its work is `share` of the whole (the overlap counts)."""
    return Slice(
        macs=round(slice_.macs * share),
        kernel=slice_.kernel,
        in_channels=slice_.in_channels,
        out_channels=slice_.out_channels,
        width=slice_.width,
        rows=max(1, round(slice_.rows / tiles)),
    )


def _strips(layer: ConvLayer, plan: ConvPlan, code: Code) -> tuple[Sizes, ...]:
    """One entry per codeword; strips of a layer differ by a row at most."""
    spec, axis = spec_of(layer), plan.axis
    rows, out_rows = layer.input_shape[axis], layer.output_shape[axis]
    pieces, mixtures, groups = plan.k, 1, 1
    if isinstance(code, FilterCode):
        pieces, mixtures, groups = code.row_pieces, code.inputs, code.weights
    channels = math.ceil(spec.out_channels / code.filters) * groups
    strips = min(plan.strips, split_rows(spec, axis, rows, pieces, 1).piece_rows)
    split = split_rows(spec, axis, rows, pieces, strips)
    full = whole(layer)
    found: dict[tuple[int, int], Sizes] = {}  # equal strips share one record: what a device needs is looked up once
    for index, strip in enumerate(split.strips):
        key = split.input_length(index), strip.rows
        if key in found:
            continue
        part = Slice(
            macs=max(1, layer.macs * strip.rows * mixtures * channels // (out_rows * spec.out_channels)),
            kernel=full.kernel,
            in_channels=full.in_channels,
            out_channels=channels,
            width=math.prod(layer.output_shape[FIRST_AXIS:]) // out_rows,
            rows=strip.rows,
        )
        found[key] = Sizes(
            inputs=math.prod(layer.input_shape) // rows * key[0] * mixtures,
            outputs=math.prod(layer.output_shape) // out_rows * strip.rows * mixtures * channels // spec.out_channels,
            transport=plan.transport,
            reply=plan.answers,
            slices=(part,),
            pieces=pieces,
            mixtures=mixtures,
            parts=mixtures * groups,
            joining=FINISH_PASSES[layer.behind],
        )
    return tuple(found[split.input_length(index), strip.rows] for index, strip in enumerate(split.strips))
