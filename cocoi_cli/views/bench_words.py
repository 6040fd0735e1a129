"""Words and numbers of benchmark tables, the same on a terminal and in a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.benchmark.rows import ROWS
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from cocoi_cli.benchmark.statistics import Ratio
    from cocoi_cli.benchmark.summary import Summary
    from cocoi_cli.planning.plan import Plan

NOTHING = "-"


def plan_words(plan: Plan) -> str:
    """A plan in a few words: how much of the model agents compute, and how."""
    if plan.is_local:
        return "unmodified model"
    codes = sorted({(layer.scheme, layer.n, layer.k) for layer in plan.layers if layer.distributed})
    parts = [f"{plural(len(plan.segments), 'segment')} fused"] if plan.segments else []
    if codes:
        inner = sum(len(segment.layers) for segment in plan.segments)
        listed = ", ".join(f"{scheme} ({n},{k})" for scheme, n, k in codes[:3])
        more = f" and {len(codes) - 3} more" if len(codes) > 3 else ""
        parts.append(f"{len(plan.distributed)} of {plural(len(plan.layers) - inner, 'layer')} {listed}{more}")
    return ", ".join(parts)


def milliseconds(value: float | None) -> str:
    """Three or more digits: `9.21`, `84.0`, `1247`."""
    if value is None:
        return NOTHING
    value *= 1000
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(found: Ratio | None) -> str:
    """`0.54`, or a dash."""
    return NOTHING if found is None else f"{found.value:.2f}"


def interval(found: Ratio | None) -> str:
    """`0.54 (0.51-0.57)`; a figure from too few pairs has no interval."""
    if found is None or found.low is None or found.high is None:
        return ratio(found)
    return f"{found.value:.2f} ({found.low:.2f}-{found.high:.2f})"


def megabytes(count: int) -> str:
    """`46.9`, `0.31`, `0`."""
    value = count / 1e6
    return "0" if not count else f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def answered(summary: Summary) -> str:
    """`30`, or `28 of 30` where some gave no answer."""
    if not summary.inferences:
        return NOTHING
    if summary.answered == summary.inferences:
        return str(summary.inferences)
    return f"{summary.answered} of {summary.inferences}"


def error(summary: Summary) -> str:
    """`4.6e-03`, with a mark where the largest class differs."""
    if summary.max_rel_error is None:
        return NOTHING
    return f"{summary.max_rel_error:.0e}" + ("" if summary.top1_equal is not False else "!")


def wasted(summary: Summary) -> str:
    """Late answers and cancelled shares per inference."""
    return f"{summary.late:.0f}+{summary.cancelled:.0f}"


def cell_words(summary: Summary) -> str:
    """`1247  1.00`: the median and its ratio; why there is none, where there is none."""
    if summary.absent or summary.p50_s is None:
        return NOTHING
    if ROWS[summary.row].is_throughput:
        return f"{milliseconds(summary.p50_s)} each"
    return f"{milliseconds(summary.p50_s)} {ratio(summary.ratio):>5}"
