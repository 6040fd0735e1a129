"""How far an inference is: a line that moves on a terminal, plain lines in a pipe, nothing if asked.

The methods are called from the thread of the event loop; they only write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from cocoi_cli.planning.plan import AUTO, LOCAL
from cocoi_cli.runtime.report import cut_word
from cocoi_cli.views.lines import plural, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rich.console import Console
    from rich.progress import TaskID

    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.report import StageReport


def _silent(_: str) -> None:
    """Nobody is told."""


class SilentProgress:
    """Says nothing; base of the others.

    Attributes:
        plan: The last plan that was announced.
        warnings: What was warned of, in order; printed by whoever shows the result.
    """

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.warnings: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def fleet_ready(self, agents: int) -> None:
        """Agents are up."""

    def planned(self, plan: Plan, stages: Sequence[str]) -> None:
        """The plan is made; `stages` are the names of the network's stages."""
        del stages
        self.plan = plan

    def stage_started(self, index: int, name: str, kind: str, strips: int) -> None:
        """A stage begins; `strips` is 0 for a local one."""

    def strip_done(self, index: int, done: int, strips: int) -> None:
        """`done` of `strips` strips of a stage have been decoded."""

    def stage_done(self, index: int, report: StageReport) -> None:
        """A stage ended."""

    def warning(self, text: str) -> None:
        """Something a user should know at once."""
        self.warnings.append(text)


class PlainProgress(SilentProgress):
    """One line for the fleet, one for the plan, and with `each_stage` one per distributed stage."""

    def __init__(
        self, write: Callable[[str], None], warn: Callable[[str], None] = _silent, *, each_stage: bool = True
    ) -> None:
        super().__init__()
        self._warn = warn
        self._each_stage = each_stage
        self._write = write
        self._stages = 0

    def fleet_ready(self, agents: int) -> None:
        """Agents are up."""
        if agents:
            self._write(f"fleet: {plural(agents, 'agent')} up")

    def warning(self, text: str) -> None:
        """Told when it happens."""
        super().warning(text)
        self._warn(text)

    def planned(self, plan: Plan, stages: Sequence[str]) -> None:
        """The plan is made."""
        super().planned(plan, stages)
        self._stages = len(stages)
        self._write(plan_text(plan))

    def stage_done(self, index: int, report: StageReport) -> None:
        """A stage ended; local ones pass without a word."""
        if self._each_stage and report.kind != "local":
            cut = cut_word(report.kind, report.scheme)
            text = f"{report.name}: {plural(report.strips, cut)} in {seconds(report.wall_s)}"
            self._write(f"stage {index + 1} of {self._stages}: {text}")


class LiveProgress(SilentProgress):
    """A bar over the stages and the strips of the current one; it is gone at the end of the `with` block."""

    def __init__(
        self,
        console: Console,
        write: Callable[[str], None],
        warn: Callable[[str], None] = _silent,
        *,
        opening: str = "starting agents",
    ) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  (terminals only)

        super().__init__()
        self._warn = warn
        self._write = write  # while the bar is shown, rich puts what is written above it
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._bar.add_task(opening, total=None, note="")
        self._stages = 0
        self._parts: dict[int, str] = {}  # what a stage is cut into

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def warning(self, text: str) -> None:
        """Told when it happens, above the bar."""
        super().warning(text)
        self._warn(text)

    def fleet_ready(self, agents: int) -> None:
        """Agents are up."""
        self._bar.update(self._task, description=f"{plural(agents, 'agent')} up, preparing", note="")

    def planned(self, plan: Plan, stages: Sequence[str]) -> None:
        """The plan is made."""
        super().planned(plan, stages)
        self._stages = len(stages)
        self._write(plan_text(plan))
        self._bar.update(self._task, description="placing weights", total=len(stages) or None, completed=0)

    def stage_started(self, index: int, name: str, kind: str, strips: int) -> None:
        """A stage begins."""
        where = f"stage {index + 1} of {self._stages}"
        self._parts[index] = part = "tile" if kind == "fused" else "strip"
        note = "on this machine" if kind == "local" else f"0 of {plural(strips, part)}"
        self._bar.update(self._task, description=f"{where}  {_cut(name)}", completed=index, note=note)

    def strip_done(self, index: int, done: int, strips: int) -> None:
        """A strip was decoded."""
        part = done / strips if strips else 0.0
        note = f"{done} of {plural(strips, self._parts.get(index, 'strip'))}"
        self._bar.update(self._task, completed=index + part, note=note)

    def stage_done(self, index: int, report: StageReport) -> None:
        """A stage ended."""
        del report
        self._bar.update(self._task, completed=index + 1)


def plan_text(plan: Plan) -> str:
    """One line: how many layers agents compute, and by which code; a plan with segments has no single one."""
    layers = plural(len(plan.layers), "conv layer")
    if plan.is_local:
        return f"plan: all of {layers} on this machine"
    away = sum(layer.scheme != LOCAL for layer in plan.layers)
    if plan.segments or plan.scheme == AUTO:
        fused = away - len(plan.distributed)
        inside = f", {fused} of them fused" if fused else ""
        return f"plan: {away} of {layers} on the agents{inside}, {plan.transport}"
    return f"plan: {away} of {layers} on the agents, {plan.scheme} ({plan.n},{plan.k}), {plan.transport}"


def _cut(name: str) -> str:
    return name if len(name) <= 24 else "…" + name[-23:]
