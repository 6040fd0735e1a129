"""What is put on a device: a version of the agent, and the settings that it runs under. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cocoi_agent
from cocoi_agent.wire.limits import MEBIBYTE, PROTOCOL_VERSIONS
from cocoi_cli.fleet.installation import VersionPlan, WheelEntry
from cocoi_cli.fleet.wheelhouse import requirement_lines

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.fleet.agent_wheel import Wheel
    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.records import Device, Security
    from cocoi_cli.fleet.wheelhouse import Wheelhouse

LEAST_TENSORS: Final = 128 * MEBIBYTE
MOST_TENSORS: Final = 1024 * MEBIBYTE
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class Release:
    """One version of the agent for one kind of device.

    Attributes:
        id: `<version>-<hash>`; the hash covers everything that is installed, so equal names mean equal files.
        requirements: For pip: exact versions with hashes, the agent's among them.
        wheels: Everything that is sent, with where its bytes are: a file, or the bytes themselves.
        online_wheels: Names of those that are sent although the device fetches the others itself.
        unit: Text of the systemd unit.
    """

    id: str
    requirements: str
    wheels: tuple[tuple[WheelEntry, Path | bytes], ...]
    online_wheels: frozenset[str]
    unit: str

    def plan(self, python: str, *, online: bool) -> VersionPlan:
        """What the device is told to make, with one of its interpreters."""
        names = [entry.name for entry, _ in self.sent(online=online)]
        return VersionPlan(
            id=self.id,
            python=python,
            requirements=self.requirements,
            wheels=names,
            unit=self.unit,
            online=online,
            manifest={"version": cocoi_agent.__version__, "protocol": str(PROTOCOL_VERSIONS[1])},
        )

    def sent(self, *, online: bool) -> tuple[tuple[WheelEntry, Path | bytes], ...]:
        """The wheels that the host brings."""
        return tuple(wheel for wheel in self.wheels if not online or wheel[0].name in self.online_wheels)


def release(house: Wheelhouse, agent: Wheel, unit: str) -> Release:
    """The version that consists of these wheels and this unit."""
    requirements = requirement_lines(house, agent)
    digest = hashlib.sha256("\0".join((unit, requirements, house.installer.sha256)).encode()).hexdigest()
    files: list[tuple[WheelEntry, Path | bytes]] = [
        (WheelEntry(wheel.name, wheel.size, wheel.sha256), wheel.path) for wheel in house.wheels
    ]
    own = WheelEntry(agent.name, len(agent.data), agent.sha256)
    return Release(
        id=f"{cocoi_agent.__version__}-{digest[:_DIGITS]}",
        requirements=requirements,
        wheels=(*files, (own, agent.data)),
        online_wheels=frozenset({house.installer.name, own.name}),
        unit=unit,
    )


def settings(device: Device, facts: DeviceFacts, address: str, security: Security) -> dict[str, str]:
    """Variables that the unit starts the agent with.

    Args:
        device: As the fleet file has it.
        facts: What the device told.
        address: The device's own IP address that `device.address` stands for.
        security: Of the fleet.
    """
    owner = facts.owner([address])
    plain, zone, _ = address.partition("%")
    # A zone is the name of an interface, and each machine has its own.
    host = f"{plain}%{owner.name}" if zone and owner is not None else address
    return {
        "COCOI_ID": device.name,
        "COCOI_HOST": host,
        "COCOI_PORT": str(device.port),
        "COCOI_INTERFACE": "" if owner is None or owner.kind == "loopback" else owner.name,
        "COCOI_SECURITY": security,
        "COCOI_MEMORY_LIMIT": str(tensor_bytes(facts.memory_total)),
        "COCOI_DATA_LIMIT": "auto",
    }


def tensor_bytes(memory: int | None) -> int:
    """Memory for the tensors of all runs: a quarter of the device's, within bounds."""
    return min(max((memory or 0) // 4, LEAST_TENSORS), MOST_TENSORS)
