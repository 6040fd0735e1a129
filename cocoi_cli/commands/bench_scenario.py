"""One scenario on one model: harm the devices, warm every row up, run them in turns, undo everything."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cocoi_cli.benchmark.dask_row import DaskRow
from cocoi_cli.benchmark.errors import DaskError
from cocoi_cli.benchmark.rows import DASK
from cocoi_cli.benchmark.scenarios import passing_faults, standing_faults
from cocoi_cli.benchmark.schedule import turns
from cocoi_cli.commands.bench_runners import DaskRunner, EngineRunner, Place
from cocoi_cli.errors import ConfigurationError, UsageError
from cocoi_cli.runtime.host import HostKernels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.benchmark.records import Cell, Run
    from cocoi_cli.benchmark.rows import Row
    from cocoi_cli.benchmark.scenarios import Scenario
    from cocoi_cli.commands.bench import Request
    from cocoi_cli.commands.bench_fleet import BenchFleet
    from cocoi_cli.commands.bench_request import Subject
    from cocoi_cli.commands.bench_runners import Runner
    from cocoi_cli.errors import CocoiError
    from cocoi_cli.runtime.report import Trace
    from cocoi_cli.views.bench_progress import SilentBench


@dataclass(slots=True)
class ScenarioWork:
    """What is left of one scenario on one model.

    Attributes:
        absent: Name of a row that cannot run to the reason.
        traces: `model, scenario, row` to a timeline, if plots were asked for.
    """

    request: Request
    fleet: BenchFleet
    record: Run
    subject: Subject
    scenario: Scenario
    rows: Sequence[Row]
    devices: Sequence[str]
    absent: Mapping[str, str]
    traces: dict[str, Trace] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Inferences that count and are still to be made."""
        return sum(len(missing) for _, missing in self._turns())

    def measure(self, progress: SilentBench, save: Callable[[], None]) -> None:
        """Do all that is left; `save` is called after each repetition.

        Raises:
            FaultsFailedError, AgentsStayAwayError: The benchmark cannot go on.
        """
        self._note_absent()
        if not self.left:
            return
        model, scenario = self.subject.model.name, self.scenario.name
        progress.at(model, scenario, "")
        self.fleet.renew()
        standing = standing_faults(self.scenario, self.devices, seed=self.request.seed, model=model)
        self.record.standing[f"{model}/{scenario}"] = tuple(fault.call for fault in standing)
        try:
            for fault in standing:
                self.fleet.faults.apply(fault)
            reference = HostKernels().baseline(self.subject.model, self.subject.tensors, repeat=False).outputs
            place = Place(self.fleet, self.request, reference, standing)
            with ExitStack() as stack:
                runners = self._runners(place, stack, progress)
                self._repeat(runners, progress, save)
            self._trace(runners)
        finally:
            self.fleet.faults.clear()

    def _turns(self) -> list[tuple[int, tuple[str, ...]]]:
        """Repetition and the rows that it lacks, in order."""
        model, scenario = self.subject.model.name, self.scenario.name
        found = turns(
            [row.name for row in self.rows if not self._absent(row)],
            seed=self.request.seed,
            model=model,
            scenario=scenario,
            repetitions=self.request.inferences,
            done=self.record.done(model, scenario),
        )
        return [(repetition, tuple(turn.row for turn in missing)) for repetition, missing in found]

    def _runners(self, place: Place, stack: ExitStack, progress: SilentBench) -> dict[str, Runner]:
        """Rows that can run, warmed up; of the others the cell says why."""
        model, scenario = self.subject.model.name, self.scenario.name
        runners: dict[str, Runner] = {}
        refusals: list[CocoiError] = []
        for row in self.rows:
            cell = self.record.cell(model, scenario, row.name)
            if self._absent(row):
                continue
            progress.at(model, scenario, f"{row.name}, warming up")
            cell.absent = ""
            try:
                runner = self._runner(row, cell, place, stack)
                runner.warm_up(self.request.warm_up)
            except (UsageError, ConfigurationError, DaskError) as error:
                # This scheme has no such code; the others are measured.
                cell.absent = error.message
                refusals.append(error)
            else:
                runners[row.name] = runner
        if refusals and not runners:
            raise refusals[0]
        return runners

    def _note_absent(self) -> None:
        """A cell for every row, with the reason where it cannot run."""
        for row in self.rows:
            cell = self.record.cell(self.subject.model.name, self.scenario.name, row.name)
            if not cell.samples:  # what was measured earlier stands
                cell.absent = self._absent(row)

    def _absent(self, row: Row) -> str:
        if row.name not in self.absent and row.kind == DASK and self.request.dask is None and self.scenario.words:
            return "faults do not reach its workers on this machine"
        return self.absent.get(row.name, "")

    def _runner(self, row: Row, cell: Cell, place: Place, stack: ExitStack) -> Runner:
        if row.kind != DASK:
            return EngineRunner(row, cell, self.subject, place)
        dask = DaskRow(
            HostKernels(),
            agents=len(self.fleet.names()),
            address=self.request.dask,
            k=self.request.k,
            transport=row.transport or self.request.transport,
        )
        return DaskRunner(row, cell, self.subject, place, stack.enter_context(dask))

    def _repeat(self, runners: dict[str, Runner], progress: SilentBench, save: Callable[[], None]) -> None:
        model, scenario = self.subject.model.name, self.scenario.name
        for repetition, rows in self._turns():
            timed = passing_faults(
                self.scenario, self.devices, seed=self.request.seed, model=model, repetition=repetition
            )
            for row in rows:
                if row in runners:
                    progress.at(model, scenario, row)
                    sample = runners[row].measure(repetition, timed)
                    self.record.cell(model, scenario, row).samples.append(sample)
                progress.done()
            save()

    def _trace(self, runners: dict[str, Runner]) -> None:
        if self.request.plots is None:
            return
        for name, runner in runners.items():
            if isinstance(runner, EngineRunner):
                found = runner.trace()
                if found is not None:
                    self.traces[f"{self.subject.model.name}, {self.scenario.name}, {name}"] = found
