"""`cocoi restart`, `rollback`, `rotate`, `uninstall` and `logs`: their options. The work is in `operate_work`."""

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


def restart(
    devices: Devices = None,
    *,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Restart agents, so few at a time that the others can do without them."""
    from cocoi_cli.commands.operate_work import restart as run  # noqa: PLC0415  (SSH, ONNX)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(devices or [], way))


def rollback(
    devices: Devices = None,
    *,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Go back to the version before the present one, which each device still has."""
    from cocoi_cli.commands.operate_work import rollback as run  # noqa: PLC0415  (SSH, ONNX)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(devices or [], way))


def uninstall(
    devices: Devices = None,
    *,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Take the agent off devices: program, service, keys, weights. Nothing of it stays.

    The devices stay in the fleet file; `cocoi fleet remove` takes them out.
    """
    from cocoi_cli.commands.operate_work import uninstall as run  # noqa: PLC0415  (SSH, ONNX)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(devices or [], way))


def rotate(
    *,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Give this host and every agent new certificates; the fleet serves meanwhile.

    Whoever holds the old ones is refused from then on, and what they have connected is closed.
    """
    from cocoi_cli.commands.rotate_work import run  # noqa: PLC0415  (SSH, ONNX)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(way))


def logs(
    devices: Devices = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", min=1, help="Last lines of each device.")] = 50,
    since: Annotated[
        str | None, typer.Option("--since", metavar="T", help="Only lines from then on, e.g. '1 hour ago'.")
    ] = None,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Show the journals of all agents as one, dated by this machine's clock.

    With --json one document per line.
    """
    from cocoi_cli.commands.logs_work import run  # noqa: PLC0415  (SSH)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(run(devices or [], way, follow=follow, lines=lines, since=since))
