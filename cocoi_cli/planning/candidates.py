"""Every sensible way to compute one layer, or one run of layers, on so many devices. Pure.

Candidates are plain records; what each of them would take is for `estimates` to say. The number of shares n,
of pieces k and of strips m are chosen where they divide well: a piece more than there are rows, or a round in
which most agents have nothing to do, is paid for in full.

Notation: `n` shares per codeword, `k` pieces, `m` strips per piece.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cocoi_cli.codes.registry import make_code, schemes, traits
from cocoi_cli.errors import UsageError
from cocoi_cli.planning.defaults import MOST_STRIPS, SMALLEST_STRIP, gain_limit
from cocoi_cli.planning.loads import FIRST_AXIS, Load, cut_load, mixed_load, segment_load
from cocoi_cli.planning.plan import FUSED, LOCAL

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.model.segments import Segment, TileCost

    Costs = Callable[[int], TileCost]

CHOICES: Final = (LOCAL, FUSED, "coded", "uncoded", "replication", "hedged")
"""Ways that `auto` compares for every layer; the other families are there to be compared with."""

FRUGAL: Final = "fcdcc"
"""The family that keeps a part of the weights on each agent: for agents with too little memory for the others, for
layers with fewer rows than there are devices, and where it is asked for."""

SPARE: Final = 4  # shares beyond k: more of them cost more than they win, and decode badly
# The same where sums travel as float16: three and four enlarge rounding 13 to 20 times, and what was planned for
# float16 is then raised to float32 by its rehearsal (VGG16 with (11,7): 626 ms foreseen, 957 measured).
SPARE_IN_HALF: Final = 2
MOST_PIECES: Final = 5  # choices of k for one n
WASTE: Final = 1.15  # of rows that are padding, beside those that are computed
ROUNDS: Final = (1, 2, 3, 4)  # shares per device, for what is pulled from a queue
LARGE: Final = 16  # devices; beyond, their number is tried in larger steps
LARGEST_CODE: Final = 24  # shares; beyond, decoding enlarges float16 too much, and finding that out takes seconds
WIDTH_AXIS: Final = FIRST_AXIS + 1


Members = tuple[int, bool]
"""Who takes part: so many devices, the first ones; and whether the host does."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to compute a stage on agents.

    Attributes:
        scheme: Name of the code family, or `fused` for a segment.
        n: Shares per codeword, the host's included; for a segment the agents that take tiles.
        k: Pieces.
        axis: Axis that is cut.
        strips: Strips per piece; for a segment its tiles.
        transport: What shares travel as.
        reply: What answers travel as.
        host: Whether the host takes part.
        load: What it asks of everybody.
        filters: Groups of output channels that the code mixes.
    """

    scheme: str
    n: int
    k: int
    axis: int
    strips: int
    transport: str
    reply: str
    host: bool
    load: Load
    filters: int = 1

    @property
    def agents(self) -> int:
        """Devices that take part."""
        return self.n - self.host

    @property
    def code(self) -> str:
        """`(10,8)`, or the number of tiles."""
        return f"{self.strips} tiles" if self.scheme in {FUSED, "hedged"} else f"({self.n},{self.k})"


def layer_candidates(
    layer: ConvLayer, *, members: Sequence[Members], allowed: Collection[str], transport: str
) -> Iterator[Candidate]:
    """Ways to distribute one convolution that has no obstacle.

    Args:
        layer: With known shapes.
        members: Who may take part.
        allowed: Names of schemes.
        transport: `f16` or `f32`, for shares and answers.
    """
    families = [scheme for scheme in schemes() if scheme in allowed and scheme != FRUGAL]
    for n, own in _at_most(members, max(layer.output_shape[FIRST_AXIS:])):
        for scheme in families:
            yield from _family(layer, scheme, n, transport, host=own)


def segment_candidates(
    segment: Segment, layers: Sequence[ConvLayer], costs: Costs, *, members: Sequence[Members], transport: str
) -> Iterator[Candidate]:
    """Ways to compute a run of layers tile by tile.

    Args:
        segment: The run.
        layers: Its convolutions.
        costs: What so many tiles cost.
        members: Who may take part.
        transport: `f16` or `f32`.
    """
    rows = segment.output_shape[FIRST_AXIS]
    for n, own in _at_most(members, rows):
        for tiles in _tile_counts(rows, n):
            load = segment_load(layers, costs(tiles), n=n, transport=transport, reply=transport)
            yield Candidate(FUSED, n, 1, FIRST_AXIS, tiles, transport, transport, own, load)


def with_members(candidate: Candidate, layers: Sequence[ConvLayer], costs: Costs, members: Members) -> Candidate:
    """The same tiles of a segment, taken by others."""
    n = min(sum(members), candidate.strips)
    load = segment_load(layers, costs(candidate.strips), n=n, transport=candidate.transport, reply=candidate.reply)
    return replace(candidate, n=n, host=members[1], load=load)


def frugal_candidates(layer: ConvLayer, *, counts: Sequence[int], transport: str) -> Iterator[Candidate]:
    """Ways that keep a part of a layer's weights on each agent only, for fleets whose memory forbids the rest.

    Args:
        layer: With known shapes.
        counts: Numbers of devices to try.
        transport: `f16` or `f32`.
    """
    if layer.spec is None or layer.spec.group != 1 or len(layer.spec.kernel) != 2 or FRUGAL not in schemes():
        return
    for n in counts:
        for k in _coded_pieces(layer.output_shape[FIRST_AXIS], layer.output_shape[FIRST_AXIS], n, n // 2)[:2]:
            for filters in [2 * divisor for divisor in range(1, k + 1) if k % divisor == 0]:
                if filters <= layer.spec.out_channels and decodable(FRUGAL, n, k, transport, filters):
                    load = mixed_load(layer, n=n, k=k, filters=filters, transport=transport, reply=transport)
                    yield Candidate(FRUGAL, n, k, FIRST_AXIS, 1, transport, transport, False, load, filters)  # noqa: FBT003 - a field


def with_types(candidate: Candidate, layer: ConvLayer, transport: str, reply: str) -> Candidate:
    """The same cut of a layer with other types on the wire."""
    load = _load(layer, candidate, transport, reply)
    return replace(candidate, transport=transport, reply=reply, load=load)


def device_counts(devices: int, *, alike: bool) -> tuple[int, ...]:
    """Numbers of devices to try, the first so many of them: all, and fewer."""
    if devices <= LARGE:
        found = {devices, math.ceil(devices * 0.75), math.ceil(devices * 0.5)}
        found |= set() if alike else {devices - 1, devices - 2, devices - 3}
    else:
        found = {round(devices * 0.7**step) for step in range(20)} | {LARGE, LARGE // 2}
    return tuple(sorted((count for count in found if 1 <= count <= devices), reverse=True))


def decodable(scheme: str, n: int, k: int, transport: str, filters: int = 1) -> bool:
    """Whether the family has such a code, and would decode with the rounding of this type."""
    try:
        _made(scheme, n, k, transport, filters)
    except UsageError:
        return False
    return True


def _at_most(members: Sequence[Members], rows: int) -> Iterator[tuple[int, bool]]:
    """How many take part, the host included and never more than there are rows; and whether the host does."""
    for agents, own in members:
        n = min(agents + own, rows)
        if n > own and (n == agents + own or (agents, own) == members[0]):  # the host alone is no distribution
            yield n, own


def _family(layer: ConvLayer, scheme: str, n: int, transport: str, *, host: bool) -> Iterator[Candidate]:
    wanted = traits(scheme)
    transport = wanted.transport or transport
    for k in _piece_counts(layer, scheme, n, transport):
        axis = _axis(layer, k, prefer=wanted.axis)
        if axis is None or not decodable(scheme, n, k, transport):
            continue
        length = layer.output_shape[axis]
        for strips in _strip_counts(scheme, length, n, k) if wanted.strips is None else (wanted.strips,):
            draft = Candidate(scheme, n, k, axis, strips, transport, transport, host, _NOTHING)
            yield replace(draft, load=_load(layer, draft, transport, transport))


def _load(layer: ConvLayer, candidate: Candidate, transport: str, reply: str) -> Load:
    wanted = traits(candidate.scheme)
    return cut_load(
        layer,
        n=candidate.n,
        k=candidate.k,
        axis=candidate.axis,
        strips=candidate.strips,
        transport=transport,
        reply=reply,
        scheme=candidate.scheme,
        eager=wanted.eager,
        patient=wanted.patient,
    )


def _piece_counts(layer: ConvLayer, scheme: str, n: int, transport: str) -> tuple[int, ...]:
    """Numbers of pieces worth trying."""
    longest = max(layer.output_shape[FIRST_AXIS:])
    match scheme:
        case "uncoded":
            return (n,) if n <= longest else ()
        case "replication":
            return (n // 2,) if 1 <= n // 2 <= longest else ()
        case "hedged":
            return (1,)
        case _ if n > LARGEST_CODE:
            return ()
        case _:
            fewest = n - SPARE_IN_HALF if transport == "f16" else n // 2
            return _coded_pieces(layer.output_shape[FIRST_AXIS], longest, n, fewest)


@lru_cache(maxsize=4096)
def _coded_pieces(rows: int, longest: int, n: int, fewest: int) -> tuple[int, ...]:
    """Pieces of a code with n shares: a few less than n, and of these rather those that divide the rows."""
    fewest = max(1, fewest)
    possible = range(max(fewest, n - SPARE), min(n - 1, longest) + 1)
    dividing = [k for k in range(fewest, min(n - 1, rows) + 1) if rows % k == 0]
    frugal = sorted(possible, key=lambda k: (_waste(rows, k) > WASTE, -k))
    return tuple(dict.fromkeys([*frugal[: MOST_PIECES - 1], *dividing[-2:]]))


def _waste(rows: int, k: int) -> float:
    return math.ceil(rows / k) * k / rows


@lru_cache(maxsize=4096)
def _strip_counts(scheme: str, length: int, n: int, k: int) -> tuple[int, ...]:
    if scheme == "hedged":
        return _tile_counts(length, n)
    rows = math.ceil(length / k)
    return tuple(range(1, max(1, min(MOST_STRIPS, rows // SMALLEST_STRIP)) + 1))


@lru_cache(maxsize=4096)
def _tile_counts(rows: int, n: int) -> tuple[int, ...]:
    """Whole rounds of n tiles, and numbers between that divide the rows."""
    found = {n * rounds for rounds in ROUNDS if n * rounds <= rows}
    between = [tiles for tiles in range(n, min(ROUNDS[-1] * n, rows) + 1) if rows % tiles == 0]
    found |= set(between[:1]) | set(between[-2:])
    return tuple(sorted(found or {rows}))


def _axis(layer: ConvLayer, k: int, *, prefer: str) -> int | None:
    """The axis to cut: rows are contiguous runs, columns are many tiny ones; None where neither is long enough."""
    spatial = layer.output_shape[FIRST_AXIS:]
    order = list(range(len(spatial)))
    if prefer == "width" and len(order) > 1:
        order = [1, 0, *order[2:]]
    return next((FIRST_AXIS + place for place in order if spatial[place] >= k), None)


@lru_cache(maxsize=65536)
def _made(scheme: str, n: int, k: int, transport: str, filters: int) -> None:
    """Refuses what `make_code` refuses; the code itself is not kept."""
    make_code(scheme, n, k, gain_limit=gain_limit(transport), filters=filters)


_NOTHING: Final = Load(
    slices=(), up=0, down=0, needed=0, capacity=0, up_pass=0, down_pass=0, after_pass=0, weights=0, working=0
)
