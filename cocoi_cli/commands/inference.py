"""What `cocoi infer` does: read, start the fleet, run each input, show and write the answers.

Everything that can be refused is refused before the first agent starts. With several
inputs one unfit input does not cost the others their answers; a broken fleet ends the
command, and what was finished until then has been shown.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from cocoi_cli import hints
from cocoi_cli.api import Options
from cocoi_cli.commands.options import DEFAULT_AGENTS
from cocoi_cli.commands.reading import Reader, open_model
from cocoi_cli.commands.request import check_output_name, check_request
from cocoi_cli.commands.saving import Saver
from cocoi_cli.commands.way import choose_way
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError, FailedError, UsageError
from cocoi_cli.files import check_writable, write
from cocoi_cli.fleet.agents import NO_AGENT
from cocoi_cli.fleet.seen import note_seen
from cocoi_cli.model.inputs import expand, is_array
from cocoi_cli.model.sources import check_labels, find_labels
from cocoi_cli.runtime.addresses import Absentee
from cocoi_cli.views import lines
from cocoi_cli.views.document import inference_document
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.progress import LiveProgress, PlainProgress, SilentProgress
from cocoi_cli.views.results import quiet_text, result_text
from cocoi_cli.views.timeline import chrome_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.api import Fleet
    from cocoi_cli.commands.infer import Request
    from cocoi_cli.commands.reading import InputTensors
    from cocoi_cli.commands.request import Source
    from cocoi_cli.commands.way import Way
    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.report import CheckReport, InferenceReport, Trace

Tree = dict[str, Any]

SPARES = 2  # answers more than needed: one detects that an agent errs, two tell which


class CheckFailedError(FailedError):
    """The result differs from plain ONNX Runtime's by more than was promised."""

    code: ClassVar[str] = "check-failed"

    def __init__(self, name: str, report: CheckReport, result: Tree) -> None:
        worst = max(report.per_output, key=lambda key: report.per_output[key], default="")
        super().__init__(
            f"result for `{name}` differs from plain ONNX Runtime by {lines.small(report.max_rel_error)} "
            f"in output `{worst}`; "
            f"the tolerance is {lines.small(report.tolerance)}",
            input=name,
            output=worst,
            max_rel_error=report.max_rel_error,
            tolerance=report.tolerance,
            result=result,
        )


def run(
    request: Request,
    open_fleet: Callable[[str, int], Fleet],
    open_deployed: Callable[[Agents, FleetModel | None], Fleet],
) -> int:
    """Carry out `cocoi infer`; returns the exit status.

    Args:
        request: What was typed.
        open_fleet: Starts so many agents, by the name of the scheme; 0 for none.
        open_deployed: Connects to agents on devices.

    Raises:
        CocoiError: If the command as a whole cannot go on, or its only input fails.
    """
    console = Console(json=request.json, quiet=request.quiet)
    source = check_request(request, DEFAULT_AGENTS)
    names = expand(request.inputs)
    if request.output is not None:
        check_output_name(request.output, len(names))
    model = open_model(request.model)
    way = choose_way(request, source, model, console)
    command = _Command(request, source, console, model, names, way)
    if len(names) == 1:
        # The only input is read before the agents start: a refusal should not take seconds.
        command.first = command.reader.read(names[0])
    command.announce()
    with ExitStack() as stack:
        progress = command.progress()
        with progress:
            if source.agents is None:
                opened = open_fleet(way.scheme, source.embedded)
            else:
                opened = open_deployed(source.agents, way.model)
            fleet = stack.enter_context(opened)
        return command.run(fleet)


