"""A simulation as a table that fits 80 columns, and as a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from cocoi_cli.benchmark.statistics import FEWEST_FOR_P95, FEWEST_FOR_P99, tail
from cocoi_cli.planning.profile import quantile
from cocoi_cli.views.lines import size
from cocoi_cli.views.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.simulation.results import Result

NONE = "-"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a plan, or the unmodified model in one place.

    Attributes:
        name: Of the scheme, the plan file or the place.
        plan: What was simulated; None for the unmodified model.
        result: What was found; None likewise.
        latencies_s: One per inference; a single one where nothing varies.
    """

    name: str
    plan: Plan | None
    result: Result | None
    latencies_s: tuple[float, ...]


def simulation_table(rows: Sequence[Row]) -> Table:
    """One row per plan.

    `moved` are the bytes of an inference both ways, `wasted` is the part of the devices' computing that was of no use,
    `host` what the coordinator's own serial part took.
    """
    table = plain_table()
    table.add_column("scheme", no_wrap=True, overflow="ellipsis", min_width=10, max_width=22)
    for name in ("k", "p50 ms", "p95 ms", "p99 ms", "moved", "wasted", "host ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(Text(row.name), *_cells(row))
    return table


def tails_line(rows: Sequence[Row]) -> str:
    """How many inferences the tails need that the table lacks; empty where it has all."""
    counts = [len(row.latencies_s) for row in rows if row.result is not None]
    fewest = min(counts, default=FEWEST_FOR_P99)
    if fewest < FEWEST_FOR_P95:
        return f"p95 needs {FEWEST_FOR_P95} inferences, p99 {FEWEST_FOR_P99}"
    return f"p99 needs {FEWEST_FOR_P99} inferences" if fewest < FEWEST_FOR_P99 else ""


def latencies_by_row(rows: Sequence[Row]) -> dict[str, Sequence[float]]:
    """Name to latencies, for a figure; names are made unique by k."""
    return {_title(row): row.latencies_s for row in rows}


def simulation_document(rows: Sequence[Row], asked: Mapping[str, object]) -> dict[str, Any]:
    """Everything that was asked and found.

    Args:
        rows: Of the table.
        asked: What was simulated, by the names of the options.
    """
    return {**asked, "rows": [_document(row) for row in rows]}


def _cells(row: Row) -> tuple[str, ...]:
    times = [NONE if each is None else f"{each * 1000:.0f}" for each in _quantiles(row).values()]
    if row.result is None:
        return (NONE, *times, NONE, NONE, NONE)
    result = row.result
    count = len(row.latencies_s)
    moved = result.bytes_out + result.bytes_in
    return (
        _k(row),
        *times,
        size(moved) if moved else NONE,
        f"{result.wasted:.0%}",
        f"{result.host_s / count * 1000:.0f}",
    )


def _quantiles(row: Row) -> dict[str, float | None]:
    """Seconds; None where the inferences are too few for a tail."""
    values = row.latencies_s
    return {"p50": quantile(values, 0.5), "p95": tail(values, 0.95), "p99": tail(values, 0.99)}


def _k(row: Row) -> str:
    """One k, or the smallest and the largest of the layers'."""
    if row.plan is None:
        return NONE
    found = sorted({layer.k for layer in row.plan.layers if layer.distributed})
    if not found:
        return NONE
    return str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"


def _title(row: Row) -> str:
    k = _k(row)
    return row.name if k == NONE else f"{row.name}, k = {k}"


def _document(row: Row) -> dict[str, Any]:
    tree: dict[str, Any] = {"name": row.name, "latency_s": _quantiles(row)}
    if row.plan is None or row.result is None:
        return tree
    result, plan = row.result, row.plan
    count = len(row.latencies_s)
    return {
        **tree,
        "n": plan.n,
        "k": plan.k,
        "scheme": plan.scheme,
        "distributed": sum(layer.scheme != "local" for layer in plan.layers),
        "mean_s": result.mean_s,
        "bytes_out": result.bytes_out,
        "bytes_in": result.bytes_in,
        "wasted": result.wasted,
        "host_s": result.host_s / count,
        "rescued": result.rescued,
        "latencies_s": list(row.latencies_s),
        "stages": [{"name": stage.name, "kind": stage.kind, **_means(stage.walls_s)} for stage in result.stages],
        "agents": list(result.agents),
    }


def _means(walls: Sequence[float]) -> dict[str, float]:
    if not walls:
        return {}
    return {"mean_s": sum(walls) / len(walls), "p50_s": quantile(walls, 0.5), "p95_s": quantile(walls, 0.95)}
