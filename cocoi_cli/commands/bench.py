"""`cocoi bench`: its options. The work is in `cocoi_cli.commands.bench_work`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cocoi_cli.commands.options import (
    Deadline,
    Embedded,
    Json,
    Profile,
    Quiet,
    Seed,
    Shares,
    ToleranceOption,
    Transport,
    UsableFleet,
    leave,
)

if TYPE_CHECKING:
    from cocoi_cli.api import Fleet
    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.runtime.host import Kernels

HostKernelsWord = Literal["thread", "process"]

DEFAULT_INFERENCES = 30
DEFAULT_WARM_UP = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was typed after `cocoi bench`; the options' help says what each field is."""

    models: tuple[str, ...] = ()
    fleet: str | None = None
    embedded: int | None = None
    schemes: str | None = None
    scenarios: str | None = None
    scenario_file: str | None = None
    faults: str | None = None
    profile: str | None = None
    host_gflops: float | None = None
    inferences: int = DEFAULT_INFERENCES
    warm_up: int = DEFAULT_WARM_UP
    transport: str = "f16"
    tolerance: float | None = None
    n: int | None = None
    k: int | None = None
    image: str | None = None
    seed: int = 1
    output: str | None = None
    plots: str | None = None
    markdown: str | None = None
    host_kernels: str = "thread"
    dask: str | None = None
    deadline: float = 60.0
    resume: bool = False
    json: bool = False
    quiet: bool = False


def make_kernels(where: str) -> Kernels:
    """What computes the coordinator's own part: in this process, or in a child that a quota can be put on.

    Whoever opens a fleet hands them over to it. A module-level name, as are the two below, so that tests can put a
    fake in its place.
    """
    if where == "process":
        from cocoi_cli.runtime.kernel_process import KernelProcess  # noqa: PLC0415  (ONNX Runtime, a process)

        return KernelProcess(threads=1)  # of a device's share of one core, two would wait for each other
    from cocoi_cli.runtime.host import HostKernels  # noqa: PLC0415  (ONNX Runtime)

    return HostKernels()


def open_embedded(agents: int, kernels: Kernels) -> Fleet:
    """So many agents on this machine; the caller enters and closes the fleet."""
    from cocoi_cli.api import Fleet, rehearsals_path  # noqa: PLC0415  (numpy, ONNX and ONNX Runtime)
    from cocoi_cli.runtime.embedded import EmbeddedFleet  # noqa: PLC0415  (as above)
    from cocoi_cli.runtime.engine import Engine  # noqa: PLC0415  (as above)
    from cocoi_cli.runtime.rehearsals import Rehearsals  # noqa: PLC0415  (as above)

    return Fleet(lambda: Engine(EmbeddedFleet(agents), Rehearsals(rehearsals_path()), kernels=kernels))


