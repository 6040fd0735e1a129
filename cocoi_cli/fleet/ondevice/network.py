"""Interfaces with their addresses, and who listens on a port."""

from __future__ import annotations

import pwd
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.reading import Root

NET = "/sys/class/net"
LISTEN = "0A"
LOOPBACK = 772  # ARPHRD_LOOPBACK


def interfaces(root: Root) -> list[dict[str, Any]]:
    """Each interface: kind, addresses, state, speed in Mbit/s, Wi-Fi power save."""
    addresses = _addresses(root)
    return [_interface(root, name, addresses.get(name, [])) for name in root.names(NET)]


def _interface(root: Root, name: str, addresses: list[str]) -> dict[str, Any]:
    folder = f"{NET}/{name}"
    kind = _kind(root, folder)
    speed = root.number(folder + "/speed")  # -1, or not readable, where the driver does not know
    return {
        "name": name,
        "kind": kind,
        "addresses": addresses,
        "up": root.text(folder + "/operstate") in ("up", "unknown"),
        "speed_mbit": speed if speed is not None and speed > 0 else None,
        "power_save": _power_save(root, name) if kind == "wireless" else None,
    }


def _kind(root: Root, folder: str) -> str:
    if root.number(folder + "/type") == LOOPBACK:
        return "loopback"
    if root.exists(folder + "/wireless") or root.exists(folder + "/phy80211"):
        return "wireless"
    return "wired" if root.exists(folder + "/device") else "virtual"


def _power_save(root: Root, name: str) -> bool | None:
    said = (root.tool("iw", "dev", name, "get", "power_save") or "").lower()
    if said.endswith(": on"):
        return True
    return False if said.endswith(": off") else None


def _addresses(root: Root) -> dict[str, list[str]]:
    """Addresses by interface, without their prefix lengths."""
    found: dict[str, list[str]] = {}
    for line in (root.tool("ip", "-o", "addr", "show") or "").splitlines():
        # `2: eth0    inet 192.168.1.11/24 brd ...`
        words = line.split()
        if len(words) > 3 and words[2] in ("inet", "inet6"):
            found.setdefault(words[1].partition("@")[0], []).append(words[3].partition("/")[0])
    return found or _local_addresses(root)


def _local_addresses(root: Root) -> dict[str, list[str]]:
    """Without `ip`: what the kernel tells of each interface (its first IPv4 address only)."""
    import fcntl  # noqa: PLC0415  (devices are Linux; these scripts are also read elsewhere)
    import socket  # noqa: PLC0415
    import struct  # noqa: PLC0415

    found: dict[str, list[str]] = {}
    if root.prefix:
        return found
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for name in root.names(NET):
            try:
                reply = fcntl.ioctl(asked.fileno(), 0x8915, struct.pack("256s", name.encode()[:15]))  # SIOCGIFADDR
            except OSError:
                continue
            found.setdefault(name, []).append(socket.inet_ntoa(reply[20:24]))
    return found


def listener(root: Root, port: int) -> dict[str, Any] | None:
    """Who listens on a TCP port: user, and process where it can be told; None if nobody does."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in (root.text(table) or "").splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == LISTEN and int(words[1].rpartition(":")[2], 16) == port:
                uid = int(words[7])
                return {"user": _user(uid), "process": _process(root, words[9], uid)}
    return None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _process(root: Root, inode: str, uid: int) -> str | None:
    """Name of the process that owns a socket; of another user's processes only the agent is known."""
    wanted = f"socket:[{inode}]"
    for pid in root.names("/proc"):
        if not pid.isdigit():
            continue
        folder = "/proc/" + pid
        if any(root.link(f"{folder}/fd/{fd}") == wanted for fd in root.names(folder + "/fd")):
            return root.text(folder + "/comm")
        if root.text(folder + "/comm") == "cocoi-agent" and _owner(root, folder) == uid:
            return "cocoi-agent"
    return None


def _owner(root: Root, folder: str) -> int | None:
    try:
        return root.path(folder).stat().st_uid
    except OSError:
        return None
