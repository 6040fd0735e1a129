"""`cocoi infer`: its options. The work is in `cocoi_cli.commands.inference`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from cocoi_cli.commands.options import (
    Deadline,
    Embedded,
    Json,
    Shares,
    ToleranceOption,
    TransportOption,
    UsableFleet,
    leave,
)

if TYPE_CHECKING:
    from cocoi_cli.api import Fleet
    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.planning.fleet_model import FleetModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was typed after `cocoi infer`; the options' help says what each field is."""

    inputs: tuple[str, ...]
    model: str | None = None
    fleet: str | None = None
    embedded: int | None = None
    n: int | None = None
    k: int | None = None
    scheme: str | None = None
    plan: str | None = None
    transport: str = "f16"
    tolerance: float | None = None
    top: int = 5
    labels: str | None = None
    preprocess: str | None = None
    output: str | None = None
    deadline: float = 60.0
    fallback: bool = True
    trace: str | None = None
    check: bool = False
    verify: bool = False
    kill: int = 0
    json: bool = False
    quiet: bool = False


def open_fleet(scheme: str, agents: int) -> Fleet:
    """Start the agents of an embedded fleet, or none where the scheme needs none.

    The caller closes it. A module-level name, so that tests can put a fake in its place.
    """
    from cocoi_cli.api import Fleet  # noqa: PLC0415  (numpy, ONNX and ONNX Runtime)

    return Fleet.none() if scheme == "local" else Fleet.embedded(agents)


def open_deployed(agents: Agents, model: FleetModel | None) -> Fleet:
    """Connect to the agents of a fleet file, of which `model` is known; otherwise as `open_fleet`."""
    from cocoi_cli.api import Fleet, rehearsals_path  # noqa: PLC0415  (numpy, ONNX and ONNX Runtime)

    return Fleet.deployed(agents.members, agents.identity, rehearsals=rehearsals_path(), model=model)


def infer(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Pictures, folders of pictures, .npy (one input) or .npz (arrays under the ONNX input names).",
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", metavar="M", help="ONNX file, or name of a shipped model. [default: roadsigns]"),
    ] = None,
    fleet: UsableFleet = None,
    embedded: Embedded = None,
    n: Shares = None,
    k: Annotated[
        int | None,
        typer.Option(
            "--k", metavar="K", help="Answers that are enough. [default: the scheme's; coded: n-2, below five n-1]"
        ),
    ] = None,
    scheme: Annotated[
        str | None,
        typer.Option(
            "--scheme",
            metavar="S",
            help="auto (the planner), local, or a code: coded, uncoded, replication, hedged, lt, cocoi, fcdcc. "
            "[default: auto where the fleet was measured and neither --n nor --k is given, else coded]",
        ),
    ] = None,
    plan: Annotated[
        str | None, typer.Option("--plan", metavar="P.toml", help="Do as a plan of `cocoi plan -o` says.")
    ] = None,
    transport: TransportOption = "f16",
    tolerance: ToleranceOption = None,
    top: Annotated[int, typer.Option("--top", metavar="N", help="How many classes to show.")] = 5,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="L", help="Labels, one per line, or JSON. [default: the model's]")
    ] = None,
    preprocess: Annotated[
        str | None,
        typer.Option("--preprocess", metavar="P", help="How pictures are prepared, JSON. [default: the model's]"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT", help="Write OUT.npz (all outputs), OUT.png, OUT.json, or into a folder."
        ),
    ] = None,
    deadline: Deadline = 60.0,
    no_fallback: Annotated[
        bool, typer.Option("--no-fallback", help="Fail instead of computing here what agents cannot.")
    ] = False,
    trace: Annotated[
        str | None, typer.Option("--trace", metavar="T.json", help="Write a timeline for ui.perfetto.dev.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare with plain ONNX Runtime; over tolerance is exit 1.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Ask for spare answers afterwards: who errs is named, and left out.")
    ] = False,
    kill: Annotated[
        int, typer.Option("--kill", metavar="N", help="Kill N embedded agents in the middle of the first input.")
    ] = 0,
    json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the answer, one line per input.")] = False,
) -> None:
    """Run a model on pictures or arrays, spread over a fleet of agents.

    The devices of your fleet file are used; those that are down cost a warning. Without a fleet
    file, agents are started on this machine.

    Example: cocoi infer photo.jpg --embedded 6 --check --kill 1
    """
    from cocoi_cli.commands.inference import run  # noqa: PLC0415  (numpy, Pillow, ONNX)

    request = Request(
        inputs=tuple(inputs),
        model=model,
        fleet=fleet,
        embedded=embedded,
        n=n,
        k=k,
        scheme=scheme,
        plan=plan,
        transport=transport,
        tolerance=tolerance,
        top=top,
        labels=labels,
        preprocess=preprocess,
        output=output,
        deadline=deadline,
        fallback=not no_fallback,
        trace=trace,
        check=check,
        verify=verify,
        kill=kill,
        json=json,
        quiet=quiet,
    )
    leave(run(request, open_fleet, open_deployed))
