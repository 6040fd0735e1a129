"""What can be said about a request before anything is read or started."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.codes.errors import UnknownSchemeError
from cocoi_cli.codes.registry import schemes
from cocoi_cli.errors import ConfigurationError, UsageError
from cocoi_cli.planning.defaults import LOCAL
from cocoi_cli.planning.errors import BadSizeError, TooFewAgentsError
from cocoi_cli.runtime.options import BadOptionError

if TYPE_CHECKING:
    from cocoi_cli.commands.infer import Request

FORMATS = (".npz", ".png", ".json")


class BadOutputNameError(UsageError):
    """The name given with `-o` says no format that can be written, or does not fit the inputs."""

    code: ClassVar[str] = "bad-output-name"

    def __init__(self, output: str, found: str) -> None:
        super().__init__(f"`-o {output}`: {found}", output=output, found=found)


class FleetFileError(ConfigurationError):
    """A fleet file was named, and this release has none."""

    code: ClassVar[str] = "fleet-file"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"fleet file `{path}`: this release runs embedded fleets only and reads no fleet file", path=path
        )


def check_request(request: Request, default_agents: int) -> int:
    """Refuse impossible options.

    Args:
        request: What was typed.
        default_agents: Agents of an embedded fleet when none are asked for.

    Returns:
        How many embedded agents to start; 0 for the scheme `local`.

    Raises:
        FleetFileError: If a fleet file is named.
        UnknownSchemeError: If no code family has this name.
        BadOptionError, BadSizeError, TooFewAgentsError: As they say.
    """
    if request.fleet is not None:
        raise FleetFileError(request.fleet)
    agents = default_agents if request.embedded is None else request.embedded
    if agents < 1:
        raise BadOptionError("--embedded", agents, "a fleet has at least 1 agent")
    if request.scheme != LOCAL and request.scheme not in schemes():
        raise UnknownSchemeError(request.scheme, (LOCAL, *schemes()))
    _check_code(request.n, request.k)
    if request.scheme != LOCAL:
        _check_agents(request, agents)
    if request.top < 1:
        raise BadOptionError("--top", request.top, "at least 1 class is shown")
    if not (math.isfinite(request.deadline) and request.deadline > 0):
        raise BadOptionError("--deadline", f"{request.deadline:g}", "seconds must be above 0")
    if request.kill < 0:
        raise BadOptionError("--kill", request.kill, "the number of agents cannot be below 0")
    if request.kill and request.scheme == LOCAL:
        raise BadOptionError("--kill", request.kill, "the scheme `local` has no agents")
    if request.kill > agents:
        raise BadOptionError("--kill", request.kill, f"the fleet has {agents} agents")
    return 0 if request.scheme == LOCAL else agents


def _check_agents(request: Request, agents: int) -> None:
    for symbol, asked in (("n", request.n), ("k", request.k)):
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


def _check_code(n: int | None, k: int | None) -> None:
    if n is not None and n < 1:
        raise BadSizeError(n=n, k=k, rule="`n` must be at least 1")
    if k is not None and k < 1:
        raise BadSizeError(n=n, k=k, rule="`k` must be at least 1")
    if n is not None and k is not None and k > n:
        raise BadSizeError(n=n, k=k, rule="`k` must not be above `n`")
