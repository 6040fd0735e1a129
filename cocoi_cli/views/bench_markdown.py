"""The tables of a benchmark for a document, under the command that repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cocoi_cli.benchmark.rows import BASELINE, ROWS
from cocoi_cli.benchmark.statistics import FEWEST_FOR_P99
from cocoi_cli.benchmark.summary import summarise
from cocoi_cli.views import bench_words as words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cocoi_cli.benchmark.records import Run
    from cocoi_cli.benchmark.summary import Summary


def bench_markdown(run: Run) -> str:
    """The whole text; ends with a newline."""
    summaries = summarise(run)
    parts = [_head(run)]
    for model in run.settings.models:
        own = [summary for summary in summaries if summary.model == model.name]
        scenarios = [name for name in run.settings.scenarios if any(each.scenario == name for each in own)]
        parts += [f"## {_safe(model.name)}\n", f"Input: {_safe(model.input)}.\n", _ratios(own, scenarios)]
        for scenario in scenarios:
            parts += [f"### {_safe(model.name)}, {_safe(scenario)}\n", _standing(run, model.name, scenario)]
            parts.append(_figures([summary for summary in own if summary.scenario == scenario]))
    parts.append(_rows(run))
    return "\n".join(part for part in parts if part)


def _head(run: Run) -> str:
    settings, host = run.settings, run.conditions.get("host", {})
    packages = ", ".join(f"{name} {version}" for name, version in host.get("packages", {}).items())
    lines = [
        "```console",
        f"$ {run.command}",
        "```",
        "",
        f"{run.made}; {host.get('processor')}, {host.get('cores')} cores, "
        f"load {host.get('load')} at the start and {run.conditions.get('load_at_end')} at the end; "
        f"{host.get('system')}, Python {host.get('python')}, {packages}.",
        f"{len(settings.devices)} devices ({settings.fleet}){_throttled(run)}; seed {settings.seed}; "
        f"{settings.inferences} inferences per cell after {settings.warm_up} that do not count, schemes in turns.",
    ]
    if not run.complete:
        lines.append("**The run was cut off: some cells have fewer.**")
    lines.append(
        f"Each cell: median in ms, and its ratio to `{BASELINE}` in the same repetitions with a 95 % interval "
        f"(bootstrap over repetitions). p99 needs {FEWEST_FOR_P99} inferences. `to CoCoI` and `to one device` are "
        "ratios to CoCoI as published, and to the unmodified model on the best single device, coordinator included."
    )
    return "\n".join(lines) + "\n"


def _throttled(run: Run) -> str:
    devices: dict[str, Any] = run.conditions.get("devices", {})
    slow = [name for name, facts in devices.items() if facts.get("throttled")]
    return f", throttled: {', '.join(map(_safe, slow))}" if slow else ""


def _ratios(own: Sequence[Summary], scenarios: Sequence[str]) -> str:
    found = {(summary.row, summary.scenario): summary for summary in own}
    rows = list(dict.fromkeys(summary.row for summary in own))
    body = ([row, *(_cell(found.get((row, scenario))) for scenario in scenarios)] for row in rows)
    return _table(["scheme", *scenarios], body)


def _cell(summary: Summary | None) -> str:
    if summary is None or summary.p50_s is None:
        return words.NOTHING
    if ROWS[summary.row].is_throughput:
        return f"{words.milliseconds(summary.p50_s)} a picture"
    return f"{words.milliseconds(summary.p50_s)} · {words.interval(summary.ratio)}"


def _figures(own: Sequence[Summary]) -> str:
    names = ["scheme", "plan", "wire", "predicted", "p50", "p95", "p99", "p99 ratio", "to CoCoI", "to one device"]
    names += ["MB out", "MB in", "host CPU ms", "late", "cancelled"]
    body = (
        [
            summary.row,
            summary.absent or summary.plan or words.NOTHING,
            summary.transport or words.NOTHING,
            words.milliseconds(summary.predicted_s),
            words.milliseconds(summary.p50_s),
            words.milliseconds(summary.p95_s),
            words.milliseconds(summary.p99_s),
            words.interval(summary.tail_ratio),
            words.interval(summary.to_cocoi),
            words.interval(summary.to_single),
            words.megabytes(summary.bytes_out) if summary.inferences else words.NOTHING,
            words.megabytes(summary.bytes_in) if summary.inferences else words.NOTHING,
            words.milliseconds(summary.host_cpu_s),
            f"{summary.late:.1f}" if summary.inferences else words.NOTHING,
            f"{summary.cancelled:.1f}" if summary.inferences else words.NOTHING,
            words.NOTHING if summary.max_rel_error is None else f"{summary.max_rel_error:.1e}",
            {True: "equal", False: "differs", None: words.NOTHING}[summary.top1_equal],
            words.answered(summary),
            str(summary.living) if summary.inferences else words.NOTHING,
        ]
        for summary in own
    )
    return _table([*names, "largest error", "top-1", "answered", "up"], body)


def _standing(run: Run, model: str, scenario: str) -> str:
    calls = run.standing.get(f"{model}/{scenario}", ())
    listed = ", ".join(f"`{_safe(' '.join(call))}`" for call in calls)
    return f"Faults: {listed}.\n" if calls else ""


def _rows(run: Run) -> str:
    lines = [f"- `{name}`: {ROWS[name].text}" for name in run.settings.rows if name in ROWS]
    return "## Schemes\n\n" + "\n".join(lines) + "\n"


def _table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(_safe(cell) for cell in cells) + " |"

    lines = [line(head), "|" + "|".join(["---", *["---:"] * (len(head) - 1)]) + "|", *map(line, body)]
    return "\n".join(lines) + "\n"


def _safe(text: str) -> str:
    """Names of others may hold what Markdown reads as a table."""
    return text.replace("|", "\\|").replace("\n", " ")
