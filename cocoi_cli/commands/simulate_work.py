"""What `cocoi simulate` does: model, fleet and plans, one simulation each, a table, a figure, a file."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cocoi_cli.codes.errors import UnknownSchemeError
from cocoi_cli.codes.registry import schemes
from cocoi_cli.commands.modelled import Modelled, Source, modelled
from cocoi_cli.commands.reading import open_model
from cocoi_cli.commands.simulate_fleet import DEVICES, EMPIRICAL
from cocoi_cli.commands.sizes import chosen_sizes
from cocoi_cli.console import Console
from cocoi_cli.errors import UsageError
from cocoi_cli.files import check_writable, write
from cocoi_cli.fleet.inventory import exists
from cocoi_cli.model.inputs import NoSuchFileError, UnreadableFileError, reason
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.segments import find_segments
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.weights import FLOAT, bytes_beside
from cocoi_cli.planning.defaults import default_plan, gain_limit
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.planning.fleet_model import FleetModel
from cocoi_cli.planning.plan import AUTO, LOCAL
from cocoi_cli.planning.plan_check import check, check_plan
from cocoi_cli.planning.plan_reading import read
from cocoi_cli.planning.planner import Request, make_plan
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.simulation.baselines import local_seconds, single_device
from cocoi_cli.simulation.engine import simulate
from cocoi_cli.simulation.shelf import Casualties
from cocoi_cli.simulation.straggling_text import parse_straggling
from cocoi_cli.simulation.waves import stage_shapes, whole_model
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural
from cocoi_cli.views.plots import check_plot_name, plot_latencies
from cocoi_cli.views.simulate import Row, latencies_by_row, simulation_document, simulation_table, tails_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cocoi_cli.commands.simulate import SimulateRequest
    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.planning.plan_file import PlanDocument
    from cocoi_cli.simulation.straggling import Straggling

SCHEMES: Final = ("uncoded", "coded", AUTO)
_LONGEST_RTT_MS: Final = 60_000.0


def run(request: SimulateRequest) -> int:
    """Carry out `cocoi simulate`; returns the exit status.

    Raises:
        CocoiError: An option, the model, the plan, the profile or the trace is unfit.
    """
    console = Console(json=request.json, quiet=request.quiet)
    gain_limit(request.transport)  # refuses what is no transport type
    for scheme in request.schemes:
        if scheme not in (AUTO, LOCAL, *schemes()):
            raise UnknownSchemeError(scheme, (AUTO, LOCAL, *schemes()))
    ks = tuple(_numbers(request.k))
    if request.plot is not None:
        check_plot_name(request.plot)
        check_writable(request.plot)
    if request.output is not None:
        check_writable(request.output)
    known = _fleet(request)
    names = [device.name for device in known.model.devices]
    straggling = parse_straggling(request.straggling, names)
    model = open_model(request.model)
    work = _Work(request, console, known, straggling, model)
    with console.busy("planning"):
        plans = list(work.plans(ks))  # what cannot be is refused before anything is simulated
    if not request.json:
        for text in known.warnings:
            console.warning(text)
        console.note(work.words())
    rows = work.rows(plans)
    document = simulation_document(
        rows,
        {
            "model": model.name,
            "fleet": known.about,
            "straggling": straggling.text,
            "latency": request.latency,
            "inferences": request.inferences,
            "seed": request.seed,
            "transport": request.transport,
        },
    )
    if request.output is not None:
        write(request.output, json_text(document).encode())
    if request.plot is not None:
        title = f"{model.name}, {len(names)} devices, {straggling.text}, {request.inferences} inferences"
        plot_latencies(latencies_by_row(rows), title, request.plot)
    if request.json:
        console.document(json_text(document))
        return 0
    console.print_result(simulation_table(rows))
    if text := tails_line(rows):
        console.note(text)
    for path in (request.output, request.plot):
        if path is not None:
            console.note(f"written: {path}")
    return 0


class _Work:
    """One command after its options were found possible."""

    def __init__(
        self, request: SimulateRequest, console: Console, known: Modelled, straggling: Straggling, model: LoadedModel
    ) -> None:
        self._request, self._console, self._known, self._straggling = request, console, known, straggling
        self._model = model
        self._document = None if request.plan is None else self._planned(request.plan)
        if self._document is not None:
            shapes = resolve_input_shapes(model, self._document.inputs)
            self._assumed = ""
        else:
            sizes = chosen_sizes(model, None)
            shapes, self._assumed = dict(sizes.shapes), sizes.assumed
        self._prepared: Prepared = find_layers(model, shapes)
        fleet = known.model
        dead = Casualties(straggling, [device.name for device in fleet.devices], request.seed).dead
        living = tuple(device for index, device in enumerate(fleet.devices) if index not in dead)
        self._living = FleetModel(living, fleet.host)  # what a planner would know of

    def words(self) -> str:
        """What was simulated, for people."""
        request = self._request
        lines = [self._known.about]
        if request.latency == EMPIRICAL:
            lines.append("times of devices as they were measured; plans by the shift-exponential ones")
        lines.append(f"{request.inferences} inferences, straggling {self._straggling.text}, seed {request.seed}")
        return "\n".join([*lines, self._assumed] if self._assumed else lines)

    def rows(self, plans: Sequence[tuple[str, Plan]]) -> list[Row]:
        """One row per plan, then one device and this machine alone."""
        rows = []
        with self._console.busy("simulating") as tell:
            for name, plan in plans:
                tell(f"simulating {name}")
                rows.append(self._simulated(name, plan))
        return [*rows, *self._baselines()]

    def _simulated(self, name: str, plan: Plan) -> Row:
        request = self._request
        stages = stage_shapes(self._prepared, plan)
        result = simulate(
            plan, stages, self._known.model, self._straggling, seed=request.seed, inferences=request.inferences
        )
        return Row(name, plan, result, result.latencies_s)

    def plans(self, ks: tuple[int, ...]) -> Iterator[tuple[str, Plan]]:
        """Names and plans: that of the file, then one for each scheme and k.

        Raises:
            UsageError: A k goes with no device or code.
        """
        request = self._request
        if self._document is not None and request.plan is not None:
            yield Path(request.plan).name, self._document.plan
        wanted = request.schemes or (() if self._document is not None else SCHEMES)
        for scheme in wanted:
            if scheme == AUTO:
                asked = Request(transport=request.transport, bytes_beside=bytes_beside(self._prepared))
                yield AUTO, make_plan(self._prepared.layers, find_segments(self._prepared), self._living, asked)
            elif scheme == LOCAL or not ks:
                yield scheme, self._default(scheme, None)
            else:
                yield from self._swept(scheme, ks, alone=len(wanted) == 1)

    def _swept(self, scheme: str, ks: tuple[int, ...], *, alone: bool) -> Iterator[tuple[str, Plan]]:
        """One plan per k that the family has, the others said; beside other schemes its own where it has none.

        Raises:
            UsageError: Nothing else is simulated, and it has none of these k; or no scheme could have one.
        """
        refusals: dict[int, UsageError] = {}
        for k in ks:
            try:
                yield scheme, self._default(scheme, k)
            except UsageError as error:
                refusals[k] = error
        if len(refusals) == len(ks):
            if alone or all(isinstance(each, BadOptionError) for each in refusals.values()):
                raise refusals[ks[0]]
            plan = self._default(scheme, None)
            self._console.warning(f"`{scheme}` is simulated with its own k = {plan.k}: {refusals[ks[0]].message}")
            yield scheme, plan
            return
        for k, refusal in refusals.items():
            self._console.warning(f"`{scheme}` with k = {k} is left out: {refusal.message}")

    def _default(self, scheme: str, k: int | None) -> Plan:
        """A plan by rule.

        Raises:
            UsageError: There is no such code, or there are not so many devices.
        """
        agents = len(self._living.devices)
        try:
            return default_plan(
                self._prepared.layers, agents=agents, scheme=scheme, n=None, k=k,
                transport=self._request.transport, strips=self._request.strips,
            )  # fmt: skip
        except TooFewAgentsError as error:
            # Nobody is missing here: what was asked for does not go with the devices that were.
            dead = len(self._known.model.devices) - agents
            rule = f"there are {plural(agents, 'device')}" + (f" beside {dead} dead" if dead else "")
            raise BadOptionError("--k", k, rule) from error

    def _planned(self, path: str) -> PlanDocument:
        try:
            text = Path(path).expanduser().read_text("utf-8")
        except FileNotFoundError:
            raise NoSuchFileError(path) from None
        except UnicodeDecodeError as error:
            raise UnreadableFileError(path, "it is no text") from error
        except OSError as error:
            raise UnreadableFileError(path, reason(error)) from error
        document, known = read(text, path), self._known
        check(
            document, path, model=self._model.name, sha256=self._model.sha256, inputs=None, fleet=known.fleet or None,
            devices=[device.name for device in known.model.devices], profile=known.profile,
        )  # fmt: skip
        shapes = resolve_input_shapes(self._model, document.inputs)
        prepared = find_layers(self._model, shapes)
        check_plan(document.plan, prepared.layers, find_segments(prepared), source=path, text=text)
        return document

    def _baselines(self) -> list[Row]:
        request, whole = self._request, whole_model(self._prepared)
        picture = sum(FLOAT * math.prod(shape) for shape in self._prepared.input_shapes.values())
        alone = single_device(
            whole, self._known.model, self._straggling, picture_bytes=picture, seed=request.seed,
            inferences=request.inferences,
        )  # fmt: skip
        rows = []
        if alone:
            best = min(alone, key=lambda name: sorted(alone[name])[len(alone[name]) // 2])
            rows.append(Row(f"{best} alone", None, None, alone[best]))
        rows.append(Row("this machine alone", None, None, (local_seconds(whole, self._known.model.host),)))
        return rows


def _fleet(request: SimulateRequest) -> Modelled:
    """The fleet that is meant: one that was measured, unless devices are to be assumed or there is none."""
    describes = {"--gflops": request.gflops, "--mbit": request.mbit, "--rtt": request.rtt}
    if request.rtt is not None and not 0 < request.rtt < _LONGEST_RTT_MS:
        raise BadOptionError("--rtt", f"{request.rtt:g}", "it must be above 0, and at most a minute")
    devices = request.devices
    if request.fleet is not None:
        for option, value in describes.items():
            if value is not None:
                rule = f"`--fleet {request.fleet}` names devices that were measured"
                raise BadOptionError(option, f"{value:g}", rule)
    elif devices is None and (not exists(None) or any(value is not None for value in describes.values())):
        devices = DEVICES
    found = modelled(
        Source(
            fleet=request.fleet, devices=devices, gflops=request.gflops, mbit=request.mbit,
            host_gflops=request.host_gflops, latency=request.latency,
        )
    )  # fmt: skip
    if request.rtt is None:
        return found
    rtt_s = request.rtt / 1000
    model = replace(found.model, devices=tuple(replace(device, rtt_s=rtt_s) for device in found.model.devices))
    return replace(found, model=model, about=f"{found.about}, round trip {request.rtt:g} ms")


def _numbers(asked: tuple[str, ...]) -> Iterator[int]:
    """The k that were asked for, `6-9` being four of them; each once."""
    seen: set[int] = set()
    for text in asked:
        found = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", text.strip())
        if found is None:
            raise BadOptionError("--k", text, "it is a number, or two with `-` between")
        first, last = int(found[1]), int(found[2] or found[1])
        if not 1 <= first <= last:
            raise BadOptionError("--k", text, "numbers begin at 1 and ascend")
        for k in range(first, last + 1):
            if k not in seen:
                seen.add(k)
                yield k
