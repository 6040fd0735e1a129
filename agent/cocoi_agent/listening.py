"""Sockets that listen, and the addresses of a network interface.

With *freebind* (ip(7), Linux) a socket may be bound to an address that the machine
does not have yet: the agent starts before the network does, and is reachable as soon
as the address comes.
"""

from __future__ import annotations

import array
import errno
import ipaddress
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

BACKLOG: Final = 128

_ABSENT: Final = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
_IP_FREEBIND: Final = 15  # <linux/in.h>
_IPV6_FREEBIND: Final = 78  # <linux/in6.h>
_SIOCGIFCONF: Final = 0x8912  # <linux/sockios.h>: every IPv4 address with the name of its interface
_MAX_ADDRESSES: Final = 64
_NAME_BYTES: Final = 16  # IFNAMSIZ
_IFREQ_BYTES: Final = 40 if struct.calcsize("P") == 8 else 32  # struct ifreq: the name and a union


def open_listeners(host: str, port: int, *, freebind: bool = False) -> list[socket.socket]:
    """Bind and listen; non-blocking.

    Args:
        host: Numeric address, name, or empty for all addresses.
        port: TCP port; 0 lets the system choose.
        freebind: Do so although the machine may not have the address: where `host` is
            numeric, on Linux.

    Returns:
        One socket for a numeric address; one for each address of a name that the machine has.

    Raises:
        OSError: If an address cannot be bound.
    """
    free = freebind and is_numeric(host)
    found = dict.fromkeys(socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE))
    opened: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, _, _, _, address in found:
            try:
                opened.append(_listener(family, address, free=free))
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
        if not opened:
            raise absent or OSError(errno.EADDRNOTAVAIL, "the name has no address")
    except OSError:
        for sock in opened:
            sock.close()
        raise
    return opened


def is_numeric(host: str) -> bool:
    """Whether a host is an address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def interface_addresses(name: str) -> list[str]:
    """The IPv4 addresses of an interface, in the kernel's order; none where it has none, or not on Linux.

    Needs nothing but an IPv4 socket: a sandboxed service may not have netlink.
    """
    if sys.platform != "linux":
        return []
    import fcntl  # noqa: PLC0415 - not on every platform

    size = _IFREQ_BYTES
    room = array.array("B", bytes(size * _MAX_ADDRESSES))
    request = bytearray(struct.pack("@iP", len(room), room.buffer_info()[0]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock.fileno(), _SIOCGIFCONF, request)
    used = struct.unpack_from("@i", request)[0]
    found: list[str] = []
    for at in range(0, used, size):
        label = room[at : at + _NAME_BYTES].tobytes().split(b"\0", 1)[0].decode("utf-8", "replace")
        # Second addresses may carry a label such as `eth0:1`.
        if label.partition(":")[0] == name:
            found.append(socket.inet_ntoa(room[at + _NAME_BYTES + 4 : at + _NAME_BYTES + 8].tobytes()))
    return found


def moved_to(bound: str, found: Sequence[str]) -> str | None:
    """Where to listen instead: an address of the interface, once it has the bound one no more.

    None for IPv6 and for all addresses at once, which are not followed. A link-local
    address, which a machine gives itself while DHCP does not answer, replaces only
    another.
    """
    old = ipaddress.ip_address(bound)
    if bound in found or old.version != 4 or old.is_unspecified:
        return None
    wanted = [address for address in found if old.is_link_local or not ipaddress.ip_address(address).is_link_local]
    return wanted[0] if wanted else None


def _listener(family: int, address: tuple[object, ...], *, free: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if free and sys.platform == "linux":
            is_six = family == socket.AF_INET6
            level, option = (socket.IPPROTO_IPV6, _IPV6_FREEBIND) if is_six else (socket.IPPROTO_IP, _IP_FREEBIND)
            sock.setsockopt(level, option, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock
