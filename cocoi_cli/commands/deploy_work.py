"""What `cocoi deploy` does: every device at once, then what came of it."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import documents, report_failures, status_of
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.deployed import Choice, Deployed
from cocoi_cli.fleet.editing import editing
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.fleet.kinds import target_of
from cocoi_cli.fleet.provision import Deployment
from cocoi_cli.fleet.redundancy import may_be_away
from cocoi_cli.fleet.runtimes import check_runtime
from cocoi_cli.fleet.survey import read_facts
from cocoi_cli.fleet.wheelhouse import fetch
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.deploy import deploy_table, deployed_document, fetched_document, summary
from cocoi_cli.views.device_progress import device_progress
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural, size

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.fleet.remote import Remote
    from cocoi_cli.fleet.wheelhouse import Wheelhouse
    from cocoi_cli.views.device_progress import DeviceProgress

T = TypeVar("T")


def run(
    names: Sequence[str],
    way: Way,
    *,
    dry_run: bool,
    user: bool,
    online: bool,
    offline: bool,
    fetch_only: bool,
    runtime: str | None,
) -> int:
    """Carry out `cocoi deploy`; returns the exit status.

    Raises:
        CocoiError: If the command as a whole cannot go on, or its only device fails.
    """
    if online and offline:
        raise BadOptionError("--online", "--offline", "devices cannot fetch wheels while nothing may be fetched")
    if runtime is not None:
        check_runtime(runtime)
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
    choice = Choice(install="user" if user else None, online=online, offline=offline, runtime=runtime, dry_run=dry_run)
    if fetch_only:
        return _show_fetched(console, _with_progress(console, devices, partial(_fetch, devices, entry, choice)))
    results = _with_progress(console, devices, partial(_deploy, inventory, devices, entry, choice))
    if not dry_run:
        _remember(inventory, results)
    return _show(console, results, dry_run=dry_run)


def _with_progress(
    console: Console, devices: Sequence[Device], work: Callable[[DeviceProgress], Coroutine[None, None, T]]
) -> T:
    with device_progress(console, [device.name for device in devices]) as progress:
        return asyncio.run(work(progress))


async def _deploy(
    inventory: Inventory, devices: Sequence[Device], entry: Access, choice: Choice, progress: DeviceProgress
) -> Mapping[str, Deployed | CocoiError]:
    deployment = Deployment(inventory, choice, progress, at_once=may_be_away(len(inventory.devices)))
    try:
        return await each(devices, entry, deployment, on_stage=progress.contact)
    finally:
        await deployment.aclose()


async def _fetch(
    devices: Sequence[Device], entry: Access, choice: Choice, progress: DeviceProgress
) -> Mapping[str, Wheelhouse | CocoiError]:
    async def work(remote: Remote, device: Device) -> Wheelhouse:
        def tell(note: str) -> None:
            progress.stage(device.name, "fetch", note)

        progress.stage(device.name, "facts")
        facts = await read_facts(remote, device)
        target = target_of(device.name, facts)
        return await fetch(target, offline=choice.offline, runtime=choice.runtime, on_progress=tell)

    return await each(devices, entry, work, on_stage=progress.contact)


def _remember(inventory: Inventory, results: Mapping[str, Deployed | CocoiError]) -> None:
    """Write into the fleet file which kind of install each device has now."""
    changed = {
        name: result.install
        for name, result in results.items()
        if isinstance(result, Deployed) and (device := inventory.device(name)) and device.install != result.install
    }
    if not changed:
        return
    with editing(inventory.path) as fleet:
        for name, install in changed.items():
            fleet.update(name, install=None if install == "system" else install)


def _show(console: Console, results: Mapping[str, Deployed | CocoiError], *, dry_run: bool) -> int:
    good = {name: result for name, result in results.items() if isinstance(result, Deployed)}
    if console.json:
        console.document(json_text({"dry_run": dry_run, "devices": documents(results, deployed_document)}))
        return status_of(results)
    for name, result in good.items():
        for note in result.notes:
            console.warning(f"{name}: {note.message}")
    if good and not console.quiet:
        console.print_result(deploy_table(good, dry_run=dry_run))
    status = report_failures(console, results)
    if good and not console.quiet:
        console.result(summary(good, len(results), dry_run=dry_run))
    return status


def _show_fetched(console: Console, results: Mapping[str, Wheelhouse | CocoiError]) -> int:
    houses = {name: result for name, result in results.items() if not isinstance(result, CocoiError)}
    if console.json:
        console.document(json_text({"devices": documents(results, fetched_document)}))
        return status_of(results)
    for target in dict.fromkeys(house.target for house in houses.values()):
        house = next(each for each in houses.values() if each.target == target)
        console.result(f"{target}: {plural(len(house.wheels), 'wheel')}, {size(house.size)}")
    return report_failures(console, results)
