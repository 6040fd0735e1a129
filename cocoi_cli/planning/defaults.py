"""The plan without measurements: every layer that can be cut is cut, one code for all.

Notation: `n` shares per codeword, `k` pieces, `m` strips per piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from cocoi_cli.codes.filter_cost import LayerSize
from cocoi_cli.codes.registry import default_filters, default_pieces, make_code, traits
from cocoi_cli.model.geometry import kernel_extent
from cocoi_cli.planning.errors import BadSizeError, TooFewAgentsError, UnknownTransportError
from cocoi_cli.planning.plan import LOCAL, ConvPlan, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.model.network import ConvLayer

SMALLEST_MACS = 100_000  # below, a message costs more than the arithmetic
MOST_STRIPS = 5  # more of them cost messages and win nothing measurable
SMALLEST_STRIP = 2  # output rows; thinner strips spend their time on halo
FIRST_SPATIAL_AXIS = 2  # after batch and channels
AXIS_WORDS = {1: ("positions",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}

# Rounding of the transport type times the noise gain is the error of a decoded piece: these
# keep it near 1e-4 and 1e-2 of the largest value. Source: docs/methods.md, the guard's limits.
GAIN_LIMITS = MappingProxyType({"f16": 20.0, "f32": 1000.0})


def gain_limit(transport: str) -> float:
    """The largest noise gain to decode with when shares travel as `f16` or `f32`.

    Raises:
        UnknownTransportError: If `transport` is neither.
    """
    if transport not in GAIN_LIMITS:
        raise UnknownTransportError(transport, tuple(sorted(GAIN_LIMITS)))
    return GAIN_LIMITS[transport]


def default_plan(
    layers: Sequence[ConvLayer],
    *,
    agents: int,
    scheme: str,
    n: int | None,
    k: int | None,
    transport: str,
    strips: int | None = None,
) -> Plan:
    """Decide every layer by rule.

    Args:
        layers: In the order of the graph.
        agents: How many agents are live. With none of them, and no `n` or `k` asked
            for, every layer is local.
        scheme: `local`, or the name of a code family.
        n: Shares per codeword; None for all live agents.
        k: Pieces; None for what the code family suggests for n.
        transport: `f16` or `f32`; a family that is defined with one has it.
        strips: Strips per piece in every layer that has so many rows; None for what suits the family and the layer.

    Raises:
        BadSizeError: If n or k is below 1, or k above n.
        TooFewAgentsError: If more is asked for than agents are live.
        UnknownSchemeError: If no family has this name.
        UsageError: If the family refuses n and k.
    """
    limit = gain_limit(transport)
    if scheme == LOCAL:
        return _all_local(layers, scheme, transport, "asked for")
    wish = traits(scheme)
    _check_sizes(agents, n, k, rateless=wish.rateless)
    if agents == 0:
        return _all_local(layers, scheme, transport, "no agent is live")
    n = agents if n is None else n
    k = default_pieces(scheme, n) if k is None else k
    transport = wish.transport or transport
    limit = gain_limit(transport)
    make_code(scheme, n, k, gain_limit=limit)  # refuses what cannot be decoded, before anything is sent
    rule = _Rule(scheme, n, k, transport, strips or wish.strips, wish.axis)
    decided = tuple(_decide(layer, rule) for layer in layers)
    return Plan(scheme=scheme, n=n, k=k, transport=transport, layers=decided)


def strips_per_piece(length: int, *, n: int, k: int) -> int:
    """How many strips to cut each piece of an axis of `length` outputs into.

    Of the counts that leave strips of at least two rows, those that spread the
    answers a layer needs (k per strip) evenly over n agents; of those, the one with
    the fewest rows per agent, padding included; of those, the largest.
    """
    rows = math.ceil(length / k)
    counts = range(1, max(1, min(MOST_STRIPS, rows // SMALLEST_STRIP)) + 1)
    even = [m for m in counts if k * m % n == 0]
    return min(even or counts, key=lambda m: (math.ceil(k * m / n) * math.ceil(length / (k * m)), -m))


def tiles_for(length: int, n: int) -> int:
    """How many tiles to cut an axis of `length` outputs into where each is a codeword of its own: two per agent."""
    return max(1, min(2 * n, length // SMALLEST_STRIP or 1))


@dataclass(frozen=True, slots=True)
class _Rule:
    """What holds for every layer."""

    scheme: str
    n: int
    k: int
    transport: str
    strips: int | None
    axis: str


def _check_sizes(agents: int, n: int | None, k: int | None, *, rateless: bool) -> None:
    if n is not None and n < 1:
        raise BadSizeError(n=n, k=k, rule="n is at least 1")
    if k is not None and k < 1:
        raise BadSizeError(n=n, k=k, rule="k is at least 1")
    if rateless:  # every agent answers as often as needed
        k = None
    if n is not None and k is not None and k > n:
        raise BadSizeError(n=n, k=k, rule="k is at most n")
    for symbol, asked in (("n", n), ("k", k)):
        if asked is not None and asked > agents:
            raise TooFewAgentsError(asked=asked, live=agents, symbol=symbol)


def _decide(layer: ConvLayer, rule: _Rule) -> ConvPlan:
    k, transport = rule.k, rule.transport
    filters = 1
    if layer.obstacle is not None:
        return _local(layer, transport, layer.obstacle)
    if layer.spec is None or not layer.input_shape or not layer.output_shape:
        return _local(layer, transport, "unknown shape")
    if layer.macs < SMALLEST_MACS:
        return _local(layer, transport, f"{layer.macs / 1e6:.2f} MMAC: too small to cut")
    spatial = layer.output_shape[FIRST_SPATIAL_AXIS:]
    words = AXIS_WORDS.get(len(spatial), ("positions",) * len(spatial))
    # The first axis that is long enough: rows are contiguous runs, columns are many tiny ones.
    places = range(len(spatial)) if rule.axis != "width" else reversed(range(len(spatial)))
    if traits(rule.scheme).rateless:  # fewer pieces are a code too
        k = min(k, max(spatial))
    place = next((place for place in places if spatial[place] >= k), None)
    if place is None:
        return _local(layer, transport, f"{spatial[0]} {words[0]}, fewer than k = {k}")
    if k == 1 and rule.strips is None:
        strips = tiles_for(spatial[place], rule.n)
    else:
        longest = math.ceil(spatial[place] / k)
        strips = min(rule.strips, longest) if rule.strips else strips_per_piece(spatial[place], n=rule.n, k=k)
    if layer.spec.group == 1:
        filters = default_filters(rule.scheme, k, _size(layer, place))
    plural = "strip" if strips == 1 else "strips"
    return ConvPlan(
        layer=layer.name,
        scheme=rule.scheme,
        n=rule.n,
        k=k,
        axis=FIRST_SPATIAL_AXIS + place,
        strips=strips,
        transport=transport,
        reason=f"({rule.n},{k}) over {spatial[place]} {words[place]}, {strips} {plural}",
        filters=filters,
    )


def _size(layer: ConvLayer, place: int) -> LayerSize:
    """What the cost of mixing filters depends on, cut along a spatial axis."""
    spec = layer.spec
    assert spec is not None  # noqa: S101 - a layer that is cut has one
    across = [length for index, length in enumerate(layer.input_shape[FIRST_SPATIAL_AXIS:]) if index != place]
    return LayerSize(
        in_channels=spec.in_channels,
        out_channels=spec.out_channels,
        taps=math.prod(spec.kernel),
        row=math.prod(across),
        output_rows=layer.output_shape[FIRST_SPATIAL_AXIS + place],
        stride=spec.strides[place],
        extent=kernel_extent(spec.kernel[place], spec.dilations[place]),
    )


def _all_local(layers: Sequence[ConvLayer], scheme: str, transport: str, reason: str) -> Plan:
    decided = tuple(_local(layer, transport, layer.obstacle or reason) for layer in layers)
    return Plan(scheme=scheme, n=0, k=0, transport=transport, layers=decided)


def _local(layer: ConvLayer, transport: str, reason: str) -> ConvPlan:
    return ConvPlan(layer=layer.name, scheme=LOCAL, n=0, k=0, axis=0, strips=0, transport=transport, reason=reason)
