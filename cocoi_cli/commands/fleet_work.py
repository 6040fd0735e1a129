"""What `cocoi fleet list`, `remove` and `export` do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cocoi_cli import hints
from cocoi_cli.commands.confirming import confirmed
from cocoi_cli.console import Console
from cocoi_cli.fleet import bundle, keys
from cocoi_cli.fleet.editing import editing
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.views.devices import device_document, devices_table
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.commands.options import Way


def list_devices(way: Way) -> None:
    """Print the fleet.

    Raises:
        NoFleetError, BadFleetFileError, DuplicateDeviceError: As `inventory.load`.
    """
    console = Console(json=way.json, quiet=way.quiet)
    inventory = load(locate(way.fleet))
    if way.json:
        devices = {device.name: device_document(device) for device in inventory.devices}
        head = {"fleet": str(inventory.path), "id": inventory.id, "security": inventory.security}
        console.document(json_text(head | {"devices": devices}))
        return
    security = "" if inventory.security == "tls" else ", without encryption"
    console.result(f"{inventory.path}: {plural(len(inventory.devices), 'device')}{security}")
    if inventory.devices:
        console.print_result(devices_table(inventory.devices))


def remove_devices(names: Sequence[str], way: Way) -> None:
    """Take devices out of the fleet file.

    Raises:
        UnknownDeviceError: If one is not there; then none is removed.
        ConfirmationNeededError: If nobody can be asked and `--yes` was not given.
        DataFolderError: If keys cannot be removed; the devices are out of the fleet file then.
    """
    console = Console(json=way.json, quiet=way.quiet)
    path = locate(way.fleet)
    devices = select(load(path), names)
    listed = ", ".join(f"`{device.name}`" for device in devices)
    if not way.yes and not way.quiet:
        console.note("an agent that is installed on a device stays there, out of reach")
        if advice := hints.for_code("agent-stays", {"devices": [device.name for device in devices]}):
            console.marked("hint", advice)
    if not confirmed(console, f"take {listed} out of `{path}`?", yes=way.yes):
        console.note("nothing was changed")
        return
    with editing(path) as fleet:
        for device in devices:
            fleet.remove(device.name)
    removed = {device.name: keys.forget(fleet.inventory, device.name) for device in devices}
    if way.json:
        console.document(json_text({"fleet": str(path), "devices": {name: {"removed": True} for name in removed}}))
    else:
        console.result(f"removed: {', '.join(removed)}; {plural(len(fleet.inventory.devices), 'device')} left")


def export_fleet(output: str, way: Way) -> None:
    """Write the fleet's bundle.

    Raises:
        NoKeysError: If nothing was deployed yet.
        OutputNotWritableError: If the file cannot be written.
        ConfirmationNeededError: If a file would be replaced, nobody can be asked and `--yes` was not given.
        ConfigurationError: If the fleet file or the keys are unfit.
    """
    console = Console(json=way.json, quiet=way.quiet)
    made = bundle.export(locate(way.fleet))
    target = Path(output).expanduser()
    if target.exists() and not confirmed(console, f"replace `{target}`?", yes=way.yes):
        console.note("nothing was changed")
        return
    bundle.save(made, target)
    console.warning(f"`{target}` holds this host's private key: whoever reads it can use the fleet")
    missing = [device.name for device in made.inventory.devices if device.name not in made.agents]
    if missing:
        console.warning(f"without certificates, because nothing was deployed there: {', '.join(missing)}")
    if way.json:
        document = {"written": str(target), "fleet": str(made.inventory.path), "certificates": sorted(made.agents)}
        console.document(json_text(document))
    else:
        console.result(f"written: {target} ({plural(len(made.inventory.devices), 'device')})")
