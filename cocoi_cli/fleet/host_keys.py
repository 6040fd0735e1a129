"""Which host key is the right one: always checked, by the rules of `ssh` with StrictHostKeyChecking=ask.

`ssh` looks keys up by the name that was typed, not by the address behind it, and so does this:
addresses move between devices. A fleet file vouches for the keys that it names.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Final

import asyncssh

from cocoi_cli.fleet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

SSH_PORT: Final = 22

# Preferred in this order at first contact, as OpenSSH prefers them: people compare fingerprints with its own.
FAMILIES: Final = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
PLAIN: Final = tuple(name for family in FAMILIES for name in family)
"""Host key algorithms without certificates."""


class RevokedHostKeyError(DeviceError):
    """The device shows a host key that the user's list of host keys calls revoked."""

    code: ClassVar[str] = "host-key-revoked"


class KnownHostsNotWritableError(DeviceError):
    """An accepted host key could not be written down; `details["path"]`."""

    code: ClassVar[str] = "known-hosts-not-writable"


@dataclass(frozen=True, slots=True)
class Known:
    """What the lists of host keys say about one name.

    Attributes:
        keys: Its keys.
        loose: Keys of the same host without a port: good enough to trust, not to complain about.
        authorities: Keys that may certify it.
        revoked: Keys that must never be trusted.
        certificates: What asyncssh needs for X.509: trusted and revoked certificates, trusted and revoked subjects.
    """

    keys: tuple[asyncssh.SSHKey, ...] = ()
    loose: tuple[asyncssh.SSHKey, ...] = ()
    authorities: tuple[asyncssh.SSHKey, ...] = ()
    revoked: tuple[asyncssh.SSHKey, ...] = ()
    certificates: tuple[Sequence[Any], ...] = ((), (), (), ())

    def trusted(self, approved: Iterable[asyncssh.SSHKey], required: str | None) -> tuple[asyncssh.SSHKey, ...]:
        """Keys to accept: all known ones, or of these only the one whose fingerprint is required."""
        keys = dict.fromkeys((*self.keys, *self.loose, *approved))
        return tuple(key for key in keys if required is None or fingerprint(key) == required)


def fingerprint(key: asyncssh.SSHKey) -> str:
    """`SHA256:...`, as `ssh-keygen -l` shows it."""
    return key.get_fingerprint()


def entry_name(host: str, port: int, alias: str | None = None) -> str:
    """What a host is called in a list of host keys: an alias alone, else with the port unless that is 22."""
    if alias is not None:
        return alias
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


def look_up(files: Iterable[Path], name: str) -> Known:
    """What some lists of host keys say about a name of `entry_name`.

    Hashed names, patterns and markers are understood; lines that are not are skipped, as
    `ssh` does. A file that does not exist holds nothing.

    Raises:
        OSError: If a file exists and cannot be read.
    """
    bare = name[1 : name.rindex("]")] if name.startswith("[") else None
    lists = [hosts for path in files if (hosts := _read(path)) is not None]
    # With the port inside the name: asyncssh would fall back to the bare host, and call its key changed.
    exact = [hosts.match(name, "", None) for hosts in lists]
    other = [] if bare is None else [hosts.match(bare, "", None) for hosts in lists]

    def joined(column: int, rows: Iterable[Sequence[Sequence[Any]]]) -> tuple[Any, ...]:
        return tuple(entry for row in rows for entry in row[column])

    both = [*exact, *other]
    certificates = tuple(joined(column, both) for column in range(3, 7))
    return Known(joined(0, exact), joined(0, other), joined(1, both), joined(2, both), certificates)


def record(path: Path, name: str, key: asyncssh.SSHKey) -> None:
    """Append a key to a list of host keys, once.

    Nothing is awaited between looking and writing, so devices that are accepted at the same
    time do not write the same line twice, and one write keeps lines whole between processes.

    Raises:
        OSError: If it cannot be written.
    """
    if any(known.public_data == key.public_data for known in look_up([path], name).keys):
        return
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, parents=True)
    text = key.export_public_key("openssh").split()[:2]
    line = b" ".join([name.encode(), *text]) + b"\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(handle, (b"\n" if _is_cut_off(handle) else b"") + line)
    finally:
        os.close(handle)


def _is_cut_off(handle: int) -> bool:
    """Whether the file's last line lacks its end; what follows would be part of it."""
    if os.lseek(handle, 0, os.SEEK_END) == 0:
        return False
    os.lseek(handle, -1, os.SEEK_END)
    return os.read(handle, 1) != b"\n"


def _read(path: Path) -> asyncssh.SSHKnownHosts | None:
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return _parsed(path, status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=16)  # a fleet asks once per device, and lists can have thousands of lines
def _parsed(path: Path, *_stamp: int) -> asyncssh.SSHKnownHosts:
    hosts = asyncssh.SSHKnownHosts()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            hosts.load(line)
        except ValueError:
            continue
    return hosts
