"""Running one row of a benchmark once: an inference becomes a sample."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from cocoi_cli.api import Options
from cocoi_cli.benchmark.conditions import process_cpu_s
from cocoi_cli.benchmark.faults import PassingFaults
from cocoi_cli.benchmark.records import Sample
from cocoi_cli.benchmark.scenarios import AWAY
from cocoi_cli.benchmark.statistics import median
from cocoi_cli.errors import DecodeError, FleetError
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.runtime.check import Tolerance, compare
from cocoi_cli.views.bench_words import plan_words
from cocoi_cli.views.progress import SilentProgress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.benchmark.dask_row import DaskRow
    from cocoi_cli.benchmark.records import Cell
    from cocoi_cli.benchmark.rows import Row
    from cocoi_cli.benchmark.scenarios import Fault, TimedFault
    from cocoi_cli.commands.bench import Request
    from cocoi_cli.commands.bench_fleet import BenchFleet
    from cocoi_cli.commands.bench_request import Subject
    from cocoi_cli.runtime.report import AnyArray, InferenceReport, Trace

LOST: Final = (DecodeError, FleetError)
"""An inference may fail so under faults: that is a finding, and the benchmark goes on."""


class Runner(Protocol):
    """Runs one row on one model in one scenario."""

    def warm_up(self, count: int) -> None:
        """Make inferences that do not count, and learn how long one takes."""
        ...

    def measure(self, repetition: int, timed: Sequence[TimedFault]) -> Sample:
        """Make one that does; faults that came in the middle are undone when this returns."""
        ...


class Watch(SilentProgress):
    """Learns the plan, and how many agents were up."""

    def __init__(self) -> None:
        super().__init__()
        self.living = 0

    def fleet_ready(self, agents: int) -> None:
        """Agents are up."""
        self.living = agents


class EngineRunner:
    """A row that the engine runs: by a scheme, or as a whole on one device."""

    def __init__(self, row: Row, cell: Cell, subject: Subject, place: Place) -> None:
        self._row, self._cell, self._subject, self._place = row, cell, subject, place
        self._generation = 0
        self._usual: list[float] = []
        self._choice = DeviceChoice(row, place.healthy)

    def warm_up(self, count: int) -> None:
        """Every device once, if one of them is to be chosen; then as often as wanted."""
        self._generation = self._place.fleet.generation
        for device in self._choice.to_try():
            sample, _ = self._run(-1, device, ())
            self._choice.tried(device, sample.latency_s)
        for _ in range(count):
            sample, _ = self._run(-1, self._choice.device(0), ())
            if sample.latency_s is not None:
                self._usual.append(sample.latency_s)

    def measure(self, repetition: int, timed: Sequence[TimedFault]) -> Sample:
        """One inference that counts, on a fleet that has seen this row before."""
        fleet = self._place.fleet
        if self._generation != fleet.generation:
            self.warm_up(1)
        sample, fired = self._run(repetition, self._choice.device(repetition), timed)
        self._place.undo(fired)
        return sample

    def trace(self) -> Trace | None:
        """A timeline of one more inference; None where there is none."""
        try:
            return self._infer(self._options(self._choice.device(0), trace=True), Watch()).trace
        except LOST:
            return None

    def _run(self, repetition: int, device: str, timed: Sequence[TimedFault]) -> tuple[Sample, Sequence[Fault]]:
        watch = Watch()
        process = self._place.fleet.kernels_process
        cpu = _cpu_s(process)
        faults = PassingFaults(self._place.fleet.faults, timed, median(self._usual) or 0.0)
        try:
            with faults:
                report = self._infer(self._options(device), watch)
        except LOST as error:
            failed = Sample(repetition, None, error.code, living=watch.living, note=device)
            return replace(failed, faults=_calls(faults.fired), host_cpu_s=_cpu_s(process) - cpu), faults.fired
        spent = _cpu_s(process) - cpu
        self._note_plan(watch)
        sample = sample_of(report, repetition, self._place.reference)
        sample = replace(
            sample,
            living=watch.living,
            host_cpu_s=spent,
            faults=_calls(faults.fired),
            note=device,
        )
        return sample, faults.fired

    def _infer(self, options: Options, watch: Watch) -> InferenceReport:
        fleet = self._place.fleet.fleet
        subject = self._subject
        try:
            return fleet.infer(subject.model, subject.tensors, name=subject.input, options=options, progress=watch)
        except TooFewAgentsError as error:
            # Fewer are left than were asked for: what is left is asked, as `cocoi infer` would be.
            living = error.details.get("live")
            if not isinstance(living, int) or living < 1:
                raise
            k = None if options.k is None else min(options.k, living)
            smaller = replace(options, n=None if options.n is None else min(options.n, living), k=k)
            return fleet.infer(subject.model, subject.tensors, name=subject.input, options=smaller, progress=watch)

    def _options(self, device: str, *, trace: bool = False) -> Options:
        row, request = self._row, self._place.request
        return Options(
            scheme=row.scheme or "local",
            n=request.n,
            k=request.k if row.takes_k else None,
            transport=row.transport or request.transport,
            tolerance=request.tolerance,
            strips=row.strips,
            forget=row.forget,
            device=device,
            compare=False,
            deadline_s=request.deadline,
            trace=trace,
        )

    def _note_plan(self, watch: Watch) -> None:
        if watch.plan is not None and not self._cell.plan:
            self._cell.plan = plan_words(watch.plan)
            self._cell.transport = "" if watch.plan.is_local else watch.plan.transport
            if watch.plan.prediction is not None:
                self._cell.predicted_s = watch.plan.prediction.latency_s
        elif watch.plan is None and not self._cell.plan:
            self._cell.plan = "unmodified model"


class DeviceChoice:
    """On which device a row runs: none in particular, the fastest of those unharmed, or each in turn."""

    def __init__(self, row: Row, healthy: Sequence[str]) -> None:
        self._kind = row.kind
        self._healthy = tuple(healthy)
        self._took: dict[str, float] = {}

    def to_try(self) -> tuple[str, ...]:
        """Devices to run on once, to find the fastest."""
        untried = tuple(name for name in self._healthy if name not in self._took)
        return untried if self._kind == "device" else ()

    def tried(self, device: str, latency_s: float | None) -> None:
        """What it took; None where it gave no answer."""
        self._took[device] = float("inf") if latency_s is None else latency_s

    def device(self, repetition: int) -> str:
        """The device for a repetition; empty for rows that run on all."""
        if not self._healthy or self._kind not in ("device", "round-robin"):
            return ""
        if self._kind == "round-robin":
            return self._healthy[repetition % len(self._healthy)]
        return min(self._healthy, key=lambda name: self._took.get(name, float("inf")))


class DaskRunner:
    """The row that dask.distributed runs; its scheduler and workers live as long as the cell."""

    def __init__(self, row: Row, cell: Cell, subject: Subject, place: Place, dask: DaskRow) -> None:
        self._cell, self._subject, self._place, self._dask = cell, subject, place, dask
        cell.transport = row.transport or place.request.transport

    def warm_up(self, count: int) -> None:
        """Make inferences that do not count."""
        for _ in range(count):
            self.measure(-1, ())

    def measure(self, repetition: int, timed: Sequence[TimedFault]) -> Sample:
        """One inference, as the engine's rows make it."""
        cpu, subject = time.process_time(), self._subject
        with PassingFaults(self._place.fleet.faults, timed, self._dask.usual_s) as faults:
            answer = self._dask.infer(subject.model, subject.tensors)
        self._place.undo(faults.fired)
        if answer is None:
            return Sample(repetition, None, "dask-failed", faults=_calls(faults.fired))
        self._cell.plan = plan_words(answer.plan)
        check = compare(answer.outputs, self._place.reference, Tolerance(self._cell.transport))
        return Sample(
            repetition,
            answer.latency_s,
            bytes_out=answer.bytes_out,
            bytes_in=answer.bytes_in,
            host_cpu_s=time.process_time() - cpu,
            used=answer.used,
            late=answer.late,
            living=answer.workers,
            max_rel_error=check.max_rel_error,
            top1_equal=check.top1_equal,
            faults=_calls(faults.fired),
        )


