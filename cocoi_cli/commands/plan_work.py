"""What `cocoi plan` does: look at the model and the fleet, decide, show and write the plan."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import cocoi_agent
from cocoi_cli.codes.errors import UnknownSchemeError
from cocoi_cli.codes.registry import schemes
from cocoi_cli.commands.modelled import modelled
from cocoi_cli.commands.reading import open_model
from cocoi_cli.commands.sizes import chosen_sizes
from cocoi_cli.console import Console
from cocoi_cli.files import check_writable, write
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.segments import find_segments
from cocoi_cli.model.weights import bytes_beside
from cocoi_cli.planning.best_k import best_k
from cocoi_cli.planning.candidates import CHOICES
from cocoi_cli.planning.plan import AUTO, FUSED, LOCAL
from cocoi_cli.planning.plan_file import PlanDocument, to_json, to_toml
from cocoi_cli.planning.planner import decide
from cocoi_cli.planning.request import Request
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.plan import baselines, outcome, plan_document, plan_table, why_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.commands.modelled import Source
    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.planning.best_k import BestK
    from cocoi_cli.planning.fleet_model import FleetModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was typed after `cocoi plan` beside the fleet; the options' help says what each field is."""

    model: str
    objective: str = "mean"
    transport: str = "f16"
    scheme: str = AUTO
    size: str | None = None
    host: bool = True
    why: bool = False
    output: str | None = None
    quiet: bool = False
    json: bool = False


def run(source: Source, wish: Wish) -> int:
    """Carry out `cocoi plan`; returns the exit status.

    Raises:
        CocoiError: An option, the model, the fleet file or its profile is unfit, or the plan cannot be written.
    """
    console = Console(json=wish.json, quiet=wish.quiet)
    request = _request(wish)
    if wish.output is not None:
        check_writable(wish.output)
    model = open_model(wish.model)
    sizes = chosen_sizes(model, wish.size)
    fleet = modelled(source)
    for text in fleet.warnings:
        console.warning(text)
    prepared = find_layers(model, sizes.shapes)
    with console.busy("planning"):
        request = replace(request, bytes_beside=bytes_beside(prepared))
        decided = decide(prepared.layers, find_segments(prepared), fleet.model, request)
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    document = PlanDocument(
        plan=decided.plan,
        model=model.name,
        sha256=model.sha256,
        inputs=sizes.shapes,
        fleet=fleet.fleet,
        profile=fleet.profile,
        made=made,
        cocoi=cocoi_agent.__version__,
    )
    if wish.output is not None:
        is_json = Path(wish.output).suffix.lower() == ".json"
        write(wish.output, (to_json(document) if is_json else to_toml(document)).encode())
    choices = _choices(prepared, decided.fleet) if wish.why or wish.json else {}
    if wish.json:
        console.document(json_text(plan_document(document, decided, choices, wish.output)))
        return 0
    console.note(f"{model.name} on {fleet.about}")
    if sizes.assumed:
        console.note(sizes.assumed)
    console.print_result(plan_table(decided))
    if wish.why:
        console.result("")
        console.result(why_text(decided, choices))
    if wish.output is not None:
        console.note(f"written: {wish.output}")
    console.result("")
    console.result(outcome(decided))
    console.result(baselines(decided))
    return 0


def _request(wish: Wish) -> Request:
    """What the planner may use.

    Raises:
        UnknownSchemeError: If the scheme names none.
        BadObjectiveError: If the objective is none.
    """
    allowed: tuple[str, ...] = CHOICES
    if wish.scheme != AUTO:
        if wish.scheme not in (LOCAL, FUSED, *schemes()):
            raise UnknownSchemeError(wish.scheme, (AUTO, LOCAL, FUSED, *schemes()))
        allowed = tuple(dict.fromkeys((LOCAL, wish.scheme)))
    return Request(objective=wish.objective, transport=wish.transport, schemes=allowed, host=wish.host)


def _choices(prepared: Prepared, fleet: FleetModel) -> Mapping[str, BestK]:
    """k* and k° of every layer that can be cut."""
    found = {layer.name: best_k(layer, fleet) for layer in prepared.layers}
    return {name: each for name, each in found.items() if each is not None}
