"""What can be said about a benchmark before any agent is started: names, sizes, files.

A benchmark takes hours, so whatever can be refused is refused here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cocoi_cli.benchmark.dask_row import is_installed
from cocoi_cli.benchmark.errors import NothingToMeasureError
from cocoi_cli.benchmark.rows import DASK, choose_rows
from cocoi_cli.benchmark.scenario_file import read_scenarios
from cocoi_cli.benchmark.scenarios import choose
from cocoi_cli.benchmark.schedule import generator
from cocoi_cli.codes.registry import schemes
from cocoi_cli.commands.modelled import Source as Known
from cocoi_cli.commands.modelled import modelled
from cocoi_cli.commands.options import DEFAULT_AGENTS
from cocoi_cli.commands.reading import Reader, open_model
from cocoi_cli.commands.request import Source, check_code
from cocoi_cli.errors import ConfigurationError
from cocoi_cli.files import check_writable, make_folder
from cocoi_cli.fleet.agents import usable_agents
from cocoi_cli.fleet.inventory import exists, load, locate, select
from cocoi_cli.model.inputs import NoSuchFileError, is_array
from cocoi_cli.model.pictures import DynamicSizeError, NoImageInputError, shape_text
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.planning.plan import AUTO, LOCAL
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.options import BadOptionError, check_tolerance
from cocoi_cli.shipped import shipped_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.benchmark.rows import Row
    from cocoi_cli.benchmark.scenarios import Scenario
    from cocoi_cli.commands.bench import Request
    from cocoi_cli.model.network import LoadedModel, TensorInfo
    from cocoi_cli.planning.fleet_model import FleetModel

AnyArray = NDArray[Any]
SAMPLE = "stop.png"  # of the shipped pictures


@dataclass(frozen=True, slots=True)
class Subject:
    """A model and what it is run on.

    Attributes:
        model: As loaded.
        tensors: Every input by ONNX name.
        input: Where they come from.
    """

    model: LoadedModel
    tensors: Mapping[str, AnyArray]
    input: str


@dataclass(frozen=True, slots=True)
class Order:
    """A request that was found possible.

    Attributes:
        subjects: Models, in order.
        rows: What is compared, in order.
        scenarios: In order.
        source: Where agents come from.
        model: What was measured of them; None where nothing was, and no row plans by it.
        absent: Name of a row that cannot run to the reason.
    """

    subjects: tuple[Subject, ...]
    rows: tuple[Row, ...]
    scenarios: tuple[Scenario, ...]
    source: Source
    model: FleetModel | None
    absent: Mapping[str, str]


def check_bench(request: Request) -> Order:
    """Refuse what cannot be, read models and inputs, and decide which agents are meant.

    Raises:
        CocoiError: An option, a model, an input, the scenario file or the fleet file is unfit.
    """
    _check_options(request)
    own = {} if request.scenario_file is None else read_scenarios(request.scenario_file)
    usual = "bars" if request.faults is not None else "none"
    scenarios = choose(_words("--scenarios", request.scenarios) or [usual], own)
    able = (AUTO, LOCAL, *schemes())
    rows = choose_rows(_words("--schemes", request.schemes), able)
    source = _source(request)
    model, without = fleet_model(request, source, rows)
    absent = absent_rows(request, source, rows, without)
    for path in (request.output, request.markdown):
        if path is not None:
            check_writable(path)
    if request.plots is not None:
        make_folder(request.plots)
    return Order(_subjects(request), rows, scenarios, source, model, absent)


def fleet_model(request: Request, source: Source, rows: Sequence[Row]) -> tuple[FleetModel | None, str]:
    """What the planner decides by, or why there is nothing; that is an error only where `auto` was named.

    Raises:
        CocoiError: The profile that is named is unfit, or absent and needed.
    """
    if not any(row.scheme == AUTO for row in rows):
        return None, ""
    if source.agents is None:
        rule = "the planner needs a fleet that was measured, not embedded agents"
        if request.schemes is not None:
            raise BadOptionError("--schemes", request.schemes, rule)
        return None, rule
    try:
        known = modelled(Known(fleet=request.fleet, profile=request.profile, host_gflops=request.host_gflops))
    except ConfigurationError as error:
        if request.schemes is not None or request.profile is not None:
            raise
        return None, error.message
    return known.model, ""


def absent_rows(request: Request, source: Source, rows: Sequence[Row], without: str) -> dict[str, str]:
    """Rows that no scenario can run, and why.

    Args:
        request: What was typed.
        source: Where agents come from.
        rows: All that are asked for.
        without: Why the planner cannot decide; empty where it can.

    Raises:
        NothingToMeasureError: If no row is left.
    """
    found = {row.name: without for row in rows if row.scheme == AUTO and without}
    for row in rows:
        if row.kind == DASK and not is_installed():
            found[row.name] = "dask.distributed is not installed"
        elif row.kind == DASK and request.dask is None and source.agents is not None:
            found[row.name] = "no scheduler was named whose workers run on the devices"
    if len(found) == len(rows):
        raise NothingToMeasureError(found)
    return found


def _check_options(request: Request) -> None:
    if request.embedded is not None:
        if request.embedded < 1:
            raise BadOptionError("--embedded", request.embedded, "a fleet has at least 1 agent")
        if request.fleet is not None:
            raise BadOptionError("--embedded", request.embedded, f"`--fleet {request.fleet}` names other agents")
        for option, value in (("--profile", request.profile), ("--host-gflops", request.host_gflops)):
            if value is not None:
                raise BadOptionError(option, value, "agents of `--embedded` share this machine and are not planned for")
        if request.faults is not None:
            rule = "agents of `--embedded` are frozen and killed without a script"
            raise BadOptionError("--faults", request.faults, rule)
    check_code(request.n, request.k)
    check_tolerance("--tolerance", request.tolerance)
    if not (math.isfinite(request.deadline) and request.deadline > 0):
        raise BadOptionError("--deadline", f"{request.deadline:g}", "seconds must be above 0")
    if request.resume and request.output is None:
        raise BadOptionError("--resume", "", "`-o` names the results to go on with")


def _words(option: str, text: str | None) -> list[str] | None:
    if text is None:
        return None
    words = [word for word in (each.strip() for each in text.split(",")) if word]
    if not words:
        raise BadOptionError(option, f"`{text}`", "it names nothing")
    return words


def _source(request: Request) -> Source:
    if request.embedded is None and (request.fleet is not None or exists(None)):
        inventory = load(locate(request.fleet))
        select(inventory, ())  # refuses a fleet without devices
        agents = usable_agents(inventory)
        _check_agents(request, sum(isinstance(member, AgentAddress) for member in agents.members))
        return Source(inventory=inventory, agents=agents)
    if request.faults is not None:
        raise BadOptionError("--faults", request.faults, "there is no fleet file with devices to harm")
    source = Source(embedded=DEFAULT_AGENTS if request.embedded is None else request.embedded)
    _check_agents(request, source.embedded)
    return source


def _check_agents(request: Request, agents: int) -> None:
    for symbol, asked in (("n", request.n), ("k", request.k)):
        if asked is not None and asked > agents:
            raise TooFewAgentsError(asked=asked, live=agents, symbol=symbol)


def _subjects(request: Request) -> tuple[Subject, ...]:
    subjects = tuple(_subject(name, request) for name in request.models or (None,))
    names = [subject.model.name for subject in subjects]
    for name in names:
        if names.count(name) > 1:
            raise BadOptionError("MODEL", name, "two models have this name, and tables could not tell them apart")
    return subjects


def _subject(name: str | None, request: Request) -> Subject:
    model = open_model(name)
    if request.image is not None:
        if not Path(request.image).exists():
            raise NoSuchFileError(request.image)
        reader = Reader(model, None, pictures=not is_array(request.image))
        return Subject(model, reader.read(request.image).tensors, request.image)
    try:
        sample = shipped_samples() / SAMPLE
        return Subject(model, Reader(model, None, pictures=True).read(str(sample)).tensors, SAMPLE)
    except (NoImageInputError, DynamicSizeError):
        return Subject(model, random_tensors(model, request.seed), f"random numbers, seed {request.seed}")


def random_tensors(model: LoadedModel, seed: int) -> dict[str, AnyArray]:
    """Normal numbers for every input; for integer inputs whole ones from 0 to 255 or the type's largest.

    Raises:
        DynamicSizeError: If a size other than the batch's is open.
    """
    return {info.name: _random(model, info, seed) for info in model.inputs}


def _random(model: LoadedModel, info: TensorInfo, seed: int) -> AnyArray:
    if info.shape is None:
        raise DynamicSizeError(model.name, info.name, "any")
    sizes = (1 if place == 0 and not isinstance(size, int) else size for place, size in enumerate(info.shape))
    shape = [size for size in sizes if isinstance(size, int)]
    if len(shape) != len(info.shape):
        raise DynamicSizeError(model.name, info.name, shape_text(info))
    random = generator(seed, "input", info.name)
    if info.dtype.startswith("float"):
        values: AnyArray = random.standard_normal(shape).astype(info.dtype)
        return values
    if info.dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    return random.integers(0, 127 if info.dtype == "int8" else 255, shape).astype(info.dtype)
