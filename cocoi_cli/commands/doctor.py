"""`cocoi doctor`: its options. The work is in `cocoi_cli.commands.doctor_work`."""

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
    Yes,
    leave,
)


def doctor(
    devices: Devices = None,
    *,
    fix: Annotated[bool, typer.Option("--fix", help="Offer to repair what is safe to repair.")] = False,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look for what makes devices slow, unreachable or unfit, and say what to do about each.

    Without --fix nothing is changed. Exit status 4 if a device cannot be reached or cannot work as it is.
    """
    from cocoi_cli.commands.doctor_work import run  # noqa: PLC0415  (SSH)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(devices or [], way, fix=fix))
