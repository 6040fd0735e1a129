"""Devices of a fleet, found and proposed ones, as tables and documents. The tables fit 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from cocoi_cli.views.tables import plain_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from cocoi_cli.fleet.proposals import Proposal
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.sightings import Sighting

_FOR_TEXTS = 80 - len("install  drained  known  ") - 3 * 2
"""What is left for names and addresses in the table of devices."""

_STYLES = {"new": "bold", "moved": "yellow", "known": ""}


def devices_table(devices: Sequence[Device]) -> Table:
    """One row per device; `known` tells whether its machine-id and host key are, so that another would be noticed."""
    table = plain_table()
    heads = ("device", "ssh", "agent")
    texts = [(device.name, device.ssh, agent_address(device)) for device in devices]
    for head, width in zip(heads, _widths([heads, *texts], _FOR_TEXTS), strict=True):
        table.add_column(head, no_wrap=True, overflow="ellipsis", width=width)
    for head in ("install", "drained", "known"):
        table.add_column(head, no_wrap=True)
    for device, cells in zip(devices, texts, strict=True):
        drained = Text("yes", style="yellow") if device.drained else Text("-")
        known = Text("yes") if identity_known(device) else Text("-", style="yellow")
        table.add_row(*map(Text, cells), Text(device.install), drained, known)
    return table


def proposals_table(proposals: Sequence[Proposal]) -> Table:
    """One row per device that a file proposes."""
    table = plain_table()
    table.add_column("device", no_wrap=True, overflow="ellipsis", max_width=30)
    table.add_column("ssh", no_wrap=True, overflow="ellipsis", max_width=40)
    table.add_column("line", justify="right", no_wrap=True)
    for proposal in proposals:
        table.add_row(Text(proposal.name or "-"), Text(proposal.ssh), str(proposal.line))
    return table


def sightings_table(sightings: Sequence[Sighting]) -> Table:
    """One row per found device: its most useful address, what it announces, and which device of the fleet it is."""
    table = plain_table()
    table.add_column("found", no_wrap=True, overflow="ellipsis", min_width=10, max_width=24)
    table.add_column("address", no_wrap=True, overflow="ellipsis", min_width=12, max_width=22)
    table.add_column("announces", no_wrap=True, overflow="ellipsis", min_width=9, max_width=16)
    table.add_column("in the fleet", overflow="ellipsis", no_wrap=True, min_width=12)
    for sighting in sightings:
        found = sighting.found
        announces = ", ".join(kind for kind in found.kinds if kind != "name") or "-"
        where = Text(_place(sighting), style=_STYLES[sighting.state])
        table.add_row(Text(found.host), Text(found.addresses[0]), Text(announces), where)
    return table


def device_document(device: Device) -> dict[str, Any]:
    """A device as JSON has it; the name is the key that it stands under."""
    return {
        "ssh": device.ssh,
        "address": device.address,
        "port": device.port,
        "machine_id": device.machine_id,
        "host_key": device.host_key,
        "install": device.install,
        "drained": device.drained,
    }


def sighting_document(sighting: Sighting) -> dict[str, Any]:
    """A found device as JSON has it."""
    found = sighting.found
    return {
        "host": found.host,
        "addresses": list(found.addresses),
        "announces": [kind for kind in found.kinds if kind != "name"],
        "id": found.id,
        "version": found.version,
        "port": found.port,
        "state": sighting.state,
        "device": sighting.device.name if sighting.device else None,
    }


def agent_address(device: Device) -> str:
    """Where the agent listens, with its port."""
    address = f"[{device.address}]" if ":" in device.address else device.address
    return f"{address}:{device.port}"


def identity_known(device: Device) -> bool:
    """Whether the device has been contacted, so that another one in its place would be noticed."""
    return device.machine_id is not None and device.host_key is not None


def _widths(rows: Sequence[Sequence[str]], budget: int) -> list[int]:
    """Widths of columns that fit a budget: the widest give way first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    while sum(widths) > budget:
        widths[widths.index(max(widths))] -= 1
    return widths


def _place(sighting: Sighting) -> str:
    match sighting.device, sighting.state:
        case None, _:
            return "new"
        case device, "moved":
            return f"{device.name}, moved from {device.address}"
        case device, _:
            return device.name
