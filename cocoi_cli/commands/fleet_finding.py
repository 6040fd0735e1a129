"""What `cocoi fleet discover` does: look, compare with the fleet, and offer what follows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from cocoi_cli import hints
from cocoi_cli.commands.confirming import confirmed
from cocoi_cli.commands.fleet_adding import Candidate, add_candidates
from cocoi_cli.console import Console
from cocoi_cli.fleet.discovery import FRESH_NAMES, discover
from cocoi_cli.fleet.editing import editing
from cocoi_cli.fleet.inventory import NoFleetError, load, locate
from cocoi_cli.fleet.names import SshTarget, parse_target
from cocoi_cli.fleet.sightings import compare
from cocoi_cli.views.devices import sighting_document, sightings_table
from cocoi_cli.views.json_form import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.fleet.sightings import Found, Sighting


def discover_devices(
    way: Way, *, interface: str | None, seconds: float, add: bool, login: str | None, unchecked: bool
) -> int:
    """Look for devices; returns the exit status, that of adding them if that is wanted.

    Raises:
        NoInterfaceError, MdnsPortError, NoMulticastError: If nothing can be heard.
        BadTargetError: If `login` is no user name.
        ConfirmationNeededError: If devices are to be added, nobody can be asked and `--yes` was not given.
    """
    console = Console(json=way.json, quiet=way.quiet)
    path = locate(way.fleet)
    inventory = _inventory(path)
    parse_target(str(SshTarget(login, "host", None)))
    console.note(f"listening for {seconds:g} s")
    found = asyncio.run(
        discover(seconds=seconds, interface=interface, names=_names(inventory), on_found=_teller(console))
    )
    sightings = compare(found, inventory)
    _show(console, sightings, documents=way.json and not add)
    _offer_moves(console, path, sightings, way)
    if not add:
        return 0
    new = [sighting.found for sighting in sightings if sighting.state == "new"]
    wanted = [each for each in new if confirmed(console, f"add `{each.host}` at {each.addresses[0]}?", yes=way.yes)]
    return add_candidates([_candidate(each, login) for each in wanted], way, unchecked=unchecked)


def _teller(console: Console) -> Callable[[Found], None]:
    """Says each host once, when it is first heard of."""
    said: set[str] = set()

    def tell(found: Found) -> None:
        if found.host not in said:
            said.add(found.host)
            console.note(f"heard {found.host}")

    return tell


def _inventory(path: Path) -> Inventory | None:
    try:
        return load(path)
    except NoFleetError:
        return None


def _names(inventory: Inventory | None) -> list[str]:
    """What fresh devices are called, and what those of the fleet are."""
    devices = inventory.devices if inventory is not None else ()
    known = [name for device in devices for name in (device.address, parse_target(device.ssh).host)]
    return list(dict.fromkeys([*FRESH_NAMES, *(name for name in known if name.endswith(".local"))]))


def _show(console: Console, sightings: Sequence[Sighting], *, documents: bool) -> None:
    if documents:
        console.document(json_text({"found": [sighting_document(each) for each in sightings]}))
    elif console.json:
        console.table(sightings_table(sightings))  # standard output is for the devices that are added
    elif sightings:
        console.print_result(sightings_table(sightings))
    if not sightings:
        console.warning("nothing has announced itself")
        if advice := hints.for_code("nothing-found", {}):
            console.marked("hint", advice)


def _offer_moves(console: Console, path: Path, sightings: Sequence[Sighting], way: Way) -> None:
    for sighting in sightings:
        device = sighting.device
        if sighting.state != "moved" or device is None:
            continue
        address = sighting.found.addresses[0]
        moved = f"`{device.name}` is at {address}, not at {device.address} as in `{path}`"
        if not way.yes and not console.interactive:
            console.warning(moved)
            if advice := hints.for_code("moved", {"device": device.name}):
                console.marked("hint", advice)
        elif confirmed(console, f"{moved}; change it there?", yes=way.yes):
            with editing(path) as fleet:
                fleet.update(device.name, address=address, ssh=_moved_target(device, address))
            console.note(f"changed: `{device.name}` is at {address}")


def _moved_target(device: Device, address: str) -> str:
    """The SSH target at the new address, where it was the old address and not a name."""
    target = parse_target(device.ssh)
    return str(replace(target, host=address)) if target.host == device.address else device.ssh


def _candidate(found: Found, login: str | None) -> Candidate:
    return Candidate(str(SshTarget(login, found.addresses[0], None)), suggestion=found.name)
