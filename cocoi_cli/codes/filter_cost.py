"""How many row pieces and filter groups cost least, for a code on input and filters.

At fixed `delta` the work of an agent and the size of its answer do not depend on the choice. More row pieces upload
less of the input to each agent; more filter groups store less of the weights there.

Notation: as in `codes/rotation.py`; `k_A k_B = 4 delta` where both are above 1.

Source: docs/methods.md, FCDCC; the cost model of arXiv 2411.01579 as we understand it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cocoi_cli.codes.rotation import filter_groups, mixtures, row_pieces


@dataclass(frozen=True, slots=True)
class LayerSize:
    """What the cost of a layer depends on; lengths in elements.

    Attributes:
        in_channels: Channels of the input.
        out_channels: Filters.
        taps: Elements of a kernel: height times width.
        row: Elements of a row of the padded input, its other spatial axes multiplied.
        output_rows: Rows of the output on the axis that is cut.
        stride: Input rows from one output row to the next.
        extent: Input rows that an output row reads.
    """

    in_channels: int
    out_channels: int
    taps: int
    row: int
    output_rows: int
    stride: int
    extent: int


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to divide, and what it costs each agent, in numbers.

    Attributes:
        row_pieces: k_A.
        filters: k_B.
        upload: Elements of a coded input.
        store: Elements of coded filters.
    """

    row_pieces: int
    filters: int
    upload: int
    store: int

    def cost(self, upload: float, store: float) -> float:
        """With these prices per element."""
        return upload * self.upload + store * self.store


def choices(delta: int, layer: LayerSize) -> tuple[Choice, ...]:
    """Every way to divide a layer so that `delta` answers suffice, by ascending k_A; pieces are at least a row high."""
    found = []
    for filters in filter_groups(delta):
        k_a = row_pieces(delta, filters)
        if (filters == 2 and delta > 1) or k_a > layer.output_rows:
            continue  # two groups store what one does and upload more
        rows = (-(-layer.output_rows // k_a) - 1) * layer.stride + layer.extent
        upload = mixtures(k_a) * layer.in_channels * rows * layer.row
        store = mixtures(filters) * -(-layer.out_channels // filters) * layer.in_channels * layer.taps
        found.append(Choice(k_a, filters, upload, store))
    return tuple(sorted(found, key=lambda choice: choice.row_pieces))


def cost_optimum(delta: int, layer: LayerSize, *, upload: float = 1.0, store: float = 1.0) -> Choice:
    """The cheapest way to divide.

    The real optimum `k_A = sqrt(4 delta upload |input| / (store |filters|))` leaves out halos, rounding and the cases
    of a single piece, so its neighbours among the ways that exist are compared with all that.

    Args:
        delta: Answers that suffice.
        layer: Sizes of the layer.
        upload: Price of sending one element to an agent.
        store: Price of storing one element there.

    Raises:
        ValueError: If no way exists: `delta` is below 1, or nothing fits the rows of the layer.
    """
    ways = choices(delta, layer) if delta >= 1 else ()
    if not ways:
        raise ValueError(f"no rotation code of {delta} answers for {layer.output_rows} rows")
    padded = (layer.output_rows - 1) * layer.stride + layer.extent
    inputs = layer.in_channels * padded * layer.row
    weights = layer.out_channels * layer.in_channels * layer.taps
    best = math.sqrt(4 * delta * upload * inputs / (store * weights)) if store > 0 else math.inf
    above = next((at for at, way in enumerate(ways) if way.row_pieces >= best), len(ways) - 1)
    near = ways[max(above - 2, 0) : above + 2]
    return min(near, key=lambda way: way.cost(upload, store))
