"""What `cocoi restart`, `rollback` and `uninstall` do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from cocoi_cli.commands.confirming import confirmed
from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import documents, report_failures, status_of
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.fleet.operate import Operation, Running
from cocoi_cli.fleet.redundancy import may_be_away
from cocoi_cli.views.device_progress import device_progress
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.fleet.remote import Remote

    Work = Callable[[Remote, Device], Awaitable["T"]]

T = TypeVar("T")


def restart(names: Sequence[str], way: Way) -> int:
    """Carry out `cocoi restart`; returns the exit status.

    Raises:
        ConfigurationError, UsageError: The fleet file or an option is unfit.
    """
    console, inventory, devices = _begin(names, way)
    results = _each(console, inventory, devices, way, lambda operation: operation.restart)
    return _show(console, results, "restarted")


def rollback(names: Sequence[str], way: Way) -> int:
    """Carry out `cocoi rollback`; returns the exit status.

    Raises:
        ConfigurationError, UsageError: The fleet file or an option is unfit.
    """
    console, inventory, devices = _begin(names, way)
    results = _each(console, inventory, devices, way, lambda operation: operation.rollback)
    return _show(console, results, "rolled back")


def uninstall(names: Sequence[str], way: Way) -> int:
    """Carry out `cocoi uninstall`; returns the exit status.

    Raises:
        ConfigurationError, UsageError: The fleet file or an option is unfit.
    """
    console, inventory, devices = _begin(names, way)
    listed = ", ".join(device.name for device in devices[:6]) + (", ..." if len(devices) > 6 else "")
    question = f"take the agent, its keys and its weights off {plural(len(devices), 'device')} ({listed})?"
    if not confirmed(console, question, yes=way.yes):
        console.note("nothing was changed")
        return 0
    results = _each(console, inventory, devices, way, lambda operation: operation.uninstall)
    if console.json:
        console.document(json_text({"devices": documents(results, lambda removed: {"removed": list(removed)})}))
        return status_of(results)
    for name, removed in results.items():
        if not isinstance(removed, CocoiError):
            console.result(f"{name}: {'removed' if removed else 'nothing was installed'}")
    return report_failures(console, results)


def _begin(names: Sequence[str], way: Way) -> tuple[Console, Inventory, tuple[Device, ...]]:
    console = Console(json=way.json, quiet=way.quiet)
    inventory = load(locate(way.fleet))
    return console, inventory, select(inventory, names)


def _each(
    console: Console,
    inventory: Inventory,
    devices: Sequence[Device],
    way: Way,
    choose: Callable[[Operation], Work[T]],
) -> Mapping[str, T | CocoiError]:
    """Do one kind of work on every device."""
    entry = access(
        console,
        accept_new=way.accept_new,
        password_file=way.password_file,
        sudo_password_file=way.sudo_password_file,
        yes=way.yes,
    )

    async def work() -> Mapping[str, T | CocoiError]:
        operation = Operation(inventory, progress, at_once=may_be_away(len(inventory.devices)))
        return await each(devices, entry, choose(operation), on_stage=progress.contact)

    with device_progress(console, [device.name for device in devices]) as progress:
        return asyncio.run(work())


def _show(console: Console, results: Mapping[str, Running | CocoiError], done: str) -> int:
    if console.json:
        console.document(json_text({"devices": documents(results, _document)}))
        return status_of(results)
    for name, running in results.items():
        if isinstance(running, Running):
            console.result(f"{name}: {_sentence(running, done)}")
    return report_failures(console, results)


def _sentence(running: Running, done: str) -> str:
    if not running.version:
        return f"{done}; nothing is installed any more"
    origin = f" from {running.before}" if running.before not in (None, running.version) else ""
    return f"{done}{origin}, {running.version} serves"


def _document(running: Running) -> dict[str, object]:
    return {"version": running.version or None, "before": running.before}
