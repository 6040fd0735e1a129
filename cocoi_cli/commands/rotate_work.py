"""What `cocoi rotate` does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.commands.confirming import confirmed
from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import documents, report_failures, status_of
from cocoi_cli.console import Console
from cocoi_cli.errors import CocoiError, UsageError
from cocoi_cli.fleet.agents import NotDeployedError
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.fleet.keys import agent_certificate
from cocoi_cli.fleet.rotation import rotate
from cocoi_cli.views.device_progress import device_progress
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.rotation import Outcome


class NoCertificatesError(UsageError):
    """The fleet uses none."""

    code: ClassVar[str] = "no-certificates"

    def __init__(self, path: Path) -> None:
        super().__init__(f'fleet file `{path}` says `security = "none"`: there are no certificates', path=str(path))


def run(way: Way) -> int:
    """Carry out `cocoi rotate`; returns the exit status.

    Raises:
        ConfigurationError, UsageError: The fleet file, its keys or an option is unfit.
        NotDeployedError: No device has an agent.
    """
    console = Console(json=way.json, quiet=way.quiet)
    inventory = load(locate(way.fleet))
    if inventory.security == "none":
        raise NoCertificatesError(inventory.path)
    devices = [each for each in select(inventory, ()) if agent_certificate(inventory, each) is not None]
    if not devices:
        raise NotDeployedError(inventory.path, len(inventory.devices))
    entry = access(
        console,
        accept_new=way.accept_new,
        password_file=way.password_file,
        sudo_password_file=way.sudo_password_file,
        yes=way.yes,
    )
    finished = False

    def go_on(outcome: Outcome) -> bool:
        nonlocal finished
        missed = [name for name, error in outcome.items() if error is not None]
        report_failures(console, {name: error for name, error in outcome.items() if error is not None})
        question = (
            f"{plural(len(missed), 'device')} did not take the new certificates ({', '.join(missed)}); "
            "go on, and deploy to them when they are back?"
        )
        with progress.paused():
            finished = bool(len(missed) < len(outcome)) and confirmed(console, question, yes=way.yes)
        return finished

    with device_progress(console, [device.name for device in devices]) as progress:
        results = asyncio.run(rotate(inventory, devices, entry, progress, go_on))
    return _show(console, results)


def _show(console: Console, results: Outcome) -> int:
    if console.json:
        console.document(json_text({"devices": documents(results, lambda _: {"rotated": True})}))
        return status_of(results)
    good = sum(error is None for error in results.values())
    if good == len(results):
        console.result(f"{plural(good, 'device')} and this host have new certificates; the old ones are refused")
        return 0
    status = report_failures(console, {name: error for name, error in results.items() if isinstance(error, CocoiError)})
    console.result(f"{good} of {plural(len(results), 'device')} have new certificates")
    return status
