"""How an inference is to go about its work: by a plan that was written down, by the planner, or by a scheme."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cocoi_cli.commands import modelled
from cocoi_cli.errors import ConfigurationError
from cocoi_cli.model.inputs import UnreadableFileError, reason
from cocoi_cli.planning.plan import AUTO
from cocoi_cli.planning.plan_check import check
from cocoi_cli.planning.plan_reading import read
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.options import PlanOrigin

if TYPE_CHECKING:
    from cocoi_cli.commands.infer import Request
    from cocoi_cli.commands.request import Source
    from cocoi_cli.console import Console
    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.planning.plan import Plan

BY_RULE = "coded"  # what is done where nothing was measured that a planner could decide by


@dataclass(frozen=True, slots=True)
class Way:
    """What was decided before anything starts.

    Attributes:
        scheme: `auto`, `local` or a code family.
        plan: As read from a file; None where there is none.
        origin: That file.
        model: What is known of the fleet; None where the planner is not to be asked.
    """

    scheme: str
    plan: Plan | None = None
    origin: PlanOrigin | None = None
    model: FleetModel | None = None


def choose_way(request: Request, source: Source, model: LoadedModel, console: Console) -> Way:
    """Read the plan that is named, or what is known of the fleet.

    Raises:
        UnreadableFileError, BadPlanFileError: The plan cannot be read.
        OtherModelError, OtherFleetPlanError, StalePlanError: It was made for something else.
        ConfigurationError: The planner is asked for by name, and the fleet was not measured or its profile is unfit.
    """
    if request.plan is not None:
        return _plan(request.plan, source, model)
    sized = request.n is not None or request.k is not None
    if source.inventory is None or request.scheme not in (None, AUTO) or (request.scheme is None and sized):
        return Way(request.scheme or BY_RULE)
    try:
        known = modelled.modelled(modelled.Source(fleet=request.fleet))
    except ConfigurationError as error:
        if request.scheme == AUTO:
            raise
        if isinstance(error, modelled.NoProfileError | modelled.NothingMeasuredError):
            console.note(
                "how fast this fleet computes was not measured, so every layer is coded; "
                "after `cocoi profile --agents` the planner decides"
            )
        else:
            console.warning(f"every layer is coded, as the planner cannot decide: {error.message}")
        return Way(BY_RULE)
    for text in known.warnings:
        console.warning(text)
    return Way(AUTO, model=known.model)


def _plan(path: str, source: Source, model: LoadedModel) -> Way:
    try:
        text = Path(path).expanduser().read_text("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableFileError(path, "it is no text") from error
    except OSError as error:
        raise UnreadableFileError(path, reason(error)) from error
    document = read(text, path)
    members = () if source.agents is None else source.agents.members
    check(
        document,
        path,
        model=model.name,
        sha256=model.sha256,
        inputs=None,
        fleet=None if source.inventory is None else source.inventory.id,
        devices=[member.id for member in members if isinstance(member, AgentAddress)],
        profile="" if source.inventory is None else modelled.profile_date(source.inventory),
    )
    return Way(AUTO, plan=document.plan, origin=PlanOrigin(path, text, document.inputs))
