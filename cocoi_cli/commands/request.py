"""What can be said about a request before anything is read or started."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.codes.errors import UnknownSchemeError
from cocoi_cli.codes.registry import schemes, traits
from cocoi_cli.errors import UsageError
from cocoi_cli.fleet.agents import usable_agents
from cocoi_cli.fleet.inventory import exists, load, locate, select
from cocoi_cli.planning.errors import BadSizeError, TooFewAgentsError
from cocoi_cli.planning.plan import AUTO, LOCAL
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.options import BadOptionError, check_tolerance

if TYPE_CHECKING:
    from cocoi_cli.commands.infer import Request
    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.fleet.records import Inventory

FORMATS = (".npz", ".png", ".json")


class BadOutputNameError(UsageError):
    """The name given with `-o` says no format that can be written, or does not fit the inputs."""

    code: ClassVar[str] = "bad-output-name"

    def __init__(self, output: str, found: str) -> None:
        super().__init__(f"`-o {output}`: {found}", output=output, found=found)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the agents of a request come from.

    Attributes:
        embedded: How many to start on this machine; 0 for none of them.
        inventory: The fleet file whose devices are used; None where none is.
        agents: What connecting to them needs; None without a fleet file.
    """

    embedded: int = 0
    inventory: Inventory | None = None
    agents: Agents | None = None


def check_request(request: Request, default_agents: int) -> Source:
    """Refuse impossible options, and decide which agents are meant.

    Args:
        request: What was typed.
        default_agents: Agents of an embedded fleet when none are asked for and there is no fleet file.

    Raises:
        ConfigurationError: The fleet file that is named does not exist, or it or its keys are unfit.
        NotDeployedError: No device of the fleet file has an agent.
        UnknownSchemeError: If no code family has this name.
        BadOptionError, BadSizeError, TooFewAgentsError: As they say.
    """
    if request.embedded is not None:
        if request.embedded < 1:
            raise BadOptionError("--embedded", request.embedded, "a fleet has at least 1 agent")
        if request.fleet is not None:
            raise BadOptionError("--embedded", request.embedded, f"`--fleet {request.fleet}` names other agents")
    if request.scheme is not None and request.scheme not in (AUTO, LOCAL, *schemes()):
        raise UnknownSchemeError(request.scheme, (AUTO, LOCAL, *schemes()))
    rateless = request.scheme in schemes() and traits(request.scheme or "").rateless
    check_code(request.n, request.k, rateless=rateless)
    _check_plan(request)
    if request.top < 1:
        raise BadOptionError("--top", request.top, "at least 1 class is shown")
    check_tolerance("--tolerance", request.tolerance)
    if not (math.isfinite(request.deadline) and request.deadline > 0):
        raise BadOptionError("--deadline", f"{request.deadline:g}", "seconds must be above 0")
    if request.kill < 0:
        raise BadOptionError("--kill", request.kill, "the number of agents cannot be below 0")
    if request.scheme == LOCAL:
        if request.kill:
            raise BadOptionError("--kill", request.kill, "the scheme `local` has no agents")
        return Source()
    if request.embedded is None and (request.fleet is not None or exists(None)):
        return _deployed(request)
    return _embedded(request, default_agents if request.embedded is None else request.embedded)


def _embedded(request: Request, agents: int) -> Source:
    if request.scheme == AUTO:
        raise BadOptionError("--scheme", AUTO, "the planner needs a fleet that was measured, not embedded agents")
    _check_agents(request, agents)
    if request.kill > agents:
        raise BadOptionError("--kill", request.kill, f"the fleet has {agents} agents")
    return Source(embedded=agents)


def _deployed(request: Request) -> Source:
    inventory = load(locate(request.fleet))
    select(inventory, ())  # refuses a fleet without devices
    if request.kill:
        raise BadOptionError("--kill", request.kill, "only agents that `--embedded` has started are killed")
    agents = usable_agents(inventory)
    _check_agents(request, sum(isinstance(member, AgentAddress) for member in agents.members))
    return Source(inventory=inventory, agents=agents)


def _check_agents(request: Request, agents: int) -> None:
    rateless = request.scheme is not None and request.scheme in schemes() and traits(request.scheme).rateless
    for symbol, asked in (("n", request.n), ("k", None if rateless else request.k)):
        if asked is not None and asked > agents:
            raise TooFewAgentsError(asked=asked, live=agents, symbol=symbol)


def check_output_name(output: str, inputs: int) -> None:
    """Refuse a name whose ending says no known format, or that is one file for several inputs.

    Raises:
        BadOutputNameError: As said. Names without an ending are folders.
    """
    suffix = Path(output).suffix.lower()
    if is_folder(output):
        return
    if suffix not in FORMATS:
        raise BadOutputNameError(
            output, f"`{suffix}` is no format; known are {', '.join(f'`{each}`' for each in FORMATS)}"
        )
    if inputs > 1 and suffix != ".json":
        raise BadOutputNameError(output, f"one file for {inputs} inputs; several results go into a folder")


def is_folder(output: str) -> bool:
    """Whether `-o` names a folder: it is one, ends in a slash, or has no ending."""
    return Path(output).is_dir() or output.endswith("/") or not Path(output).suffix


def _check_plan(request: Request) -> None:
    """A plan says everything about the code; `auto` decides it."""
    said = {"--scheme": request.scheme, "--n": request.n, "--k": request.k}
    for option, value in said.items():
        if request.plan is not None and value is not None:
            raise BadOptionError(option, value, f"`--plan {request.plan}` decides that")
        if request.scheme == AUTO and option != "--scheme" and value is not None:
            raise BadOptionError(option, value, "with the scheme `auto` the planner decides that")


def check_code(n: int | None, k: int | None, *, rateless: bool = False) -> None:
    """Refuse sizes that no code has; without a largest number of shares k may be above n.

    Raises:
        BadSizeError: As said.
    """
    if n is not None and n < 1:
        raise BadSizeError(n=n, k=k, rule="`n` must be at least 1")
    if k is not None and k < 1:
        raise BadSizeError(n=n, k=k, rule="`k` must be at least 1")
    if n is not None and k is not None and k > n and not rateless:
        raise BadSizeError(n=n, k=k, rule="`k` must not be above `n`")
