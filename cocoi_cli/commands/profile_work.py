"""What `cocoi profile` does: measure all devices, write the profile, show it."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cocoi_agent
from cocoi_cli import hints
from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import documents, report_failures, status_of
from cocoi_cli.commands.watching import stages_of
from cocoi_cli.console import Console
from cocoi_cli.files import check_writable, write
from cocoi_cli.fleet.agent_profile import measure
from cocoi_cli.fleet.agents import NotDeployedError, agents_of
from cocoi_cli.fleet.folders import profile_path
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.fleet.profiler import Profiled, Settings, profile
from cocoi_cli.planning.profile import DeviceProfile, Profile
from cocoi_cli.planning.profile_file import BadProfileError, from_json, to_json
from cocoi_cli.runtime.addresses import Absentee, AgentAddress
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.agent_speeds import agent_document, agent_outcome, agents_table
from cocoi_cli.views.device_progress import device_progress
from cocoi_cli.views.fits import fit_remarks
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.profile import devices_table, outcome, profile_document, remarks, speeds_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.commands.options import Way
    from cocoi_cli.errors import CocoiError
    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.records import Device, Inventory


def run(names: Sequence[str], way: Way, *, full: bool, rounds: int, output: str | None, agents: bool = False) -> int:
    """Carry out `cocoi profile`; returns the exit status.

    Raises:
        CocoiError: The fleet file or an option is unfit, or the profile cannot be written.
    """
    console = Console(json=way.json, quiet=way.quiet)
    inventory = load(locate(way.fleet))
    devices = select(inventory, names)
    path = profile_path(inventory) if output is None else Path(output).expanduser()
    check_writable(str(path))
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if agents:
        if full:
            raise BadOptionError("--full", "", "agents compute where they are installed; leave out `--agents`")
        return _through_agents(console, inventory, devices, made, path, rounds=rounds, merge=output is None)
    entry = access(
        console,
        accept_new=way.accept_new,
        password_file=way.password_file,
        sudo_password_file=way.sudo_password_file,
    )
    results = _measured(console, devices, entry, Settings(rounds=rounds, full=full), made)
    measured = {name: each.profile for name, each in results.items() if isinstance(each, Profiled)}
    if measured:
        found = Profile(inventory.id, made, cocoi_agent.__version__, measured)
        kept = found if output is not None else _merged(found, path, inventory, console)
        write(str(path), to_json(kept).encode())
    return _show(console, results, inventory.id, made, str(path) if measured else None)


def _through_agents(
    console: Console,
    inventory: Inventory,
    devices: Sequence[Device],
    made: str,
    path: Path,
    *,
    rounds: int,
    merge: bool,
) -> int:
    known, wanted = agents_of(inventory), {device.name for device in devices}
    addresses = [each for each in known.members if isinstance(each, AgentAddress) and each.id in wanted]
    reasons = {each.id: each.reason for each in known.members if isinstance(each, Absentee)}
    if not addresses:
        raise NotDeployedError(inventory.path, len(devices))
    with device_progress(console, [address.id for address in addresses]) as progress:
        all_of_it = asyncio.run(
            measure(addresses, known.identity, made=made, rounds=rounds, on_stage=stages_of(progress))
        )
        found = all_of_it.devices
        for name, each in found.items():
            if isinstance(each, DeviceProfile):
                progress.done(name, agent_outcome(each))
    results = {
        device.name: found.get(device.name) or LinkError(device.name, device.address, reasons[device.name])
        for device in devices
    }
    measured = {name: each for name, each in results.items() if isinstance(each, DeviceProfile)}
    if measured:
        new = Profile(inventory.id, made, cocoi_agent.__version__, measured, all_of_it.port)
        kept = _merged(new, path, inventory, console) if merge else new
        write(str(path), to_json(kept).encode())
    if console.json:
        tree = documents(results, agent_document)
        written = str(path) if measured else None
        console.document(json_text({"fleet": inventory.id, "made": made, "written": written, "devices": tree}))
        return status_of(results)
    if measured:
        console.print_result(agents_table(measured))
        for text in (text for name, each in measured.items() for text in fit_remarks(name, each)):
            console.note(text)
    status = report_failures(console, results)
    if measured:
        console.note(f"written: {path}")
    return status


def _measured(
    console: Console, devices: Sequence[Device], entry: Access, settings: Settings, made: str
) -> dict[str, Profiled | CocoiError]:
    with device_progress(console, [device.name for device in devices]) as progress:
        results = asyncio.run(profile(devices, entry, settings, made=made, on_stage=stages_of(progress)))
        for name, each in results.items():
            if isinstance(each, Profiled):
                progress.done(name, outcome(each))
    return results


def _merged(found: Profile, path: Path, inventory: Inventory, console: Console) -> Profile:
    """The new figures beside those that the file has of other devices of the fleet."""
    try:
        older = from_json(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        return found
    except (BadProfileError, OSError, UnicodeDecodeError) as error:
        console.warning(f"the profile that was there is replaced: {error}")
        return found
    merged = older.updated(found)
    known = {device.name for device in inventory.devices}
    devices = {name: each for name, each in merged.devices.items() if name in known}
    return replace(merged, devices=devices)


def _show(
    console: Console, results: Mapping[str, Profiled | CocoiError], fleet: str, made: str, path: str | None
) -> int:
    measured = {name: each for name, each in results.items() if isinstance(each, Profiled)}
    if console.json:
        devices = documents(results, lambda each: profile_document(each, hints.for_code))
        console.document(json_text({"fleet": fleet, "made": made, "written": path, "devices": devices}))
        return status_of(results)
    if measured:
        console.print_result(devices_table(measured))
        console.result("")
        console.print_result(speeds_table(measured))
        for text in remarks(measured):
            console.note(text)
    status = report_failures(console, results)
    if path is not None:
        console.note(f"written: {path}")
    return status
