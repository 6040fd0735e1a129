"""Tables of a benchmark for a terminal: ratios side by side per scenario, then every figure per scenario.

They fit 80 columns.
"""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Final

from rich.text import Text

from cocoi_cli.benchmark.rows import BASELINE, ROWS
from cocoi_cli.benchmark.statistics import FEWEST_FOR_P95, FEWEST_FOR_P99, FEWEST_PAIRS
from cocoi_cli.views import bench_words as words
from cocoi_cli.views.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cocoi_cli.benchmark.records import Run
    from cocoi_cli.benchmark.summary import Summary

SCENARIOS_PER_TABLE: Final = 4  # beside the names of the rows, in 80 columns
WIDTH: Final = 80


def ratio_tables(summaries: Sequence[Summary], model: str) -> list[Table]:
    """Median milliseconds and ratio to the baseline: a line per row, a column per scenario."""
    own = [summary for summary in summaries if summary.model == model]
    scenarios = list(dict.fromkeys(summary.scenario for summary in own))
    parts = [scenarios[at : at + SCENARIOS_PER_TABLE] for at in range(0, len(scenarios), SCENARIOS_PER_TABLE)]
    return [_ratio_table(own, model, part) for part in parts]


def _ratio_table(own: Sequence[Summary], model: str, scenarios: Sequence[str]) -> Table:
    table = plain_table()
    table.add_column(Text(model), no_wrap=True, overflow="ellipsis", max_width=18)
    for scenario in scenarios:
        table.add_column(Text(scenario), justify="right", no_wrap=True, overflow="ellipsis", max_width=13)
    found = {(summary.row, summary.scenario): words.cell_words(summary) for summary in own}
    for row in dict.fromkeys(summary.row for summary in own):
        table.add_row(Text(row), *(Text(found.get((row, scenario), "")) for scenario in scenarios))
    return table


def figures_table(summaries: Sequence[Summary], model: str, scenario: str) -> Table:
    """Every figure of one scenario: a line per row."""
    own = [each for each in summaries if (each.model, each.scenario) == (model, scenario) and each.inferences]
    with_tail = any(summary.p99_s is not None for summary in own)
    table = plain_table()
    table.add_column(Text(scenario), no_wrap=True, overflow="ellipsis", max_width=17)
    for name in ("p50", "p95", *(("p99",) if with_tail else ()), "ratio", "out", "in", "cpu", "waste", "error"):
        table.add_column(name, justify="right", no_wrap=True, overflow="ellipsis")
    for summary in own:
        tail = (words.milliseconds(summary.p99_s),) if with_tail else ()
        cells = (
            summary.row,
            words.milliseconds(summary.p50_s),
            words.milliseconds(summary.p95_s),
            *tail,
            words.ratio(summary.ratio) if with_tail else words.interval(summary.ratio),
            words.megabytes(summary.bytes_out),
            words.megabytes(summary.bytes_in),
            words.milliseconds(summary.host_cpu_s),
            words.wasted(summary),
            words.error(summary),
        )
        table.add_row(*(Text(cell) for cell in cells))
    return table


def absences(summaries: Sequence[Summary], model: str) -> list[str]:
    """Why rows have no figures, under the table that shows none; ends with an empty line where there are any."""
    own = [each for each in summaries if each.model == model and each.absent]
    scenarios = {summary.scenario for summary in summaries if summary.model == model}
    lines = []
    for row, reason in dict.fromkeys((each.row, each.absent) for each in own):
        missing = [each.scenario for each in own if (each.row, each.absent) == (row, reason)]
        where = "" if len(missing) == len(scenarios) else f" in {', '.join(missing)}"
        lines += wrap(f"{row} is not measured{where}: {reason}", WIDTH, subsequent_indent="  ")
    return [*lines, ""] if lines else []


def legend(summaries: Sequence[Summary]) -> list[str]:
    """What the columns mean, and what a reader must know of these figures; nothing where there are none."""
    own = [summary for summary in summaries if summary.inferences]
    if not own:
        return []
    fewest = min(summary.inferences for summary in own)
    ratios = [summary.ratio for summary in own if summary.ratio is not None]
    ratio = f"; no ratio without figures of `{BASELINE}`"
    if ratios:
        interval = "" if fewest < FEWEST_PAIRS else ", with a 95 % interval"
        ratio = f", and ratio of medians to `{BASELINE}` in the same run{interval}"
    lines = [
        f"ms{ratio};",
        "out, in: MB to and from agents; cpu: ms of the coordinator; waste: late answers",
        "and cancelled shares per inference; error: largest, relative to plain ONNX",
    ]
    if ratios and fewest < FEWEST_PAIRS:
        lines.append(f"{fewest} per cell are too few for an interval: `--inferences 30` gives one")
    timed = [summary for summary in own if not ROWS[summary.row].is_throughput]
    if any(summary.p95_s is None for summary in timed):
        lines.append(f"p95 needs {FEWEST_FOR_P95} inferences per cell, p99 {FEWEST_FOR_P99}")
    elif any(summary.p99_s is None for summary in timed):
        lines.append(f"p99 needs {FEWEST_FOR_P99} inferences per cell")
    if any(summary.top1_equal is False for summary in own):
        lines.append("!: the largest class was another one at least once")
    return lines


def remarks(summaries: Sequence[Summary]) -> list[str]:
    """Sentences about cells with fewer answers than inferences."""
    return [
        f"{summary.row} in {summary.scenario} on {summary.model}: {words.answered(summary)} answered"
        for summary in summaries
        if summary.answered < summary.inferences
    ]


def conditions_lines(run: Run) -> tuple[str, str]:
    """The machine, and when it was."""
    facts = run.conditions.get("host", {})
    return (
        f"{facts.get('processor')}, {facts.get('cores')} cores, load {facts.get('load')} at the start",
        f"seed {run.settings.seed}, {run.made}",
    )
