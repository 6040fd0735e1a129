"""How a fleet stands: its file and its agents' own words, brought together."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import cocoi_agent
from cocoi_cli.fleet.agents import NO_AGENT
from cocoi_cli.fleet.redundancy import enough
from cocoi_cli.fleet.seen import last_seen, note_seen
from cocoi_cli.runtime.addresses import Absentee, AgentAddress
from cocoi_cli.runtime.inquiry import Inquiry
from cocoi_cli.views.status import DeviceStatus, FleetStatus

if TYPE_CHECKING:
    from cocoi_cli.fleet.agents import Agents
    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.runtime.inquiry import Condition


def inquiry_of(agents: Agents) -> Inquiry:
    """Asks every agent of the fleet, the drained ones too."""
    addresses = [member for member in agents.members if isinstance(member, AgentAddress)]
    return Inquiry(addresses, agents.identity)


async def survey(inventory: Inventory, agents: Agents, inquiry: Inquiry) -> FleetStatus:
    """Ask all agents once, and write down who was seen.

    Raises:
        BadKeysError: This host has no usable key.
    """
    conditions = await inquiry.ask()
    now = time.time()
    note_seen(inventory, [name for name, condition in conditions.items() if condition.state == "up"], now)
    absent = {member.id: member.reason for member in agents.members if isinstance(member, Absentee)}
    seen = last_seen(inventory)
    devices = tuple(
        _status(device, conditions.get(device.name), absent.get(device.name, ""), seen.get(device.name))
        for device in inventory.devices
    )
    status = FleetStatus(devices, now, enough(len(devices)), None, cocoi_agent.__version__)
    return replace(status, code=(status.up, enough(status.up)) if status.up else None)


def _status(device: Device, condition: Condition | None, absent: str, seen: float | None) -> DeviceStatus:
    if condition is None:
        state, cause = "no-agent" if absent == NO_AGENT else "down", absent
    else:
        state, cause = condition.state, condition.cause
    return DeviceStatus(
        name=device.name,
        address=device.address,
        port=device.port,
        state="drained" if device.drained else state,
        cause=cause,
        drained=device.drained,
        condition=condition if condition is not None and condition.state == "up" else None,
        seen=seen,
    )
