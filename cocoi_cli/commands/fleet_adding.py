"""What `cocoi fleet add` does: ask devices who they are, and write them down. `import` and `discover` do it too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cocoi_cli import hints
from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import error_document, report_failures, status_of
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError, UsageError
from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.editing import DeviceExistsError, editing
from cocoi_cli.fleet.identity import Identity, copies, identify
from cocoi_cli.fleet.inventory import DuplicateDeviceError, NoFleetError, check_distinct, load, locate
from cocoi_cli.fleet.names import NAME, BadAddressError, BadNameError, address_fault, is_ip, parse_target, suggest_name
from cocoi_cli.fleet.records import Device
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.device_progress import device_progress
from cocoi_cli.views.devices import device_document, devices_table
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.editing import Editor


@dataclass(frozen=True, slots=True)
class Candidate:
    """A device that is to be added.

    Attributes:
        ssh: SSH target.
        name: Name that it must get; None for one of cocoi's choice.
        suggestion: What that choice starts from; None for what the device calls itself.
        address: Where its agent is to listen; None for where ssh goes.
    """

    ssh: str
    name: str | None = None
    suggestion: str | None = None
    address: str | None = None


@dataclass(slots=True)
class _Outcome:
    added: dict[str, Device]
    failed: dict[str, CocoiError]
    warnings: list[str]


def add_targets(targets: Sequence[str], way: Way, *, name: str | None, address: str | None, unchecked: bool) -> int:
    """Add devices by their SSH targets; returns the exit status.

    Raises:
        BadTargetError, BadNameError, BadAddressError, BadOptionError: If something is no target, name or address.
        DuplicateDeviceError, DeviceExistsError, DeviceError: If the only device cannot be added.
        ConfigurationError: If the fleet file cannot be read.
    """
    targets = list(dict.fromkeys(targets))
    for option, value in (("--name", name), ("--address", address)):
        if value is not None and len(targets) > 1:
            raise BadOptionError(option, value, f"it is for one device, not for {len(targets)}")
    for target in targets:
        parse_target(target)
    if name is not None and not NAME.fullmatch(name):
        raise BadNameError(name)
    if address is not None and (fault := address_fault(address)):
        raise BadAddressError(address, fault)
    return add_candidates([Candidate(target, name, None, address) for target in targets], way, unchecked=unchecked)


def add_candidates(candidates: Sequence[Candidate], way: Way, *, unchecked: bool) -> int:
    """Contact devices, unless `unchecked`, and write down those that answer; returns the exit status."""
    console = Console(json=way.json, quiet=way.quiet)
    path = locate(way.fleet)
    if len(candidates) > 1:  # the same line typed again, after some of its devices had failed
        candidates = _not_there_yet(candidates, path, console)
    early = _known_already(candidates, path)
    asked = [each for each in candidates if each.ssh not in early]
    answers = _unchecked(asked) if unchecked else _contacted(asked, way, console)
    outcome = _write(path, candidates, {**early, **answers})
    if len(candidates) == 1 and outcome.failed:
        raise outcome.failed[candidates[0].ssh]
    _show(console, path, candidates, outcome)
    return status_of(outcome.failed)


def _not_there_yet(candidates: Sequence[Candidate], path: Path, console: Console) -> list[Candidate]:
    """Without those that the fleet has under the same target, and of which nothing else is wanted."""
    try:
        present = {device.ssh: device.name for device in load(path).devices}
    except NoFleetError:
        return list(candidates)
    left = []
    for candidate in candidates:
        if candidate.ssh in present and candidate.name is None and candidate.address is None:
            console.note(f"`{candidate.ssh}` is in the fleet already, as `{present[candidate.ssh]}`")
        else:
            left.append(candidate)
    return left


def _known_already(candidates: Sequence[Candidate], path: Path) -> dict[str, CocoiError]:
    """What needs no contact to be refused."""
    try:
        inventory = load(path)
    except NoFleetError:
        return {}
    found: dict[str, CocoiError] = {}
    for candidate in candidates:
        trial = Device(candidate.ssh, candidate.ssh, candidate.address or parse_target(candidate.ssh).host)
        present = inventory.device(candidate.name) if candidate.name else None
        try:
            check_distinct(trial, inventory.devices, path)
        except DuplicateDeviceError as error:
            found[candidate.ssh] = error
        else:
            if present is not None:
                found[candidate.ssh] = DeviceExistsError(path, present)
    return found


def _unchecked(candidates: Sequence[Candidate]) -> dict[str, Identity | CocoiError]:
    hosts = {candidate.ssh: parse_target(candidate.ssh).host for candidate in candidates}
    return {ssh: Identity(host, None, "", host) for ssh, host in hosts.items()}


def _contacted(candidates: Sequence[Candidate], way: Way, console: Console) -> Mapping[str, Identity | CocoiError]:
    # A device that has no name yet goes by its target.
    devices = [Device(each.ssh, each.ssh, parse_target(each.ssh).host) for each in candidates]
    if not devices:
        return {}
    entry = access(
        console,
        accept_new=way.accept_new,
        password_file=way.password_file,
        sudo_password_file=way.sudo_password_file,
        yes=way.yes,
    )
    with device_progress(console, [device.name for device in devices]) as progress:
        return asyncio.run(each(devices, entry, identify, on_stage=progress.stage))


def _write(path: Path, candidates: Sequence[Candidate], answers: Mapping[str, Identity | CocoiError]) -> _Outcome:
    outcome = _Outcome({}, {}, [])
    with editing(path, create=True) as fleet:
        for candidate in candidates:
            answer = answers[candidate.ssh]
            if isinstance(answer, CocoiError):
                outcome.failed[candidate.ssh] = answer
                continue
            try:
                device = _add(fleet, path, candidate, answer)
            except (DuplicateDeviceError, DeviceExistsError, UsageError) as error:
                outcome.failed[candidate.ssh] = error
                continue
            outcome.added[candidate.ssh] = device
            others = [each for each in fleet.inventory.devices if each.name != device.name]
            outcome.warnings += copies(device, others)
    return outcome


def _add(fleet: Editor, path: Path, candidate: Candidate, identity: Identity) -> Device:
    taken = {device.name for device in fleet.inventory.devices}
    short = identity.hostname if is_ip(identity.hostname) else identity.hostname.partition(".")[0]
    name = candidate.name or suggest_name(candidate.suggestion or short, taken)
    device = Device(
        name=name,
        ssh=candidate.ssh,
        address=candidate.address or identity.address,
        machine_id=identity.machine_id,
        host_key=identity.host_key or None,
    )
    # The user knows it by its target so far, not by the name that it would have got.
    check_distinct(replace(device, name=candidate.ssh), fleet.inventory.devices, path)
    fleet.add(device)
    return device


def _show(console: Console, path: Path, candidates: Sequence[Candidate], outcome: _Outcome) -> None:
    for text in outcome.warnings:
        console.warning(text)
    if outcome.warnings and (advice := hints.for_code("copied-card", {})):
        console.marked("hint", advice)
    if console.json:
        console.document(json_text(_document(path, candidates, outcome)))
        return
    report_failures(console, outcome.failed)
    if outcome.added:
        devices = list(outcome.added.values())
        console.result(f"added to {path}: {plural(len(devices), 'device')}")
        console.print_result(devices_table(devices))


def _document(path: Path, candidates: Sequence[Candidate], outcome: _Outcome) -> dict[str, Any]:
    devices: dict[str, Any] = {}
    for candidate in candidates:
        device, error = outcome.added.get(candidate.ssh), outcome.failed.get(candidate.ssh)
        if device is not None:
            devices[device.name] = device_document(device)
        elif error is not None:
            devices[candidate.ssh] = error_document(error)
    return {"fleet": str(path), "devices": devices, "warnings": outcome.warnings}
