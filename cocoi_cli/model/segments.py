"""Runs of layers that agents can compute tile by tile: one input, one output, a halo in between.

`find_segments` lists those that may be worth it, `segment_between` makes any that a plan names. What a segment
costs in so many tiles is arithmetic on integers; the programs are made by `tiles.fuse`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from cocoi_cli.model.regions import IllegalSegmentError, Region, Regions
from cocoi_cli.model.row_operators import ROW_AXIS
from cocoi_cli.model.row_ranges import RowGraph, Rows, Step, Window, tile_rows

if TYPE_CHECKING:
    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import Shape

__all__ = ["IllegalSegmentError", "Segment", "TileCost", "find_segments", "segment_between"]

MOST_ENDS = 12  # segments that begin at one tensor
MOST_SEGMENTS = 400  # of one model
FEW_TILES = 4  # a segment whose overlap doubles the work of so few tiles is worth nothing
MOST_OVERLAP = 2.0
LEAST_ROWS = 2


@dataclass(frozen=True, slots=True)
class TileCost:
    """What the tiles of a segment cost together, overlap included.

    Attributes:
        tiles: How many there are; fewer than asked for where the output has fewer rows.
        macs: Multiply-accumulates of all tiles.
        bytes_in_elems: Elements that all tiles need of the input.
        bytes_out_elems: Elements of the output.
        largest_macs: Multiply-accumulates of the tile that has most.
        largest_in_elems: Elements that the largest tile needs of the input.
        largest_out_elems: Elements of the output that it makes.
        memory_elems: Elements that exist at once while it is computed, its input and output among them.
        large: Tiles that have as many rows of the output as any.
    """

    tiles: int
    macs: int
    bytes_in_elems: int
    bytes_out_elems: int
    largest_macs: int
    largest_in_elems: int
    largest_out_elems: int
    memory_elems: int
    large: int


class _Part(NamedTuple):
    """One tile: its rows of every tensor, and what they cost."""

    held: tuple[Rows, ...]
    macs: int
    reads: int
    writes: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Several layers that can be computed together for a run of output rows.

    Attributes:
        name: Unique in the model: its first and its last layer, or its only one.
        layers: Names of the conv layers inside, in the order of the graph, where they follow each other.
        nodes: Indices of the nodes of the prepared graph, in execution order.
        input: Tensor that is cut.
        output: Tensor that the tiles are joined to.
        input_shape: `(batch, channels, *spatial)`.
        output_shape: `(batch, channels, *spatial)`.
        macs: Multiply-accumulates without overlap.
        rows: Its operators as windows; step `i` is node `i`.
        row_macs: Multiply-accumulates of one output row of each step.
        row_elems: Elements in one row of each tensor of `rows`.
    """

    name: str
    layers: tuple[str, ...]
    nodes: tuple[int, ...]
    input: str
    output: str
    input_shape: Shape
    output_shape: Shape
    macs: int
    rows: RowGraph = field(repr=False)
    row_macs: tuple[int, ...] = field(repr=False)
    row_elems: tuple[int, ...] = field(repr=False)

    def cut(self, tiles: int) -> tuple[Rows, ...]:
        """The output rows of each tile: as even as can be, never more tiles than rows.

        Raises:
            ValueError: `tiles` is below 1.
        """
        return tile_rows(self.output_shape[ROW_AXIS], tiles, self.rows.grain)

    def cost(self, tiles: int) -> TileCost:
        """What so many tiles cost.

        Cost: one backward walk for each tile at the border and for each height inside.

        Raises:
            ValueError: `tiles` is below 1.
        """
        bounds = self.cut(tiles)
        parts = self._parts(bounds)
        largest = max(parts, key=lambda part: part.macs)
        largest_writes = max(part.writes for part in parts)
        return TileCost(
            tiles=len(bounds),
            macs=sum(part.macs * count for part, count in parts.items()),
            bytes_in_elems=sum(part.reads * count for part, count in parts.items()),
            bytes_out_elems=sum(part.writes * count for part, count in parts.items()),
            largest_macs=largest.macs,
            largest_in_elems=max(part.reads for part in parts),
            largest_out_elems=largest_writes,
            memory_elems=self._memory(largest.held),
            large=sum(count for part, count in parts.items() if part.writes == largest_writes),
        )

    def _parts(self, bounds: tuple[Rows, ...]) -> Counter[_Part]:
        """Every tile, those inside the picture counted by one that is like them."""
        parts: Counter[_Part] = Counter()
        top, bottom = 0, len(bounds)
        while top < bottom:
            parts[part := self._part(bounds[top])] += 1
            top += 1
            if all(rows.first > 0 for rows in part.held):
                break
        while top < bottom:
            parts[part := self._part(bounds[bottom - 1])] += 1
            bottom -= 1
            if all(rows.last < length for rows, length in zip(part.held, self.rows.lengths, strict=True)):
                break
        alike: dict[tuple[int, int], _Part] = {}
        for rows in bounds[top:bottom]:
            key = rows.size, rows.first % self.rows.grain
            if key not in alike:
                alike[key] = self._part(rows)
            parts[alike[key]] += 1
        return parts

    def _part(self, rows: Rows) -> _Part:
        held = self.rows.held(rows)
        macs = sum(made.size * each for made, each in zip(held[1:], self.row_macs, strict=True))
        return _Part(held, macs, held[0].size * self.row_elems[0], rows.size * self.row_elems[-1])

    def _memory(self, held: tuple[Rows, ...]) -> int:
        """Elements at the worst moment, when each tensor is given up behind its last reader."""
        sizes = [rows.size * each for rows, each in zip(held, self.row_elems, strict=True)]
        last_reader = {tensor: number for number, step in enumerate(self.rows.steps) for tensor in step.inputs}
        alive = most = sizes[0]
        for number, step in enumerate(self.rows.steps):
            alive += sizes[number + 1]
            most = max(most, alive)
            alive -= sum(sizes[tensor] for tensor in step.inputs if last_reader[tensor] == number)
        return most


