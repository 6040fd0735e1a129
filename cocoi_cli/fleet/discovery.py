"""Devices that announce themselves by mDNS. What is found only proposes: the fleet file is the truth.

Agents announce `_cocoi._tcp`; a fresh Raspberry Pi at least answers to `raspberrypi.local`,
the next ones to `raspberrypi-2.local` and so on. Nothing is announced from here.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ClassVar, Final

import ifaddr  # comes with zeroconf, which finds interfaces by it
from zeroconf import AddressResolver, IPVersion, ServiceStateChange  # type: ignore[attr-defined]  # not in `__all__`
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from cocoi_cli.errors import FailedError, UsageError
from cocoi_cli.fleet.sightings import Found, Record, merge
from cocoi_cli.model.inputs import reason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Iterable

    from zeroconf import Zeroconf

SERVICES: Final = {
    "_cocoi._tcp.local.": "cocoi",
    "_ssh._tcp.local.": "ssh",
    "_sftp-ssh._tcp.local.": "sftp",
    "_workstation._tcp.local.": "workstation",
}
FRESH_NAMES: Final = ("raspberrypi.local", *(f"raspberrypi-{number}.local" for number in range(2, 10)))
"""What fresh cards are called; Avahi numbers those that come later."""

_PORT: Final = 5353
_GROUP: Final = "224.0.0.251"
_ANSWER_MS: Final = 1500  # a device that has announced itself answers within a second; once more for a lost packet


class NoInterfaceError(UsageError):
    """This machine has no network interface of that name, or none with an IPv4 address."""

    code: ClassVar[str] = "no-interface"

    def __init__(self, interface: str, known: Collection[str]) -> None:
        listed = ", ".join(f"`{each}`" for each in sorted(known)) or "none"
        super().__init__(
            f"no network interface `{interface}` with an IPv4 address; there are: {listed}",
            interface=interface,
            known=sorted(known),
        )


class MdnsPortError(FailedError):
    """Another program has the port of mDNS and does not share it."""

    code: ClassVar[str] = "mdns-port"

    def __init__(self, port: int, cause: str) -> None:
        super().__init__(f"cannot listen for announcements on UDP port {port}: {cause}", port=port, cause=cause)


class NoMulticastError(FailedError):
    """No network interface takes part in multicast."""

    code: ClassVar[str] = "no-multicast"

    def __init__(self, interfaces: Collection[str], cause: str) -> None:
        listed = ", ".join(f"`{each}`" for each in interfaces) or "this machine"
        super().__init__(f"no multicast on {listed}: {cause}", interfaces=list(interfaces), cause=cause)


async def discover(
    *,
    seconds: float,
    interface: str | None = None,
    names: Iterable[str] = FRESH_NAMES,
    on_found: Callable[[Found], None] | None = None,
    stop: asyncio.Event | None = None,
) -> tuple[Found, ...]:
    """Look for devices that announce themselves or answer to a name.

    Args:
        seconds: How long to listen.
        interface: Name or IPv4 address of one network interface; None for all but the loopback.
        names: Host names under `.local` that are asked for.
        on_found: Told of a device when it is first heard of, and again when more of it is known.
        stop: Ends the search early once it is set.

    Raises:
        NoInterfaceError, MdnsPortError, NoMulticastError: As they say.
    """
    async with _opened(interface) as zeroconf:
        search = _Search(zeroconf, on_found)
        return await search.run(seconds, names, stop or asyncio.Event())


class _Search:
    """Collects records while it listens."""

    def __init__(self, zeroconf: AsyncZeroconf, on_found: Callable[[Found], None] | None) -> None:
        self._zeroconf = zeroconf
        self._on_found = on_found
        self._records: list[Record] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float, names: Iterable[str], stop: asyncio.Event) -> tuple[Found, ...]:
        for name in names:
            self._start(self._ask_name(name, seconds))
        browser = AsyncServiceBrowser(self._zeroconf.zeroconf, list(SERVICES), handlers=[self._heard])
        try:
            async with asyncio.timeout(seconds):
                await stop.wait()
        except TimeoutError:
            pass
        finally:
            await browser.async_cancel()
        if stop.is_set():
            for task in self._tasks:
                task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
        return merge(self._records)

    def _heard(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        del zeroconf
        if state_change is not ServiceStateChange.Removed:
            self._start(self._ask_service(service_type, name))

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

    async def _ask_service(self, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if await info.async_request(self._zeroconf.zeroconf, _ANSWER_MS) and info.server:
            kind = SERVICES[service_type]
            self._add(
                Record(info.server, tuple(info.parsed_scoped_addresses()), kind, info.port, info.decoded_properties)
            )

    async def _ask_name(self, name: str, seconds: float) -> None:
        resolver = AddressResolver(f"{name}.")
        if await resolver.async_request(self._zeroconf.zeroconf, seconds * 1000):
            self._add(Record(f"{name}.", tuple(resolver.parsed_scoped_addresses()), "name", None, {}))

    def _add(self, record: Record) -> None:
        self._records.append(record)
        if self._on_found is not None:
            host = record.host.lower()
            self._on_found(merge([each for each in self._records if each.host.lower() == host])[0])


@asynccontextmanager
async def _opened(interface: str | None) -> AsyncIterator[AsyncZeroconf]:
    # What zeroconf logs (an interface that went away, a packet that is none) is no business of the user's.
    logging.getLogger("zeroconf").addHandler(logging.NullHandler())
    logging.getLogger("zeroconf").propagate = False
    addresses = usable(interface_addresses(interface))
    try:
        zeroconf = AsyncZeroconf(interfaces=addresses, ip_version=IPVersion.V4Only)
    except OSError as error:
        raise NoMulticastError(addresses, reason(error)) from error
    try:
        yield zeroconf
    finally:
        await zeroconf.async_close()


def interface_addresses(interface: str | None) -> list[str]:
    """IPv4 addresses of an interface, given by its name or by one of them; None for all but the loopback.

    Raises:
        NoInterfaceError: If there is no such interface with an IPv4 address.
    """
    found: dict[str, list[str]] = {}
    for adapter in ifaddr.get_adapters():
        for ip in adapter.ips:
            if isinstance(ip.ip, str):  # IPv6 addresses are tuples here
                found.setdefault(adapter.nice_name, []).append(ip.ip)
    if interface is None:
        every = [address for addresses in found.values() for address in addresses]
        return [address for address in every if not ipaddress.ip_address(address).is_loopback]
    if interface in found:
        return found[interface]
    if any(interface in addresses for addresses in found.values()):
        return [interface]
    raise NoInterfaceError(interface, found)


def usable(addresses: list[str]) -> list[str]:
    """Those of this machine's IPv4 addresses whose interface takes part in multicast.

    One interface that does not, such as a tunnel, must not end the search on the others.

    Raises:
        MdnsPortError: If the port of mDNS cannot be shared.
        NoMulticastError: If there is none.
    """
    good = []
    cause = "it has no IPv4 address besides the loopback"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind(("", _PORT))
        except OSError as error:
            raise MdnsPortError(_PORT, reason(error)) from error
        for address in addresses:
            membership = socket.inet_aton(_GROUP) + socket.inet_aton(address)
            try:
                probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # a second address of one interface
                    cause = reason(error)
                    continue
            good.append(address)
    if not good:
        raise NoMulticastError(addresses, cause)
    return good
