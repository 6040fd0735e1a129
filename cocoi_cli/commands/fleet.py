"""`cocoi fleet`: its options. The work is in `cocoi_cli.commands.fleet_work` and its neighbours."""

from __future__ import annotations

from typing import Annotated

import typer

from cocoi_cli.commands.options import (
    AcceptNew,
    FleetOption,
    Json,
    PasswordFile,
    Quiet,
    SudoPasswordFile,
    Way,
    Yes,
    leave,
)

app = typer.Typer(
    name="fleet",
    help="The devices that cocoi may use: add, find, list and remove them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Unchecked = Annotated[bool, typer.Option("--unchecked", help="Write down what is given without contacting anything.")]


@app.command("add")
def add(
    targets: Annotated[
        list[str],
        typer.Argument(metavar="TARGET", show_default=False, help="[user@]host[:port], or an alias of ssh."),
    ],
    *,
    name: Annotated[
        str | None, typer.Option("--name", metavar="N", help="Name in the fleet. [default: what it calls itself]")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", metavar="A", help="Where its agent listens. [default: where ssh goes]")
    ] = None,
    unchecked: Unchecked = False,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Contact devices by SSH and write them into the fleet file.

    The first one begins the fleet. Example: cocoi fleet add pi@192.168.1.11 pi@192.168.1.12
    """
    from cocoi_cli.commands.fleet_adding import add_targets  # noqa: PLC0415  (SSH)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(add_targets(targets, way, name=name, address=address, unchecked=unchecked))


@app.command("discover")
def discover(
    *,
    interface: Annotated[
        str | None, typer.Option("--interface", metavar="I", help="Network interface to look on. [default: all]")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", metavar="S", min=0.1, max=600, help="How long to listen.")] = 5,
    add: Annotated[bool, typer.Option("--add", help="Offer to add the new ones.")] = False,
    login: Annotated[
        str | None, typer.Option("--login", metavar="U", help="User name on devices that are added. [default: ssh's]")
    ] = None,
    unchecked: Unchecked = False,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Look for devices that announce themselves (mDNS).

    Finds those that are new, and those of the fleet that have another address now.
    """
    from cocoi_cli.commands.fleet_finding import discover_devices  # noqa: PLC0415  (zeroconf)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(discover_devices(way, interface=interface, seconds=seconds, add=add, login=login, unchecked=unchecked))


@app.command("import")
def import_(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", show_default=False, help="Ansible inventory, ssh configuration, or what export wrote."
        ),
    ],
    *,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="G", help="Group of the inventory; for ssh a pattern of aliases: 'pi-*'."),
    ] = None,
    unchecked: Unchecked = False,
    fleet: FleetOption = None,
    accept_new: AcceptNew = False,
    password_file: PasswordFile = None,
    sudo_password_file: SudoPasswordFile = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Add devices that another file names, or take over a fleet.

    The file is an Ansible inventory, an ssh configuration, or what `cocoi fleet export` wrote.

    Example: cocoi fleet import ~/.ssh/config --group 'pi-*'
    """
    from cocoi_cli.commands.fleet_importing import import_file  # noqa: PLC0415  (YAML, SSH)

    way = Way(
        fleet=fleet, accept_new=accept_new, password_file=password_file, sudo_password_file=sudo_password_file,
        yes=yes, quiet=quiet, json=json,
    )  # fmt: skip
    leave(import_file(file, way, group=group, unchecked=unchecked))


@app.command("list")
def list_(*, fleet: FleetOption = None, quiet: Quiet = False, json: Json = False) -> None:
    """List the devices of the fleet, and name its file."""
    from cocoi_cli.commands.fleet_work import list_devices  # noqa: PLC0415  (tables)

    list_devices(Way(fleet=fleet, quiet=quiet, json=json))


@app.command("remove")
def remove(
    devices: Annotated[list[str], typer.Argument(metavar="DEVICE", show_default=False, help="Names of devices.")],
    *,
    fleet: FleetOption = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Take devices out of the fleet file.

    Their keys are removed from this machine. Nothing changes on the devices: `cocoi uninstall`
    takes the agent off them first.
    """
    from cocoi_cli.commands.fleet_work import remove_devices  # noqa: PLC0415  (keys)

    remove_devices(devices, Way(fleet=fleet, yes=yes, quiet=quiet, json=json))


@app.command("export")
def export(
    output: Annotated[str, typer.Argument(metavar="OUT", show_default=False, help="File to write.")],
    *,
    fleet: FleetOption = None,
    yes: Yes = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Write the fleet into one file, for a second host.

    It holds this host's private key. There, `cocoi fleet import OUT` makes the fleet usable without deploying anew.
    """
    from cocoi_cli.commands.fleet_work import export_fleet  # noqa: PLC0415  (keys)

    export_fleet(output, Way(fleet=fleet, yes=yes, quiet=quiet, json=json))
