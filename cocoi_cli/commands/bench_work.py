"""What `cocoi bench` does: prepare, measure in turns, keep everything, show it.

Whatever ends a benchmark early (Ctrl-C, a device that stays away, a script that fails), what was
measured until then is written and shown, and the faults are undone.
"""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cocoi_cli.benchmark.conditions import conditions_now, load
from cocoi_cli.benchmark.errors import FaultsFailedError
from cocoi_cli.benchmark.records import ModelFacts, Run, Settings
from cocoi_cli.benchmark.scenarios import check_size
from cocoi_cli.benchmark.summary import summarise
from cocoi_cli.commands.bench_fleet import BenchFleet
from cocoi_cli.commands.bench_request import check_bench
from cocoi_cli.commands.bench_results import command_line, refuse_unfinished, resume
from cocoi_cli.commands.bench_scenario import ScenarioWork
from cocoi_cli.console import Console
from cocoi_cli.files import write
from cocoi_cli.views.bench import absences, conditions_lines, figures_table, legend, ratio_tables, remarks
from cocoi_cli.views.bench_document import bench_document
from cocoi_cli.views.bench_markdown import bench_markdown
from cocoi_cli.views.bench_progress import LiveBench, PlainBench, SilentBench
from cocoi_cli.views.json_form import json_text

if TYPE_CHECKING:
    from cocoi_cli.commands.bench import Request
    from cocoi_cli.commands.bench_request import Order
    from cocoi_cli.runtime.report import Trace

SAVING_PART: Final = 0.05  # of the time that a benchmark may spend on keeping its results


def run(request: Request) -> int:
    """Carry out `cocoi bench`; returns the exit status.

    Raises:
        CocoiError: If something is unfit, or the benchmark cannot go on; what was measured has been shown.
    """
    console = Console(json=request.json, quiet=request.quiet)
    order = check_bench(request)
    with BenchFleet(order.source, request.faults, request.host_kernels, order.model) as fleet:
        return _Command(request, order, fleet, console).run()


@dataclass(slots=True)
class _Command:
    """One `cocoi bench` after its options were found possible."""

    request: Request
    order: Order
    fleet: BenchFleet
    console: Console
    traces: dict[str, Trace] = field(default_factory=dict)
    next_save_s: float = 0.0  # on the monotonic clock

    def run(self) -> int:
        devices = self._devices()
        for scenario in self.order.scenarios:
            self.fleet.faults.check(scenario)
            check_size(scenario, devices)
        record = self._record(devices)
        for row, reason in self.order.absent.items():
            self.console.warning(f"{row} is left out: {reason}")
        try:
            self._measure(record, devices)
            record.complete = True
        except BaseException:
            self._end(record)
            if not self.request.json:
                self._show(record)
            raise
        self._end(record)
        self._show(record)
        return 0

    def _devices(self) -> tuple[str, ...]:
        """Those that are in the fleet and can be harmed."""
        known = self.fleet.names()
        if self.request.faults is None:
            return known
        named = self.fleet.faults.names()
        devices = tuple(name for name in named if name in known)
        if not devices:
            cause = f"none of its devices ({', '.join(named[:4])}) is in the fleet"
            raise FaultsFailedError(self.request.faults, ("names",), cause)
        return devices

    def _record(self, devices: tuple[str, ...]) -> Run:
        request, order = self.request, self.order
        inventory = order.source.inventory
        subjects = order.subjects
        settings = Settings(
            models=tuple(
                ModelFacts(each.model.name, each.model.sha256, each.input, _shapes(each.tensors)) for each in subjects
            ),
            rows=tuple(row.name for row in order.rows),
            scenarios=tuple(scenario.name for scenario in order.scenarios),
            fleet="embedded" if inventory is None else inventory.id,
            devices=devices,
            seed=request.seed,
            inferences=request.inferences,
            warm_up=request.warm_up,
            transport=request.transport,
            tolerance=request.tolerance,
            n=request.n,
            k=request.k,
            host_kernels=request.host_kernels,
        )
        conditions = {"host": conditions_now(), "devices": self.fleet.conditions()}
        made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        if request.resume and request.output is not None and Path(request.output).exists():
            return resume(request.output, settings)
        if request.output is not None:
            refuse_unfinished(request.output)
        return Run(settings, made, command_line(request), conditions, [])

    def _measure(self, record: Run, devices: tuple[str, ...]) -> None:
        with self._progress() as progress:
            parts = [
                ScenarioWork(
                    self.request, self.fleet, record, subject, scenario, self.order.rows, devices, self.order.absent
                )
                for subject in self.order.subjects
                for scenario in self.order.scenarios
            ]
            progress.total(sum(part.left for part in parts))
            for part in parts:
                part.measure(progress, lambda: self._keep(record))
                self.traces |= part.traces

    def _progress(self) -> SilentBench:
        if self.console.terminal and not self.console.quiet:
            return LiveBench(self.console.rich())
        return SilentBench() if self.console.quiet else PlainBench(self.console.note)

    def _keep(self, record: Run) -> None:
        """After a repetition: write what there is, unless writing would take a notable part of the time."""
        begun = time.monotonic()
        if begun >= self.next_save_s:
            self._save(record, with_summaries=False)
            self.next_save_s = time.monotonic() + (time.monotonic() - begun) / SAVING_PART

    def _save(self, record: Run, *, with_summaries: bool = True) -> None:
        if self.request.output is not None:
            document = bench_document(record, with_summaries=with_summaries)
            write(self.request.output, json_text(document).encode())

    def _end(self, record: Run) -> None:
        """Note how the machine is now, and write everything that was asked for."""
        record.conditions = {**record.conditions, "load_at_end": load()}
        self._save(record)
        if self.request.markdown is not None:
            write(self.request.markdown, bench_markdown(record).encode())
        if self.request.plots is not None and record.complete:
            from cocoi_cli.views.bench_plots import write_plots  # noqa: PLC0415  (matplotlib)

            for path in write_plots(record, self.traces, Path(self.request.plots)):
                self.console.note(f"written: {path}")

    def _show(self, record: Run) -> None:
        if self.request.json:
            self.console.document(json_text(bench_document(record)))
            return
        summaries = summarise(record)
        for model in record.settings.models:
            for table in ratio_tables(summaries, model.name):
                self.console.print_result(table)
                self.console.result("")
            for text in absences(summaries, model.name):
                self.console.result(text)
            for scenario in record.settings.scenarios if not self.console.quiet else ():
                if any(each.inferences and each.scenario == scenario for each in summaries):
                    self.console.print_result(figures_table(summaries, model.name, scenario))
                    self.console.result("")
        for text in (*legend(summaries), *conditions_lines(record)):
            self.console.note(text)
        for text in remarks(summaries):
            self.console.warning(text)
        for path in (self.request.output, self.request.markdown):
            if path is not None:
                self.console.note(f"written: {path}")


def _shapes(tensors: object) -> dict[str, tuple[int, ...]]:
    assert isinstance(tensors, dict)  # noqa: S101 - as `Subject` has them
    return {name: tuple(int(size) for size in array.shape) for name, array in tensors.items()}
