"""The devices of a fleet file as agents to connect to: addresses, certificates, and the host's own key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import ConfigurationError, FleetError
from cocoi_cli.fleet.folders import data_path
from cocoi_cli.fleet.keys import agent_certificate, host_identity
from cocoi_cli.fleet.pairs import BrokenKeysError
from cocoi_cli.runtime.addresses import DOWN, DRAINED, Absentee, AgentAddress

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.runtime.addresses import Member
    from cocoi_cli.runtime.trust import Identity

NO_AGENT: Final = "it has no agent yet"


class NotDeployedError(FleetError):
    """The fleet file names devices, and none of those that are to be used was ever given an agent."""

    code: ClassVar[str] = "not-deployed"

    def __init__(self, path: Path, devices: int) -> None:
        text = "its device has" if devices == 1 else f"none of its {devices} devices has"
        no_agent = "no agent yet" if devices == 1 else "an agent yet"
        super().__init__(f"fleet file `{path}`: {text} {no_agent}", path=str(path), devices=devices)


class KeysMissingError(ConfigurationError):
    """Agents have certificates, and this host has none to show them."""

    code: ClassVar[str] = "keys-missing"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"folder `{folder}` lacks the fleet's `host.crt` and `host.key`", folder=str(folder))


@dataclass(frozen=True, slots=True)
class Agents:
    """What connecting needs to know of a fleet.

    Attributes:
        members: One per device, in the order of the fleet file.
        identity: This host's certificate and key; None where the fleet has none.
    """

    members: tuple[Member, ...]
    identity: Identity | None


def agents_of(inventory: Inventory) -> Agents:
    """Every device of the fleet: those with an agent as addresses, the drained ones too.

    Raises:
        KeysMissingError: If agents have certificates and the host has none.
        BrokenKeysError, OpenKeysError: If the host's own cannot be used.
        DataFolderError: If the folder of the keys cannot be read.
    """
    if inventory.security == "none":
        addresses = (AgentAddress(each.name, each.address, each.port, None) for each in inventory.devices)
        return Agents(tuple(addresses), None)
    identity = host_identity(inventory)
    members = tuple(_member(inventory, device) for device in inventory.devices)
    if identity is None and any(isinstance(member, AgentAddress) for member in members):
        raise KeysMissingError(data_path(inventory.id))
    return Agents(members, identity)


def usable_agents(inventory: Inventory) -> Agents:
    """As `agents_of`, for inference: drained devices take no part.

    Raises:
        NotDeployedError: If no device that may be used has an agent.
    """
    found = agents_of(inventory)
    wanted = [device.name for device in inventory.devices if not device.drained]
    if wanted and not any(isinstance(each, AgentAddress) and each.id in wanted for each in found.members):
        raise NotDeployedError(inventory.path, len(inventory.devices))
    members = tuple(
        member if member.id in wanted else Absentee(member.id, DRAINED, "it is drained") for member in found.members
    )
    return Agents(members, found.identity)


def _member(inventory: Inventory, device: Device) -> Member:
    try:
        certificate = agent_certificate(inventory, device)
    except BrokenKeysError as error:  # one device less, as if it were down
        return Absentee(device.name, DOWN, error.message)
    if certificate is None:
        return Absentee(device.name, DOWN, NO_AGENT)
    return AgentAddress(device.name, device.address, device.port, certificate)