class _Command:
    """One `cocoi infer` after its options were found possible."""

    def __init__(
        self, request: Request, source: Source, console: Console, model: LoadedModel, names: list[str], way: Way
    ) -> None:
        self._request, self._source, self._console, self._model, self._names = request, source, console, model, names
        pictures = any(not is_array(name) for name in names)
        self._labels = find_labels(model, request.labels)
        self.reader = Reader(model, request.preprocess, pictures=pictures)
        self._label_names = None if self._labels is None else self._labels.names
        self._saver = Saver(request.output, names, model, self._label_names)
        if request.trace is not None:
            check_writable(request.trace)
        self.first: InputTensors | None = None
        self._traces: list[tuple[str, Trace]] = []
        self._documents: list[Tree] = []
        self._said: set[str] = set()
        self._options = Options(
            n=request.n,
            k=request.k,
            scheme=way.scheme,
            plan=way.plan,
            origin=way.origin,
            verify=SPARES if request.verify else 0,
            transport=request.transport,
            tolerance=request.tolerance,
            deadline_s=request.deadline,
            fallback=request.fallback,
            check=request.check,
            trace=request.trace is not None,
            kill=request.kill,
        )

    def announce(self) -> None:
        """Say where labels and preprocessing come from."""
        for what, found in (("labels", self._labels), ("preprocessing", self.reader.found)):
            if found is not None:
                self._console.note(f"{what}: {found.source}")
                if found.warning is not None:
                    self._warn(found.warning)

    def progress(self) -> SilentProgress:
        """The display that suits where standard error goes."""
        if self._console.quiet:
            return SilentProgress()
        if self._console.terminal:
            opening = "starting agents" if self._source.agents is None else "connecting to agents"
            return LiveProgress(self._console.rich(), self._note_once, self._warn, opening=opening)
        return PlainProgress(self._note_once, self._warn, each_stage=len(self._names) == 1)

    def run(self, fleet: Fleet) -> int:
        """Run every input; returns the exit status of the first failure, or 0."""
        status = 0
        try:
            for index, name in enumerate(self._names):
                try:
                    self._documents.append(self._infer(fleet, index, name))
                except (UsageError, CheckFailedError) as error:
                    if len(self._names) == 1:
                        raise
                    status = status or error.exit_status
                    self._documents.append(self._failed(name, error))
        except CocoiError as error:
            if self._documents:
                error.details["results"] = self._documents
            raise
        finally:
            self._write_trace()
        document = self._documents[0] if len(self._names) == 1 else {"results": self._documents}
        path = self._saver.save_document(document)
        if self._request.json:
            self._console.document(json_text(document))
        if path is not None:
            self._console.note(f"written: {path}")
        return status

    def _infer(self, fleet: Fleet, index: int, name: str) -> Tree:
        read = self.first or self.reader.read(name)
        progress = self.progress()
        with progress:
            report = fleet.infer(self._model, read.tensors, name=name, options=self._options, progress=progress)
        self._options = replace(self._options, kill=0)  # once is enough, also for a folder of pictures
        if self._source.inventory is not None:
            note_seen(self._source.inventory, [each.id for each in report.agents if each.took_part], time.time())
        if report.trace is not None:
            self._traces.append((name, report.trace))
        for text in (*read.warnings, *progress.warnings, *report.warnings):
            self._warn(text)
        self._advise()
        check_labels(self._labels, {key: array.shape for key, array in report.outputs.items()})
        how = self.reader.found if read.picture is not None else None
        if report.check is not None and not report.check.passed:
            # A wrong answer is not handed out: no labels, no file; the figures go with the error.
            self._show_figures(report, progress.plan)
            document = inference_document(report, self._labels, how, progress.plan, self._request.top, {})
            raise CheckFailedError(name, report.check, document)
        files = {} if self._request.trace is None else {"trace": self._request.trace}
        path = self._saver.save(index, report, read, None if how is None else how.how)
        if path is not None:
            files["output"] = path
        self._show(name, report, progress.plan, path)
        return inference_document(report, self._labels, how, progress.plan, self._request.top, files)

    def _advise(self) -> None:
        """After the warnings: how devices without an agent get one."""
        agents, advice = self._source.agents, hints.for_code("not-deployed", {})
        if agents is None or advice is None or advice in self._said or self._console.quiet:
            return
        if any(isinstance(member, Absentee) and member.reason == NO_AGENT for member in agents.members):
            self._said.add(advice)
            self._console.marked("hint", advice)

    def _show(self, name: str, report: InferenceReport, plan: Plan | None, path: str | None) -> None:
        if self._console.quiet:
            self._console.result(quiet_text(name, report.outputs, self._label_names))
        else:
            self._console.result(result_text(name, report.outputs, self._label_names, self._request.top))
        self._show_figures(report, plan)
        if path is not None:
            self._console.note(f"written: {path}")

    def _show_figures(self, report: InferenceReport, plan: Plan | None) -> None:
        if self._console.quiet:
            return
        if len(self._names) == 1 and any(stage.kind != "local" for stage in report.stages):
            from cocoi_cli.views.tables import agents_table, stages_table  # noqa: PLC0415  (rich, only when shown)

            self._console.note("")
            self._console.table(stages_table(report.stages))
            self._console.note("")
            self._console.table(agents_table(report.agents))
            self._console.note("")
        if plan is not None and (text := lines.kept(plan)):
            self._note_once(text)
        figure, *explanation = lines.latency(report, embedded=self._source.agents is None).splitlines()
        self._console.note(figure)
        for text in explanation:
            self._note_once(text)
        if report.check is not None:
            self._console.note(lines.check(report.check))
        if report.verification is not None:
            self._console.note(lines.verification(report.verification))

    def _failed(self, name: str, error: CocoiError) -> Tree:
        advice = hints.hint(error)
        if not self._request.json:
            self._console.marked("error", error.message)
            self._console.marked("hint", advice)
        return {"input": name, "error": error.code, "message": error.message, "hint": advice, "details": error.details}

    def _write_trace(self) -> None:
        if self._request.trace is not None and self._traces:
            write(self._request.trace, json_text(chrome_trace(self._traces)).encode())
            self._console.note(f"timeline: {self._request.trace} (open it at https://ui.perfetto.dev)")

    def _note_once(self, text: str) -> None:
        # Of several inputs each has the same fleet, and mostly the same plan.
        if text not in self._said:
            self._said.add(text)
            self._console.note(text)

    def _warn(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._console.warning(text)