def find_segments(prepared: Prepared) -> tuple[Segment, ...]:
    """The segments of a model that a planner should weigh, in the order of their first and then last layer.

    They end where a further activation or pooling would not come for free. Of those with the same layers only
    the one that moves least is kept. There are at most `MOST_SEGMENTS`: the longest are left out first.

    Args:
        prepared: The model at known sizes; not written.
    """
    regions = Regions(prepared)
    maker = _Maker(regions)
    ranked: list[tuple[int, Segment]] = []
    for start in regions.starts():
        found = 0
        for region in regions.beginning_at(start):
            segment = maker.segment(region)
            if segment is None or not _is_tall(segment):
                continue
            if segment.cost(FEW_TILES).macs > MOST_OVERLAP * segment.macs:
                break
            ranked.append((found, segment))
            found += 1
            if found == MOST_ENDS:
                break
    best: dict[tuple[str, ...], tuple[int, Segment]] = {}
    for rank, segment in ranked:
        other = best.get(segment.layers)
        if other is None or _moved(segment) <= _moved(other[1]):  # the later one holds more
            best[segment.layers] = (rank, segment)
    kept = [segment for _, segment in sorted(best.values(), key=lambda item: item[0])[:MOST_SEGMENTS]]
    return tuple(sorted(kept, key=maker.place))


def segment_between(prepared: Prepared, start: str, end: str) -> Segment:
    """The segment between two tensors.

    Args:
        prepared: The model at known sizes; not written.
        start: Tensor that is cut.
        end: Tensor that the tiles are joined to.

    Raises:
        IllegalSegmentError: What lies between them cannot be computed tile by tile.
    """
    regions = Regions(prepared)
    segment = _Maker(regions).segment(regions.between(start, end))
    if segment is None:
        raise IllegalSegmentError(start, end, "its convolutions do not follow each other in the graph")
    return segment


class _Maker:
    """Makes segments of the regions of one model."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        prepared = regions.prepared
        self._places = {layer.name: place for place, layer in enumerate(prepared.layers)}
        self._layers = {prepared.nodes[layer.name]: layer for layer in prepared.layers}

    def place(self, segment: Segment) -> tuple[int, int]:
        """Where its first and its last layer stand among all."""
        return self._places[segment.layers[0]], self._places[segment.layers[-1]]

    def segment(self, region: Region) -> Segment | None:
        """The segment of a region; None where layers of others stand between its own."""
        regions = self._regions
        layers = [self._layers[index] for index in region.nodes if regions.is_convolution(index)]
        places = sorted(self._places[layer.name] for layer in layers)
        if places != list(range(places[0], places[0] + len(places))):
            return None
        nodes = regions.prepared.graph.nodes
        tensors = [region.input, *(name for index in region.nodes for name in nodes[index].output if name)]
        number = {name: at for at, name in enumerate(tensors)}
        shapes = [regions.shape(name) for name in tensors]
        steps = tuple(
            Step(tuple(number[name] for name in regions.moving(index)), regions.window(index) or Window())
            for index in region.nodes
        )
        macs = [self._layers[index].macs if regions.is_convolution(index) else 0 for index in region.nodes]
        first, last = layers[0].name, layers[-1].name
        return Segment(
            name=first if first == last else f"{first}..{last}",
            layers=tuple(layer.name for layer in layers),
            nodes=region.nodes,
            input=region.input,
            output=region.output,
            input_shape=shapes[0],
            output_shape=shapes[-1],
            macs=sum(macs),
            rows=RowGraph(tuple(shape[ROW_AXIS] for shape in shapes), steps),
            row_macs=tuple(total // shape[ROW_AXIS] for total, shape in zip(macs, shapes[1:], strict=True)),
            row_elems=tuple(math.prod(shape) // shape[ROW_AXIS] for shape in shapes),
        )


def _is_tall(segment: Segment) -> bool:
    return min(segment.input_shape[ROW_AXIS], segment.output_shape[ROW_AXIS]) >= LEAST_ROWS


def _moved(segment: Segment) -> int:
    return math.prod(segment.input_shape) + math.prod(segment.output_shape)
