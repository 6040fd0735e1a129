"""`cocoi drain`: its options. The work is in `cocoi_cli.commands.draining`."""

from __future__ import annotations

from typing import Annotated

import typer


def drain(
    devices: Annotated[
        list[str], typer.Argument(metavar="DEVICE", show_default=False, help="Names in the fleet file.")
    ],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Use the devices again.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", metavar="S", help="Seconds to wait until nothing is queued on a device.")
    ] = 60.0,
    fleet: Annotated[
        str | None, typer.Option("--fleet", metavar="F", help="Fleet file. [default: $COCOI_FLEET, else your own]")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="As everywhere; nothing is asked here.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors.")] = False,
) -> None:
    """Keep devices out of inference until further notice, and say when they may be unplugged.

    Exit status 4 if a device is still at work after the time to wait.

    Example: cocoi drain shelf-3; then, when it is back: cocoi drain shelf-3 --undo
    """
    del yes
    from cocoi_cli.commands.draining import run  # noqa: PLC0415  (numpy, ssl)

    status = run(tuple(devices), undo=undo, wait_s=wait, fleet=fleet, json=json, quiet=quiet)
    if status:
        raise typer.Exit(status)
