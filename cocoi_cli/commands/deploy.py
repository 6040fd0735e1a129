"""`cocoi deploy`: its options. The work is in `cocoi_cli.commands.deploy_work`."""

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


def deploy(
    devices: Devices = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    user: Annotated[
        bool, typer.Option("--user", help="Install without root, as a user service that outlives the login.")
    ] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Let devices fetch wheels themselves, checked by the same hashes.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use only the wheels that this machine has; fetch nothing.")
    ] = False,
    fetch_only: Annotated[
        bool, typer.Option("--fetch-only", help="Only fetch the wheels that the devices will need.")
    ] = False,
    runtime: Annotated[
        str | None,
        typer.Option("--runtime", metavar="VERSION", help="Another ONNX Runtime than the tested one, on devices."),
    ] = None,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Install the agent on devices, or bring it up to date.

    Nothing that runs is touched until the new version has been tested on the device; one that
    does not serve is taken back. A second run changes nothing.
    """
    from cocoi_cli.commands.deploy_work import run  # noqa: PLC0415  (SSH, ONNX)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(
        run(
            devices or [],
            way,
            dry_run=dry_run,
            user=user,
            online=online,
            offline=offline,
            fetch_only=fetch_only,
            runtime=runtime,
        )
    )