def open_deployed(agents: Agents, kernels: Kernels, model: FleetModel | None) -> Fleet:
    """Connect to the agents of a fleet file, with what was measured of them; otherwise as `open_embedded`."""
    from cocoi_cli.api import Fleet, rehearsals_path  # noqa: PLC0415  (numpy, ONNX and ONNX Runtime)
    from cocoi_cli.runtime.deployed import DeployedFleet  # noqa: PLC0415  (as above)
    from cocoi_cli.runtime.engine import Engine  # noqa: PLC0415  (as above)
    from cocoi_cli.runtime.host import HostKernels  # noqa: PLC0415  (as above)
    from cocoi_cli.runtime.rehearsals import Rehearsals  # noqa: PLC0415  (as above)

    devices = DeployedFleet(tuple(agents.members), agents.identity)
    # A benchmark may hold the coordinator's kernels back; what is not timed need not wait for them.
    return Fleet(lambda: Engine(devices, Rehearsals(rehearsals_path()), model, kernels, HostKernels()))


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL", show_default=False, help="ONNX files, or names of shipped models. [default: roadsigns]"
        ),
    ] = None,
    *,
    fleet: UsableFleet = None,
    embedded: Embedded = None,
    schemes: Annotated[
        str | None,
        typer.Option(
            "--schemes",
            metavar="S,…",
            help="auto, coded, uncoded, uncoded-forgetful, replication, lt, cocoi, fcdcc, hedged, local, device, "
            "round-robin, dask. [default: all but the last two]",
        ),
    ] = None,
    scenarios: Annotated[
        str | None,
        typer.Option(
            "--scenarios",
            metavar="S,…",
            help="none, delay, dead-1, dead-2, frozen-1, frozen-2, dying-1, dying-2, both-1, both-2, two-slow, "
            "bimodal, those of --scenario-file; or groups: failures, both, paper, bars, all. "
            "[default: none; with --faults: bars]",
        ),
    ] = None,
    scenario_file: Annotated[
        str | None, typer.Option("--scenario-file", metavar="F.toml", help="Scenarios of your own.")
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option("--faults", metavar="SCRIPT", help="Executable that harms devices; see docs/benchmark.md."),
    ] = None,
    profile: Profile = None,
    host_gflops: Annotated[
        float | None,
        typer.Option("--host-gflops", metavar="G", help="GFLOP/s of this machine, for `auto`. [default: measured]"),
    ] = None,
    inferences: Annotated[
        int, typer.Option("--inferences", metavar="N", min=1, help="Per scheme and scenario; p99 needs 500.")
    ] = DEFAULT_INFERENCES,
    warm_up: Annotated[
        int, typer.Option("--warm-up", metavar="N", min=1, help="Inferences before those that count.")
    ] = DEFAULT_WARM_UP,
    transport: Annotated[
        Transport, typer.Option("--transport", metavar="T", help="Of schemes that fix none: f16 or f32.")
    ] = "f16",
    tolerance: ToleranceOption = None,
    n: Shares = None,
    k: Annotated[
        int | None, typer.Option("--k", metavar="K", help="Answers that are enough, for coded, cocoi and dask.")
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="I", help="Picture or arrays. [default: a sample, else random numbers]"),
    ] = None,
    seed: Seed = 1,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT.json", help="Write every latency; kept up to date.")
    ] = None,
    plots: Annotated[
        str | None, typer.Option("--plots", metavar="FOLDER", help="Write figures; needs matplotlib.")
    ] = None,
    markdown: Annotated[
        str | None, typer.Option("--markdown", metavar="FILE", help="Write the tables for a document.")
    ] = None,
    host_kernels: Annotated[
        HostKernelsWord,
        typer.Option(
            "--host-kernels", metavar="W", help="The coordinator's own convolutions: in a thread, or in a process."
        ),
    ] = "thread",
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Scheduler of the scheme dask. [default: started here]"),
    ] = None,
    deadline: Deadline = 60.0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what `-o` has of an interrupted benchmark.")
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure schemes against each other, under stragglers and failures.

    Schemes run in turns, so ratios hold on a busy machine too. Ctrl-C keeps what was measured, and
    --resume goes on with it.

    Example: cocoi bench --embedded 4 --schemes uncoded,coded --scenarios none,frozen-1
    """
    from cocoi_cli.commands.bench_work import run  # noqa: PLC0415  (numpy, ONNX, ONNX Runtime)

    request = Request(
        models=tuple(models or ()),
        fleet=fleet,
        embedded=embedded,
        schemes=schemes,
        scenarios=scenarios,
        scenario_file=scenario_file,
        faults=faults,
        profile=profile,
        host_gflops=host_gflops,
        inferences=inferences,
        warm_up=warm_up,
        transport=transport,
        tolerance=tolerance,
        n=n,
        k=k,
        image=image,
        seed=seed,
        output=output,
        plots=plots,
        markdown=markdown,
        host_kernels=host_kernels,
        dask=dask,
        deadline=deadline,
        resume=resume,
        quiet=quiet,
        json=json,
    )
    leave(run(request))
