"""A run as figures per cell: what tables, Markdown and plots show. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.benchmark.rows import BASELINE, ROWS
from cocoi_cli.benchmark.schedule import generator
from cocoi_cli.benchmark.statistics import FEWEST_FOR_P99, median, paired_ratio, tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.benchmark.records import Cell, Run, Sample
    from cocoi_cli.benchmark.statistics import Ratio

Key = tuple[str, str, str]

COCOI: Final = "cocoi"
SINGLE: Final = ("local", "device")


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one cell; None where a cell is too small for one, or the row has no such thing.

    Attributes:
        model, scenario, row, transport, plan, absent: As in the cell.
        inferences: How many were made.
        answered: How many gave an answer.
        p50_s, p95_s, p99_s: Latency in seconds; of a throughput row `p50_s` is seconds per picture.
        ratio: Median over that of the baseline.
        tail_ratio: p99 over that of the baseline.
        to_cocoi: Median over that of CoCoI as published.
        to_single: Median over that of the best single device, the coordinator included.
        predicted_s: What the planner expects.
        bytes_out, bytes_in: Median per inference.
        host_cpu_s: Median per inference.
        late, cancelled: Mean per inference.
        living: Fewest agents that were up when an inference began.
        max_rel_error: Largest.
        top1_equal: Whether it was in every inference; None where the model has no classes.
    """

    model: str
    scenario: str
    row: str
    transport: str
    plan: str
    absent: str
    inferences: int
    answered: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    ratio: Ratio | None
    tail_ratio: Ratio | None
    to_cocoi: Ratio | None
    to_single: Ratio | None
    predicted_s: float | None
    bytes_out: int
    bytes_in: int
    host_cpu_s: float | None
    late: float
    cancelled: float
    living: int
    max_rel_error: float | None
    top1_equal: bool | None


def summarise(run: Run) -> tuple[Summary, ...]:
    """The figures of every cell, in the order of the cells."""
    found = {(cell.model, cell.scenario, cell.row): cell for cell in run.cells}
    return tuple(_summary(cell, found, run) for cell in run.cells)


def _summary(cell: Cell, others: Mapping[Key, Cell], run: Run) -> Summary:
    samples = cell.samples
    latencies = [sample.latency_s for sample in samples if sample.latency_s is not None]
    is_throughput = cell.row in ROWS and ROWS[cell.row].is_throughput
    middle = seconds_per_picture(samples, len(run.settings.devices)) if is_throughput else median(latencies)
    seed = int(generator(run.settings.seed, "ratio", cell.model, cell.scenario).integers(2**31))

    def to(other: Cell | None, share: float = 0.5) -> Ratio | None:
        if other is None or is_throughput or (share > 0.5 and len(samples) < FEWEST_FOR_P99):
            return None
        ours, theirs = _paired(cell, other)
        return paired_ratio(ours, theirs, seed=seed, share=share)

    baseline = others.get((cell.model, cell.scenario, BASELINE))
    errors = [sample.max_rel_error for sample in samples if sample.max_rel_error is not None]
    equal = [sample.top1_equal for sample in samples if sample.top1_equal is not None]
    return Summary(
        model=cell.model,
        scenario=cell.scenario,
        row=cell.row,
        transport=cell.transport,
        plan=cell.plan,
        absent=cell.absent,
        inferences=len(samples),
        answered=len(latencies),
        p50_s=middle,
        p95_s=None if is_throughput else tail(latencies, 0.95),
        p99_s=None if is_throughput else tail(latencies, 0.99),
        ratio=to(baseline),
        tail_ratio=to(baseline, 0.99),
        to_cocoi=to(others.get((cell.model, cell.scenario, COCOI))),
        to_single=to(_best_single(cell, others)),
        predicted_s=cell.predicted_s,
        bytes_out=round(median([sample.bytes_out for sample in samples]) or 0),
        bytes_in=round(median([sample.bytes_in for sample in samples]) or 0),
        host_cpu_s=median([sample.host_cpu_s for sample in samples]),
        late=_mean([sample.late for sample in samples]),
        cancelled=_mean([sample.cancelled for sample in samples]),
        living=min((sample.living for sample in samples), default=0),
        max_rel_error=max(errors, default=None),
        top1_equal=all(equal) if equal else None,
    )


def _best_single(cell: Cell, others: Mapping[Key, Cell]) -> Cell | None:
    """The faster one of the unmodified model on the coordinator and on the best device."""
    cells = [others.get((cell.model, cell.scenario, row)) for row in SINGLE]
    medians = [(_median_s(each), each.row, each) for each in cells if each is not None and _median_s(each)]
    return min(medians)[2] if medians else None


def _median_s(cell: Cell) -> float:
    return median([sample.latency_s for sample in cell.samples if sample.latency_s is not None]) or 0.0


def seconds_per_picture(samples: Sequence[Sample], devices: int) -> float | None:
    """Of whole pictures that go to all devices at once, from samples that each ran one picture on one device.

    Devices do not wait for each other, so their rates add up; the samples take the devices in turn, and one
    without an answer counts as a rate of zero. A picture is so small that the host's network is not shared out.

    Returns:
        None where no device has answered.
    """
    rates = [0.0 if sample.latency_s is None else 1 / sample.latency_s for sample in samples]
    total = devices * _mean(rates)
    return 1 / total if total else None


def _paired(cell: Cell, baseline: Cell) -> tuple[list[float | None], list[float | None]]:
    """Latencies of the repetitions that both have."""
    theirs = {sample.repetition: sample.latency_s for sample in baseline.samples}
    both = [sample for sample in cell.samples if sample.repetition in theirs]
    return [sample.latency_s for sample in both], [theirs[sample.repetition] for sample in both]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