class Place:
    """What the rows of one scenario share.

    Attributes:
        fleet: Of the benchmark.
        request: What was typed.
        reference: Outputs of plain ONNX Runtime.
        healthy: Devices that no standing fault singles out; all that answer where none is left.
    """

    def __init__(
        self, fleet: BenchFleet, request: Request, reference: Mapping[str, AnyArray], standing: Sequence[Fault]
    ) -> None:
        self.fleet, self.request, self.reference = fleet, request, reference
        self._standing = tuple(standing)
        self._away = {fault.device for fault in standing if fault.word in AWAY}
        harmed = {fault.device for fault in standing}
        names = fleet.names()
        unharmed = tuple(name for name in names if name not in harmed)
        self.healthy = unharmed or tuple(name for name in names if name not in self._away)

    def undo(self, fired: Sequence[Fault]) -> None:
        """Undo faults that came in the middle of an inference; if agents went away, wait for them and connect anew."""
        for fault in fired:
            self.fleet.faults.apply(fault.undoing)
        if any(fault.word in AWAY for fault in fired):
            self.fleet.renew(away=self._away)
            for fault in self._standing if self.fleet.is_embedded else ():
                self.fleet.faults.apply(fault)  # a new fleet is whole


def sample_of(report: InferenceReport, repetition: int, reference: Mapping[str, AnyArray]) -> Sample:
    """What one report says, without what only the caller knows."""
    check = compare(report.outputs, reference, Tolerance("f16"))
    agents = report.agents
    stages: dict[str, float] = {}
    for stage in report.stages:
        stages[stage.name] = stages.get(stage.name, 0.0) + round(stage.wall_s, 6)
    return Sample(
        repetition=repetition,
        latency_s=report.latency_s,
        bytes_out=sum(agent.bytes_out for agent in agents),
        bytes_in=sum(agent.bytes_in for agent in agents),
        used=sum(agent.used for agent in agents),
        late=sum(agent.late for agent in agents),
        cancelled=sum(agent.cancelled for agent in agents),
        lost=sum(agent.state in {"lost", "killed"} for agent in agents),
        max_rel_error=check.max_rel_error,
        top1_equal=check.top1_equal,
        stages_s=stages,
    )


def _cpu_s(process: int | None) -> float:
    """Processor seconds of this process, and of that of its kernels."""
    return time.process_time() + ((process_cpu_s(process) or 0.0) if process is not None else 0.0)


def _calls(faults: Sequence[Fault]) -> tuple[tuple[str, ...], ...]:
    return tuple(fault.call for fault in faults)
