"""Everything about a device that a profile, a deploy or a doctor asks; read only, without root, in a second or two.

Requests: `{"prefix": "", "port": 52600}` for all facts, with `"only": "condition"` for
what changes from moment to moment. The result's keys are read by `cocoi_cli.fleet.facts`.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import hardware, network, software
from cocoi_cli.fleet.ondevice.reading import Root

if TYPE_CHECKING:
    from typing import BinaryIO

TIME_ERROR = 5  # what adjtimex answers while nobody disciplines the clock
PLACES = ("/", "/opt", "/var/lib", "/tmp")  # noqa: S108 - asked how full it is


def main(request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """Read the facts; see the module."""
    del payload
    started, since = time.time(), time.monotonic()
    root = Root(request.get("prefix", ""))
    found = {"condition": hardware.condition(root)} if request.get("only") == "condition" else everything(root, request)
    found["clock"] = {"time": started, "seconds": time.monotonic() - since, "synchronised": synchronised(root)}
    return found


def everything(root: Root, request: dict[str, Any]) -> dict[str, Any]:
    """All facts but the clock's."""
    user, home = _login()
    machine_id = root.text("/etc/machine-id") or None
    return {
        "hostname": root.text("/proc/sys/kernel/hostname") or os.uname().nodename,
        "machine_id": machine_id,
        "boot_id": root.text("/proc/sys/kernel/random/boot_id"),
        "user": user,
        "home": home,
        "uid": os.getuid(),
        "ssh_address": _ssh_address(),
        "hardware": hardware.board(root),
        "condition": hardware.condition(root),
        "system": software.system(root),
        "interpreters": software.interpreters(root),
        "services": software.services(root, user, home, machine_id),
        "installed": software.installed(root, home),
        "disks": disks(root, [*PLACES, home]),
        "interfaces": network.interfaces(root),
        "listener": network.listener(root, int(request.get("port", 0))),
    }


def synchronised(root: Root) -> bool | None:
    """Whether a time service keeps the clock; None where the kernel does not tell."""
    if root.exists("/run/systemd/timesync/synchronized"):
        return True
    if root.prefix:
        return False
    try:
        status = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if status < 0 else status != TIME_ERROR


def disks(root: Root, places: list[str]) -> list[dict[str, Any]]:
    """Free bytes for an ordinary user where files would go; a folder that is absent counts as its parent."""
    mounts = _mounts(root)
    found = []
    for place in places:
        nearest = place
        while not root.exists(nearest) and nearest != "/":
            nearest = nearest.rpartition("/")[0] or "/"
        try:
            status = os.statvfs(str(root.path(nearest)))
        except OSError:
            continue
        mount = max((each for each in mounts if _within(nearest, each)), key=len, default="")
        found.append(
            {
                "path": place,
                "free": status.f_bavail * status.f_frsize,
                "total": status.f_blocks * status.f_frsize,
                "filesystem": mounts.get(mount),
                "read_only": bool(status.f_flag & os.ST_RDONLY),
            }
        )
    return found


def _within(place: str, mount: str) -> bool:
    return mount in ("/", place) or place.startswith(mount + "/")


def _mounts(root: Root) -> dict[str, str]:
    """File system type by mount point."""
    lines = (line.split() for line in (root.text("/proc/mounts") or "").splitlines())
    return {words[1]: words[2] for words in lines if len(words) > 2}


def _login() -> tuple[str, str]:
    try:
        entry = pwd.getpwuid(os.getuid())
    except KeyError:
        return str(os.getuid()), str(Path.home())
    return entry.pw_name, entry.pw_dir


def _ssh_address() -> str | None:
    """The address of this device that the host's SSH connection came to."""
    words = os.environ.get("SSH_CONNECTION", "").split()
    return words[2] if len(words) == 4 else None
