"""The fleet's trust material on the host: who the host is, who each agent is, and the next of both.

In the data folder lie `host.crt`, `host.key` and `agents/<device>.crt`, `.key`. While certificates
are being rotated a folder `next` holds their successors:

    make_next     every device gets a successor, and so does the host
    (deploying)   an agent shows its successor and admits both hosts; the host is still the present
                  one and accepts an agent's present certificate as well as its successor
    adopt_next    successors take the places of the present ones, all at once
    (deploying)   an agent admits the new host only

At every moment the host reaches the agents that have been told and those that have not. Each
function happens as a whole or not at all, and may be called again.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet.changes import change, changing, settle
from cocoi_cli.fleet.folders import DataFolderError, data_folder, data_path
from cocoi_cli.fleet.pairs import BrokenKeysError, Pair, certificate_key, new_pair, read_pair
from cocoi_cli.model.inputs import reason
from cocoi_cli.runtime.trust import Identity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from cocoi_cli.fleet.records import Device, Inventory

_HOST: Final = "host"
_NEXT: Final = "next"


def ensure_host_identity(inventory: Inventory) -> Identity:
    """The host's certificate and key, made if the fleet has none yet.

    Raises:
        BrokenKeysError, OpenKeysError: If what is there cannot be used; it is left as it is.
        DataFolderError: If the data folder cannot be used.
    """
    return _ensure(inventory, _HOST)


def ensure_agent_identity(inventory: Inventory, device: Device) -> Identity:
    """A device's certificate and key, made if it has none yet; otherwise as `ensure_host_identity`."""
    return _ensure(inventory, _agent(device.name))


def host_identity(inventory: Inventory) -> Identity | None:
    """The host's present certificate and key; None if the fleet has none yet.

    Raises:
        BrokenKeysError, OpenKeysError: If what is there cannot be used.
        DataFolderError: If the data folder cannot be read.
    """
    return _find(inventory, _HOST)


def next_host_identity(inventory: Inventory) -> Identity | None:
    """The host's successor; None if no rotation is under way. Otherwise as `host_identity`."""
    return _find(inventory, f"{_NEXT}/{_HOST}")


def agent_certificate(inventory: Inventory, device: Device) -> Path | None:
    """What the host pins for a device: a file of its certificate, and during a rotation of its successor too.

    Returns:
        The file; None if the device never got a certificate.

    Raises:
        BrokenKeysError: If it is no certificate.
        DataFolderError: If the data folder cannot be read.
    """
    folder = data_path(inventory.id)
    with _mapped(folder):
        settle(folder)
        for path in (folder / _pinned(device.name), folder / f"{_agent(device.name)}.crt"):
            if path.exists():
                certificate_key(path, path.read_bytes())
                return path
    return None


def agent_files(inventory: Inventory, device: Device, env: Mapping[str, str]) -> dict[str, str]:
    """The files that the device's agent is configured with, by name; certificates are made where absent.

    Args:
        inventory: The fleet.
        device: One of its devices.
        env: Variables of `agent.env`.

    Raises:
        BrokenKeysError, OpenKeysError: If what is there cannot be used.
        DataFolderError: If the data folder cannot be used.
    """
    ensure_host_identity(inventory)
    folder = data_path(inventory.id)
    with _mapped(folder), changing(folder):
        hosts = [pair for stem in (_HOST, f"{_NEXT}/{_HOST}") if (pair := _read(folder, stem)) is not None]
        own = _read(folder, f"{_NEXT}/{_agent(device.name)}") or _made(folder, _agent(device.name))
    return {
        "agent.crt": own.certificate.decode(),
        "agent.key": own.key.decode(),
        "hosts.crt": b"".join(pair.certificate for pair in hosts).decode(),
        "agent.env": environment_text(env),
    }


def environment_text(env: Mapping[str, str]) -> str:
    """Variables in the form that systemd's `EnvironmentFile=` reads.

    Raises:
        ValueError: If a value has a line break.
    """
    for name, value in env.items():
        if re.search(r"[\x00\r\n]", value):
            raise ValueError(f"the value of {name} has a line break")
    return "".join(f"{name}={_quoted(value)}\n" for name, value in env.items())


def forget(inventory: Inventory, name: str) -> list[str]:
    """Remove a device's certificates and keys; returns the paths that went, inside the data folder.

    Raises:
        DataFolderError: If the data folder cannot be used.
    """
    folder = data_path(inventory.id)
    stems = _agent(name), f"{_NEXT}/{_agent(name)}"
    with _mapped(folder):
        if not folder.exists():
            return []
        with changing(folder):
            candidates = [f"{stem}.{kind}" for stem in stems for kind in ("crt", "key")] + [_pinned(name)]
            present = [each for each in candidates if (folder / each).exists()]
            if present:
                change(folder, {}, tuple(present))
    return present


