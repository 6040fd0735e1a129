"""What `cocoi drain` does: mark devices in the fleet file, wait until they are idle, and say so."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cocoi_cli import hints
from cocoi_cli.commands.standing import inquiry_of, survey
from cocoi_cli.console import Console
from cocoi_cli.errors import FleetError
from cocoi_cli.fleet.agents import agents_of
from cocoi_cli.fleet.editing import editing
from cocoi_cli.fleet.inventory import load, locate, select
from cocoi_cli.runtime.options import BadOptionError
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.lines import plural, seconds
from cocoi_cli.views.status import redundancy_document, redundancy_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_agent.wire.messages import Vitals
    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.fleet.records import Inventory
    from cocoi_cli.views.status import FleetStatus

POLL_S: Final = 0.5
# Between two stages of an inference nothing is queued for a moment.
QUIET_ROUNDS: Final = 2


class StillBusyError(FleetError):
    """A drained device still works for somebody; it is marked, and may be asked again."""

    code: ClassVar[str] = "still-busy"

    def __init__(self, device: str, queued: int, waited_s: float) -> None:
        super().__init__(
            f"`{device}` is drained and still works after {seconds(waited_s)}: {plural(queued, 'part')} in its queue",
            device=device,
            queued=queued,
            waited_s=waited_s,
        )


@dataclass(frozen=True, slots=True)
class Idle:
    """A device that nothing is to be waited for on; `cause` says why it does not answer, empty where it does."""

    device: str
    cause: str


Outcome = Idle | StillBusyError


def run(names: Sequence[str], *, undo: bool, wait_s: float, fleet: str | None, json: bool, quiet: bool) -> int:
    """Carry out `cocoi drain`; returns the exit status.

    Raises:
        CocoiError: The fleet file, its keys, a name or an option are unfit; nothing has then been changed.
    """
    if not (math.isfinite(wait_s) and wait_s >= 0):
        raise BadOptionError("--wait", f"{wait_s:g}", "seconds cannot be below 0")
    console = Console(json=json, quiet=quiet)
    path = locate(fleet)
    chosen = [device.name for device in select(load(path), names)]
    agents_of(load(path))  # keys that cannot be used are told before anything is changed
    with editing(path) as editor:
        for name in chosen:
            editor.update(name, drained=not undo)
    inventory = editor.inventory
    agents = agents_of(inventory)
    outcomes, status = asyncio.run(_see(inventory, agents, [] if undo else chosen, wait_s))
    _tell(console, chosen, outcomes, status, undo=undo)
    if json:
        console.document(json_text(_document(chosen, outcomes, status, undo=undo)))
    return FleetError.exit_status if any(isinstance(each, StillBusyError) for each in outcomes.values()) else 0


async def _see(
    inventory: Inventory, agents: Agents, names: Sequence[str], wait_s: float
) -> tuple[dict[str, Outcome], FleetStatus]:
    """Ask until the named devices are idle or the time is up."""
    begin, quiet, served = time.monotonic(), dict.fromkeys(names, 0), dict.fromkeys(names, -1)
    rounds = 0
    async with inquiry_of(agents) as inquiry:
        while True:
            status = await survey(inventory, agents, inquiry)
            devices = {device.name: device for device in status.devices}
            outcomes: dict[str, Outcome] = {}
            for name in names:
                condition = devices[name].condition
                vitals = None if condition is None else condition.vitals
                if vitals is None:
                    outcomes[name] = Idle(name, devices[name].cause)
                    continue
                quiet[name] = quiet[name] + 1 if _rests(vitals, served[name]) else 0
                served[name] = vitals.served
                if quiet[name] >= QUIET_ROUNDS:
                    outcomes[name] = Idle(name, "")
                else:
                    outcomes[name] = StillBusyError(name, vitals.queued, time.monotonic() - begin)
            rounds += 1
            over = rounds >= QUIET_ROUNDS and time.monotonic() - begin >= wait_s
            if over or not any(isinstance(each, StillBusyError) for each in outcomes.values()):
                return outcomes, status
            await asyncio.sleep(POLL_S)


def _rests(vitals: Vitals, served_before: int) -> bool:
    """Whether nothing is queued, and nothing was computed since the last look."""
    return vitals.queued == 0 and served_before in {-1, vitals.served}


def _tell(
    console: Console, names: Sequence[str], outcomes: dict[str, Outcome], status: FleetStatus, *, undo: bool
) -> None:
    for name in names:
        outcome = outcomes.get(name)
        if undo:
            console.result(f"{name}: used again")
        elif isinstance(outcome, StillBusyError):
            if not console.json:
                console.marked("error", outcome.message)
                console.marked("hint", hints.hint(outcome))
        elif isinstance(outcome, Idle) and not console.quiet:
            safe = (
                f"it does not answer: {outcome.cause}" if outcome.cause else "nothing is queued, it is safe to unplug"
            )
            console.result(f"{name}: drained; {safe}")
    if not status.ready:
        console.warning(f"fewer devices are left than k = {status.pieces}, which is the default for all of them")
    if not console.quiet:
        console.result(redundancy_text(status))


def _document(names: Sequence[str], outcomes: dict[str, Outcome], status: FleetStatus, *, undo: bool) -> dict[str, Any]:
    devices: dict[str, Any] = {}
    for name in names:
        devices[name] = {"drained": not undo}
        match outcomes.get(name):
            case StillBusyError() as busy:
                devices[name] |= {"safe": False, "error": busy.code, "message": busy.message}
                devices[name] |= {"hint": hints.hint(busy), "details": busy.details}
            case Idle() as idle:
                devices[name] |= {"safe": True, "answers": not idle.cause}
            case None:
                pass
    return {"devices": devices, "redundancy": redundancy_document(status)}
