"""What `cocoi fleet import` does: devices that another file names, or a whole fleet that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cocoi_cli.commands.confirming import confirmed
from cocoi_cli.commands.fleet_adding import Candidate, add_candidates
from cocoi_cli.console import Console
from cocoi_cli.fleet import bundle
from cocoi_cli.fleet.importing import proposals, read_text
from cocoi_cli.fleet.inventory import NoFleetError, load, locate
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.devices import proposals_table
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.bundle import Bundle
    from cocoi_cli.fleet.proposals import Proposal


def import_file(file: str, way: Way, *, group: str | None, unchecked: bool) -> int:
    """Add what a file names; returns the exit status.

    Raises:
        BadImportError, UnknownGroupError: If the file is not understood or has no such group.
        BadBundleError, OtherFleetError: If it is a bundle that is broken, or of another fleet.
        ConfirmationNeededError: If nobody can be asked and `--yes` was not given.
    """
    console = Console(json=way.json, quiet=way.quiet)
    path = Path(file).expanduser()
    text = read_text(path)
    if bundle.is_bundle(text):
        if group is not None:
            raise BadOptionError("--group", group, "an exported fleet has no groups")
        return _take_over(console, bundle.parse(text, path, locate(way.fleet)), way)
    return _add_proposed(console, proposals(path, group), way, unchecked=unchecked)


def _add_proposed(console: Console, proposed: list[Proposal], way: Way, *, unchecked: bool) -> int:
    present = _present_targets(way)
    wanted = [each for each in proposed if each.ssh not in present]
    if len(wanted) < len(proposed):
        console.note(f"in the fleet already: {plural(len(proposed) - len(wanted), 'device')}")
    if not wanted:
        if way.json:
            console.document(json_text({"fleet": str(locate(way.fleet)), "devices": {}, "warnings": []}))
        return 0
    console.table(proposals_table(wanted))
    deed = "add" if unchecked else "contact and add"
    if not confirmed(console, f"{deed} {plural(len(wanted), 'device')}?", yes=way.yes):
        console.note("nothing was changed")
        return 0
    return add_candidates([Candidate(each.ssh, suggestion=each.name) for each in wanted], way, unchecked=unchecked)


def _present_targets(way: Way) -> set[str]:
    try:
        return {device.ssh for device in load(locate(way.fleet)).devices}
    except NoFleetError:
        return set()


def _take_over(console: Console, found: Bundle, way: Way) -> int:
    path = found.inventory.path
    present = bundle.present_text(found)
    if (
        present is not None
        and present != found.fleet_toml
        and not confirmed(console, f"replace `{path}` by that of the bundle?", yes=way.yes)
    ):
        console.note("nothing was changed")
        return 0
    bundle.install(found)
    devices = [device.name for device in found.inventory.devices]
    if way.json:
        document = {"fleet": str(path), "devices": {name: {"certificate": name in found.agents} for name in devices}}
        console.document(json_text(document))
    else:
        certificates = plural(len(found.agents), "certificate")
        console.result(f"written: {path} ({plural(len(devices), 'device')}, {certificates})")
    return 0
