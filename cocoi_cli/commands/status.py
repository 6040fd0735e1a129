"""`cocoi status`: its options. The work is in `cocoi_cli.commands.status_work`."""

from __future__ import annotations

from typing import Annotated

import typer


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Ask again every 2 seconds, until Ctrl-C.")] = False,
    fleet: Annotated[
        str | None, typer.Option("--fleet", metavar="F", help="Fleet file. [default: $COCOI_FLEET, else your own]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the line about redundancy.")] = False,
) -> None:
    """Ask every agent of the fleet how it is.

    Exit status 0 while at least k agents are up that are not drained, as many as are enough
    by default (two fewer than the fleet has devices, below five devices one fewer); 4 otherwise.
    """
    from cocoi_cli.commands.status_work import run  # noqa: PLC0415  (numpy, ssl, rich)

    found = run(fleet, watch=watch, json=json, quiet=quiet)
    if found:
        raise typer.Exit(found)