def make_next(inventory: Inventory, devices: Iterable[Device]) -> Identity:
    """Make successors for the host and these devices, where they have none yet; the present ones stay in use.

    Returns:
        The host's successor.

    Raises:
        BrokenKeysError, OpenKeysError: If what is there cannot be used.
        DataFolderError: If the data folder cannot be used.
    """
    ensure_host_identity(inventory)
    folder = data_path(inventory.id)
    put: dict[str, bytes] = {}
    with _mapped(folder), changing(folder):
        if _read(folder, f"{_NEXT}/{_HOST}") is None:
            put |= _files(f"{_NEXT}/{_HOST}", new_pair(folder, _HOST))
        for device in devices:
            stem = _agent(device.name)
            if _read(folder, f"{_NEXT}/{stem}") is None:
                successor = new_pair(folder, device.name)
                put |= _files(f"{_NEXT}/{stem}", successor)
                put[_pinned(device.name)] = _present_certificate(folder, stem) + successor.certificate
        if put:
            change(folder, put)
    return _identity(folder, f"{_NEXT}/{_HOST}")


def adopt_next(inventory: Inventory) -> bool:
    """Put the successors in the places of the present certificates and keys; False if there are none.

    Raises:
        BrokenKeysError, OpenKeysError: If a successor cannot be used.
        DataFolderError: If the data folder cannot be used.
    """
    folder = data_path(inventory.id)
    with _mapped(folder):
        if not folder.exists():
            return False
        with changing(folder):
            stems = _next_stems(folder)
            pairs = {stem: _read(folder, f"{_NEXT}/{stem}") for stem in stems}
            put = {name: data for stem, pair in pairs.items() if pair for name, data in _files(stem, pair).items()}
            if put:
                change(folder, put, (_NEXT,))
    return bool(put)


def drop_next(inventory: Inventory) -> bool:
    """Give the successors up; False if there are none. An agent that already shows its own becomes unreachable.

    Raises:
        DataFolderError: If the data folder cannot be used.
    """
    folder = data_path(inventory.id)
    with _mapped(folder):
        if not folder.exists():
            return False
        with changing(folder):
            there = (folder / _NEXT).exists()
            if there:
                change(folder, {}, (_NEXT,))
    return there


def _ensure(inventory: Inventory, stem: str) -> Identity:
    """The present pair of this stem, made if absent."""
    folder = data_folder(inventory)
    with _mapped(folder), changing(folder):
        _made(folder, stem)
    return _identity(folder, stem)


def _made(folder: Path, stem: str) -> Pair:
    """The pair of this stem, made if absent; only inside `changing`."""
    pair = _read(folder, stem)
    if pair is None:
        pair = new_pair(folder, stem.rsplit("/", 1)[-1])
        change(folder, _files(stem, pair))
    return pair


def _present_certificate(folder: Path, stem: str) -> bytes:
    """Empty if there is none. Without its key it will do: a second host has no keys of agents, and may rotate."""
    path = _identity(folder, stem).certificate
    if not path.exists():
        return b""
    data = path.read_bytes()
    certificate_key(path, data)
    return data


def _find(inventory: Inventory, stem: str) -> Identity | None:
    folder = data_path(inventory.id)
    with _mapped(folder):
        settle(folder)
        try:
            pair = _read(folder, stem)
        except BrokenKeysError:
            with changing(folder):  # another process may just have been moving the two files
                pair = _read(folder, stem)
    return None if pair is None else _identity(folder, stem)


def _read(folder: Path, stem: str) -> Pair | None:
    return read_pair(_identity(folder, stem))


def _identity(folder: Path, stem: str) -> Identity:
    return Identity(folder / f"{stem}.crt", folder / f"{stem}.key")


def _files(stem: str, pair: Pair) -> dict[str, bytes]:
    return {f"{stem}.crt": pair.certificate, f"{stem}.key": pair.key}


def _next_stems(folder: Path) -> list[str]:
    """Everything that has a successor, by its present stem."""
    found = [*(folder / _NEXT).glob("host.*"), *(folder / _NEXT / "agents").glob("*")]
    return sorted({path.relative_to(folder / _NEXT).with_suffix("").as_posix() for path in found})


def _agent(name: str) -> str:
    return f"agents/{name}"


def _pinned(name: str) -> str:
    """What the host pins for a device while it is being rotated."""
    return f"{_NEXT}/pinned/{name}.crt"


def _quoted(value: str) -> str:
    """As systemd reads it: quotes where a character could mean something else."""
    return (
        value if re.fullmatch(r"[\w@%+=:,./-]*", value, re.ASCII) else '"' + re.sub(r'(["\\`$])', r"\\\1", value) + '"'
    )


@contextmanager
def _mapped(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataFolderError(folder, reason(error)) from error
