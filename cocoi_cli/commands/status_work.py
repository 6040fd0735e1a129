"""What `cocoi status` does: ask every agent, show a table, and with `--watch` keep it up to date."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from cocoi_cli import hints
from cocoi_cli.commands.standing import inquiry_of, survey
from cocoi_cli.console import Console
from cocoi_cli.errors import FleetError
from cocoi_cli.fleet.agents import agents_of
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.status import redundancy_text, remarks, status_document, status_table

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.fleet.records import Inventory
    from cocoi_cli.views.status import FleetStatus

REFRESH_S: Final = 2.0


def run(fleet: str | None, *, watch: bool, json: bool, quiet: bool) -> int:
    """Carry out `cocoi status`; returns the exit status.

    Raises:
        CocoiError: The fleet file, its keys or an option are unfit.
    """
    console = Console(json=json, quiet=quiet)
    if watch and (json or quiet):
        raise BadOptionError(
            "--watch", "--json" if json else "--quiet", "a table that is kept up to date is for people"
        )
    if watch and not console.terminal:
        raise BadOptionError("status", "--watch", "standard error is no terminal that can be redrawn")
    inventory = load(locate(fleet))
    select(inventory, ())  # refuses a fleet without devices
    agents = agents_of(inventory)
    if watch:
        _watch(inventory, agents, console.rich())
        return 0
    status = asyncio.run(_once(inventory, agents))
    if json:
        console.document(json_text(status_document(status, lambda code: hints.for_code(code, {}))))
    else:
        if not quiet:
            console.print_result(status_table(status))
            for text in ("", *remarks(status)):
                console.result(text)
        console.result(redundancy_text(status))
    return 0 if status.ready else FleetError.exit_status


async def _once(inventory: Inventory, agents: Agents) -> FleetStatus:
    async with inquiry_of(agents) as inquiry:
        return await survey(inventory, agents, inquiry)


def _watch(inventory: Inventory, agents: Agents, screen: RichConsole) -> None:
    """Show a table until Ctrl-C; the last one stays on the screen."""
    try:
        asyncio.run(_refresh(inventory, agents, screen))
    except KeyboardInterrupt:
        return


async def _refresh(inventory: Inventory, agents: Agents, screen: RichConsole) -> None:
    from rich.console import Group  # noqa: PLC0415  (only on a terminal)
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(console=screen, auto_refresh=False) as live:
        async with inquiry_of(agents) as inquiry:
            while True:
                status = await survey(inventory, agents, inquiry)
                lines = ["", *remarks(status), redundancy_text(status)]
                live.update(Group(status_table(status), *(Text(line) for line in lines)), refresh=True)
                await asyncio.sleep(REFRESH_S)
