"""`cocoi profile`: its options. The work is in `cocoi_cli.commands.profile_work`."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoi_cli.commands.options import (
    AcceptNew,
    Devices,
    FleetOption,
    Json,
    PasswordFile,
    Quiet,
    SudoPasswordFile,
    Way,
    leave,
)


def profile(
    devices: Devices = None,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Compute also where no agent is installed, in a temporary environment.")
    ] = False,
    agents: Annotated[
        bool, typer.Option("--agents", help="Measure through the agents alone, as inferences use them: no SSH.")
    ] = False,
    rounds: Annotated[
        int, typer.Option("--rounds", metavar="N", min=1, max=50, help="How often everything is measured.")
    ] = 3,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the profile here. [default: beside the fleet's keys]"
        ),
    ] = None,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Measure devices: what they are, their links, and, with an agent, how fast they compute.

    Nothing is changed on them. Computing takes about 20 seconds; --full sends 40 MB first.
    --agents asks the agents instead, which also tells what a share costs beside its convolution.
    """
    from cocoi_cli.commands.profile_work import run  # noqa: PLC0415  (SSH, numpy, ONNX)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(devices or [], way, full=full, agents=agents, rounds=rounds, output=output))
