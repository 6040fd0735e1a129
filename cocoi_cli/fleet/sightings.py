"""What mDNS tells, put together by device and compared with the fleet. Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cocoi_cli.fleet.names import is_ip, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cocoi_cli.fleet.records import Device, Inventory

State = Literal["new", "known", "moved"]


@dataclass(frozen=True, slots=True)
class Record:
    """One announcement or answer.

    Attributes:
        host: Name of the device, `raspberrypi-2.local.`.
        addresses: Its addresses; link-local ones with their zone.
        kind: What was announced: `cocoi`, `ssh`, ...; `name` for an answer to a name.
        port: Of what was announced.
        properties: The TXT record.
    """

    host: str
    addresses: tuple[str, ...]
    kind: str
    port: int | None
    properties: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Found:
    """One device as mDNS knows it.

    Attributes:
        host: `raspberrypi-2.local`.
        addresses: The most useful first: IPv4, then IPv6, link-local last.
        kinds: What it announces, sorted.
        id: Id of its agent, if it announces one.
        version: Version of its agent, if it announces one.
        port: Port of its agent, if it announces one.
    """

    host: str
    addresses: tuple[str, ...]
    kinds: tuple[str, ...]
    id: str | None
    version: str | None
    port: int | None

    @property
    def name(self) -> str:
        """What it calls itself, without the domain."""
        return self.host.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Sighting:
    """A found device beside the fleet.

    Attributes:
        found: The device.
        state: `known`, `moved` (an agent of the fleet at another address), or `new`.
        device: Which device of the fleet it is; None for a new one.
    """

    found: Found
    state: State
    device: Device | None


def merge(records: Iterable[Record]) -> tuple[Found, ...]:
    """One entry per host name, sorted by name with numbers in their order; a name without addresses is left out."""
    by_host: dict[str, list[Record]] = {}
    for record in records:
        by_host.setdefault(record.host.rstrip(".").lower(), []).append(record)
    found = (_merged(host, group) for host, group in by_host.items())
    return tuple(sorted((each for each in found if each.addresses), key=lambda each: (len(each.host), each.host)))


def compare(found: Sequence[Found], inventory: Inventory | None) -> tuple[Sighting, ...]:
    """Which of the found devices are in the fleet, and where.

    An agent's id counts first: with it at another address than the fleet file's, the device has
    moved. Only if several claim one id nobody knows which it is, and only the one at the address
    of the fleet file counts.
    """
    devices = inventory.devices if inventory is not None else ()
    return tuple(_sighting(each, found, devices) for each in found)


def _sighting(one: Found, found: Sequence[Found], devices: Sequence[Device]) -> Sighting:
    device = next((each for each in devices if _is_at(each, one)), None)
    if device is not None:
        return Sighting(one, "known", device)
    device = next((each for each in devices if each.name == one.id), None)
    claims = [each for each in found if each.id is not None and each.id == one.id]
    if device is None or len(claims) != 1 or not is_ip(device.address):
        return Sighting(one, "new", None)
    return Sighting(one, "moved", device)


def _is_at(device: Device, found: Found) -> bool:
    if found.id is not None and found.id != device.name:
        return False  # another device of some fleet has this address now
    plain = {_plain(address) for address in found.addresses}
    ssh = parse_target(device.ssh).host
    return bool({_plain(device.address), _plain(ssh)} & (plain | {found.host})) and not (
        # Its ssh target may be a name that follows it, while the address of its agent is the old one.
        found.id == device.name and is_ip(device.address) and _plain(device.address) not in plain
    )


def _merged(host: str, group: Sequence[Record]) -> Found:
    addresses = dict.fromkeys(address for record in group for address in record.addresses)
    agent = next((record for record in group if record.kind == "cocoi"), None)
    return Found(
        host=host,
        addresses=tuple(sorted(addresses, key=_usefulness)),
        kinds=tuple(sorted({record.kind for record in group})),
        id=agent.properties.get("id") if agent else None,
        version=agent.properties.get("version") if agent else None,
        port=agent.port if agent else None,
    )


def _usefulness(address: str) -> tuple[bool, bool, str]:
    parsed = ipaddress.ip_address(address)
    return parsed.is_link_local, parsed.version == 6, address


def _plain(address: str) -> str:
    """Without the zone, which is another on each machine, and in lower case."""
    return address.partition("%")[0].rstrip(".").lower()
