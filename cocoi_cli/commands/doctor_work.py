"""What `cocoi doctor` does: examine all devices, show what was found, and repair what the user agrees to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from cocoi_cli import hints
from cocoi_cli.commands.confirming import confirmed
from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import documents, report_failures, status_of
from cocoi_cli.commands.watching import stages_of
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError, FleetError
from cocoi_cli.fleet.doctor import Examination, carry_out, examine, repairs
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.views.device_progress import device_progress
from cocoi_cli.views.doctor import examination_document, examination_lines, repair_question, repair_text, verdict
from cocoi_cli.views.json_form import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.doctor import Repair
    from cocoi_cli.fleet.records import Device

Results = dict[str, "Examination | CocoiError"]


def run(names: Sequence[str], way: Way, *, fix: bool) -> int:
    """Carry out `cocoi doctor`; returns the exit status.

    Raises:
        CocoiError: The fleet file or an option is unfit, or a question cannot be asked.
    """
    console = Console(json=way.json, quiet=way.quiet)
    inventory = load(locate(way.fleet))
    devices = select(inventory, names)
    entry = access(
        console,
        accept_new=way.accept_new,
        password_file=way.password_file,
        sudo_password_file=way.sudo_password_file,
        yes=way.yes,
    )
    results = _examined(console, devices, entry)
    if not console.json:
        _show(console, results)
    made: list[Repair] = []
    failed: dict[str, CocoiError] = {}
    if fix:
        offered = _offered(devices, results)
        made = [repair for repair in offered if _agreed(console, repair, yes=way.yes)]
        if not offered:
            console.note("there is nothing that could be repaired from here")
    if made:
        failed = _repaired(console, made, devices, entry)
        touched = {repair.device for repair in made}
        again = _examined(console, [device for device in devices if device.name in touched], entry)
        results |= again
        if not console.json:
            _show(console, again)
    if console.json:
        console.document(json_text({"devices": _documents(results, made, failed)}))
    else:
        report_failures(console, failed)
    return FleetError.exit_status if failed or any(map(_is_bad, results.values())) else status_of(results)


def _examined(console: Console, devices: Sequence[Device], entry: Access) -> Results:
    with device_progress(console, [device.name for device in devices]) as progress:
        results = asyncio.run(examine(devices, entry, on_stage=stages_of(progress)))
        for name, each in results.items():
            if isinstance(each, Examination):
                progress.done(name, verdict(each.findings))
    return results


def _offered(devices: Sequence[Device], results: Mapping[str, Examination | CocoiError]) -> list[Repair]:
    found = ((device, results[device.name]) for device in devices)
    return [
        repair for device, each in found if isinstance(each, Examination) for repair in repairs(device, each.findings)
    ]


def _agreed(console: Console, repair: Repair, *, yes: bool) -> bool:
    """Whether a repair is wanted; what has two sides to it is left out where nobody can be asked."""
    if repair.asked and not console.interactive:
        return False
    console.note(repair_text(repair))
    return confirmed(console, repair_question(repair), yes=yes and not repair.asked)


def _repaired(
    console: Console, agreed: Sequence[Repair], devices: Sequence[Device], entry: Access
) -> dict[str, CocoiError]:
    names = list(dict.fromkeys(repair.device for repair in agreed))
    with device_progress(console, names) as progress:
        results = asyncio.run(carry_out(agreed, devices, entry, on_stage=stages_of(progress)))
        for name, each in results.items():
            if each is None:
                progress.done(name, "repaired")
    return {name: each for name, each in results.items() if each is not None}


def _show(console: Console, results: Mapping[str, Examination | CocoiError]) -> None:
    for name, each in results.items():
        if isinstance(each, Examination):
            for line in examination_lines(name, each.findings, hints.for_code, notes=not console.quiet):
                console.result(line)
    report_failures(console, results)


def _documents(
    results: Mapping[str, Examination | CocoiError], made: Sequence[Repair], failed: Mapping[str, CocoiError]
) -> dict[str, Any]:
    found = documents(results, lambda each: examination_document(each, hints.for_code))
    for name, document in found.items():
        codes = [repair.code for repair in made if repair.device == name and name not in failed]
        document["repaired"] = codes
    said: dict[str, Any] = documents(failed, dict)
    return {name: {**document, **said.get(name, {})} for name, document in found.items()}


def _is_bad(each: Examination | CocoiError) -> bool:
    return isinstance(each, Examination) and any(finding.severity == "error" for finding in each.findings)
