"""Figures of a benchmark: how latencies spread, ratios, where time goes per stage, who did what when."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cocoi_cli.benchmark.rows import BASELINE, ROWS
from cocoi_cli.benchmark.statistics import median
from cocoi_cli.benchmark.summary import summarise
from cocoi_cli.views.plots import plot_bars, plot_latencies, plot_timeline

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cocoi_cli.benchmark.records import Cell, Run
    from cocoi_cli.runtime.report import Span, Trace

Lanes = dict[str, list[tuple[float, float, str]]]

MOST_ROWS: Final = 4  # whose stages stand side by side
MOST_LINES: Final = 6  # of one figure, beside the baseline: colours are few
_KINDS: Final = {"encode": "send", "return": "receive", "decode": "decode", "local": "local"}
_HOST: Final = "host"


def write_plots(run: Run, traces: Mapping[str, Trace], folder: Path) -> list[str]:
    """Draw everything there is to draw.

    Args:
        run: The benchmark.
        traces: `model, scenario, row` to the timeline of one inference.
        folder: Exists; files of the same names are replaced.

    Returns:
        Paths of the files.

    Raises:
        OutputNotWritableError: If one cannot be written.
    """
    written: list[str] = []
    for model in run.settings.models:
        written += _ratios(run, model.name, folder)
        for scenario in run.settings.scenarios:
            cells = [
                each for each in run.cells if (each.model, each.scenario) == (model.name, scenario) and each.samples
            ]
            written += _latencies(cells, f"{model.name}, {scenario}", folder)
            written += _stages(cells, f"{model.name}, {scenario}", folder)
    for name, trace in traces.items():
        lanes = lanes_of(trace)
        if lanes:
            path = _path(folder, "timeline", name)
            plot_timeline(lanes, name, path)
            written.append(path)
    return written


def _latencies(cells: Sequence[Cell], title: str, folder: Path) -> list[str]:
    series = {
        cell.row: [sample.latency_s for sample in cell.samples if sample.latency_s is not None]
        for cell in cells
        if not ROWS[cell.row].is_throughput
    }
    drawn = {row: values for row, values in series.items() if values}
    others = [row for row in drawn if row != BASELINE]
    written = []
    for number, rows in enumerate(_parts(others or list(drawn), MOST_LINES), 1):
        part = {row: drawn[row] for row in drawn if row in rows or row == BASELINE}
        path = _path(folder, "latency", title if number == 1 else f"{title} {number}")
        plot_latencies(part, f"latency: {title}", path)
        written.append(path)
    return written


def _stages(cells: Sequence[Cell], title: str, folder: Path) -> list[str]:
    """Median of each stage, of the first few rows that have any."""
    groups: dict[str, dict[str, float]] = {}
    for cell in cells:
        names = list(dict.fromkeys(name for sample in cell.samples for name in sample.stages_s))
        found = {name: _median_ms(cell, name) for name in names}
        if len(found) > 1 and len(groups) < MOST_ROWS:
            groups[cell.row] = found
    if not groups:
        return []
    path = _path(folder, "stages", title)
    plot_bars(groups, f"median time of each stage: {title}", path)
    return [path]


def _median_ms(cell: Cell, stage: str) -> float:
    times = [sample.stages_s[stage] for sample in cell.samples if stage in sample.stages_s]
    return (median(times) or 0.0) * 1000


def _ratios(run: Run, model: str, folder: Path) -> list[str]:
    groups: dict[str, dict[str, float]] = {}
    for summary in summarise(run):
        if summary.model == model and summary.ratio is not None:
            groups.setdefault(summary.scenario, {})[summary.row] = summary.ratio.value
    written = []
    for number, scenarios in enumerate(_parts(list(groups), MOST_LINES), 1):
        path = _path(folder, "ratio", model if number == 1 else f"{model} {number}")
        part = {scenario: groups[scenario] for scenario in scenarios}
        plot_bars(part, f"median latency over that of {BASELINE}: {model}", path, axis="ratio")
        written.append(path)
    return written


def _parts(names: list[str], most: int) -> list[list[str]]:
    return [names[at : at + most] for at in range(0, len(names), most)]


def lanes_of(trace: Trace) -> Lanes:
    """A timeline as lanes of a figure: the host first, then agents in the order of their names."""
    tracks = sorted({span.track for span in trace.spans}, key=lambda name: (name != _HOST, _natural(name)))
    lanes: Lanes = {}
    for track in tracks:
        kinds = [(span, _kind(span)) for span in trace.spans if span.track == track]
        bars = [(span.start_s, span.end_s, kind) for span, kind in kinds if kind and span.end_s > span.start_s]
        if bars:
            lanes[track] = bars
    return lanes


def _kind(span: Span) -> str:
    """The word of the figure for a span; empty for what is not drawn."""
    if span.name == "run":
        outcome = str(span.args.get("outcome", "used"))
        return outcome if outcome in {"used", "lost"} else "late"
    if span.track == _HOST:
        return _KINDS.get(span.name, "")
    return "receive" if span.name == "return" else ""


def _natural(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)


def _path(folder: Path, kind: str, title: str) -> str:
    return str(folder / f"{kind}-{re.sub(r'[^A-Za-z0-9.-]+', '-', title)}.png")
