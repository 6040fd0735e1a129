"""What `cocoi logs` does."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cocoi_cli.commands.contacting import access
from cocoi_cli.commands.outcomes import report_failures
from cocoi_cli.console import Console, colorful
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import logs
from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.views.logs import line_document, line_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cocoi_cli.commands.options import Way
    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.logs import LogLine
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.remote import Remote

SETTLE_S: Final = 2.0
"""Seconds in which lines are gathered at first: every device begins with its last lines, when it has been reached."""


def run(names: Sequence[str], way: Way, *, follow: bool, lines: int, since: str | None) -> int:
    """Carry out `cocoi logs`; returns the exit status. Ctrl-C ends following, which is then done (0).

    Raises:
        ConfigurationError, UsageError: The fleet file or an option is unfit.
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
    show = _Shower(console, max(len(device.name) for device in devices))
    if follow:
        return _follow(console, devices, entry, show, lines, since)

    async def work(remote: Remote, device: Device) -> list[LogLine]:
        return await logs.read(remote, device, lines=lines, since=since)

    results = asyncio.run(each(devices, entry, work))
    found = [line for result in results.values() if not isinstance(result, CocoiError) for line in result]
    for line in sorted(found, key=lambda line: line.time_s):
        show(line)
    return report_failures(console, results)


def _follow(
    console: Console, devices: Sequence[Device], entry: Access, show: _Shower, lines: int, since: str | None
) -> int:
    async def work(remote: Remote, device: Device) -> None:
        try:
            await logs.follow(remote, device, lines=lines, since=since, tell=show)
        except CocoiError as error:
            # The others go on, maybe for hours: this is to be known now.
            report_failures(console, {device.name: error})
            raise

    async def settle() -> None:
        with show.held():
            await asyncio.sleep(SETTLE_S)

    async def all_devices() -> Mapping[str, CocoiError | None]:
        following, settling = asyncio.create_task(each(devices, entry, work)), asyncio.create_task(settle())
        try:
            await asyncio.wait({following, settling}, return_when=asyncio.FIRST_COMPLETED)
            if settling.done():
                settling.result()  # nobody may be reading any more
            return await following
        finally:
            following.cancel()
            settling.cancel()
            await asyncio.gather(following, settling, return_exceptions=True)

    console.around_questions = show.held
    try:
        results = asyncio.run(all_devices())
    except KeyboardInterrupt:
        return 0
    lost = {name: result for name, result in results.items() if isinstance(result, CocoiError)}
    return next(iter(lost.values())).exit_status if lost else 0


class _Shower:
    """Writes lines as they come, or by their time if they came while they were held."""

    def __init__(self, console: Console, width: int) -> None:
        self._console = console
        self._width = width
        self._color = colorful(sys.stdout)
        self._holds = 0
        self._held: list[LogLine] = []

    def __call__(self, line: LogLine) -> None:
        if self._holds:
            self._held.append(line)
        elif self._console.json:
            self._console.document(json.dumps(line_document(line)) + "\n")
        else:
            self._console.result(line_text(line, self._width, color=self._color))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep lines back for a while: a question must not be buried under them."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                lines, self._held = sorted(self._held, key=lambda line: line.time_s), []
                for line in lines:
                    self(line)
