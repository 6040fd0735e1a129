"""When each device was last seen by this host: a small file beside the fleet's keys.

Only for people to look at: what cannot be read is as if it were absent, and what cannot be written is done without.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from cocoi_cli.files import OutputNotWritableError, write
from cocoi_cli.fleet.folders import DataFolderError, data_path, seen_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cocoi_cli.fleet.records import Inventory


def last_seen(inventory: Inventory) -> dict[str, float]:
    """Device name to the moment at which its agent last answered, in seconds since 1970."""
    try:
        document = json.loads((data_path(inventory.id) / "seen.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        name: float(moment)
        for name, moment in document.items()
        if isinstance(moment, int | float) and not isinstance(moment, bool) and 0 <= moment < 1e11
    }


def note_seen(inventory: Inventory, devices: Iterable[str], now: float) -> None:
    """Write down that the agents of these devices have just answered; devices that left the fleet are dropped.

    Args:
        inventory: The fleet.
        devices: Names.
        now: Seconds since 1970.
    """
    known = {device.name for device in inventory.devices}
    seen = {name: moment for name, moment in last_seen(inventory).items() if name in known}
    seen |= {name: now for name in devices if name in known}
    with suppress(DataFolderError, OutputNotWritableError):
        write(str(seen_path(inventory)), json.dumps(seen, indent=1).encode())
