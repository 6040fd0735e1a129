"""What a device told about itself, as records.

`facts_tree` makes them, `survey` asks devices for them, `findings` judges them.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cocoi_cli.fleet.records import Install
    from cocoi_cli.planning.profile import Condition

OLDEST_PYTHON: Final = (3, 11)
"""The oldest Python that the pinned ONNX Runtime has wheels for."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python 3 on the device; None where it did not answer."""

    path: str
    version: tuple[int, ...]
    bits: int | None
    venv: bool | None
    ssl: bool | None

    @property
    def text(self) -> str:
        """Version for people."""
        return ".".join(map(str, self.version)) or "of unknown version"


@dataclass(frozen=True, slots=True)
class Disk:
    """A place on the device; sizes in bytes, as an ordinary user has them."""

    path: str
    free: int
    total: int
    filesystem: str | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface; `kind` is `wired`, `wireless`, `virtual` or `loopback`."""

    name: str
    kind: str
    addresses: tuple[str, ...]
    up: bool
    speed_mbit: int | None
    power_save: bool | None


@dataclass(frozen=True, slots=True)
class Unit:
    """The agent's service as systemd sees it."""

    active: str | None
    result: str | None
    restarts: int | None


@dataclass(frozen=True, slots=True)
class Installed:
    """What a deploy left on the device.

    Attributes:
        mode: `system` or `user`.
        current: Id of the version in use.
        previous: Id of the one before.
        python: Its interpreter, which has numpy and ONNX Runtime.
        agent: Version of the agent.
        onnxruntime: Version of ONNX Runtime.
        unit: Its service; None where systemd knows none.
    """

    mode: Install
    current: str
    previous: str | None
    python: str
    agent: str | None
    onnxruntime: str | None
    unit: Unit | None


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens on the agent's port; `process` is None where the device does not show it."""

    user: str
    process: str | None


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """Everything that was read on a device; see `ondevice.facts` for where it comes from.

    Sizes are bytes. `architecture` is the userland's, in the words of wheels (`aarch64`, `x86_64`) where
    there is one, else what the device calls it. `ssh_address` is where the SSH connection arrived.
    """

    hostname: str | None
    machine_id: str | None
    boot_id: str | None
    user: str | None
    home: str | None
    ssh_address: str | None
    model: str | None
    cores: int | None
    processor: str | None
    aes: bool | None
    memory_total: int | None
    memory_available: int | None
    swap: int | None
    memory_cgroup: bool | None
    condition: Condition
    governors: tuple[str, ...]
    os: str | None
    kernel: str | None
    architecture: str | None
    bits: int | None
    libc: tuple[int, int] | None
    interpreters: tuple[Interpreter, ...]
    systemd_running: bool | None
    systemd: int | None
    linger: bool | None
    journal_kept: bool | None
    test_units: tuple[str, ...]
    installed: tuple[Installed, ...]
    disks: tuple[Disk, ...]
    interfaces: tuple[Interface, ...]
    listener: Listener | None
    clock_offset_s: float
    clock_uncertainty_s: float
    synchronised: bool | None

    def python(self) -> Interpreter | None:
        """The newest interpreter that an agent can run on; None if there is none."""
        fit = (each for each in self.interpreters if each.version >= OLDEST_PYTHON and each.bits == 64)
        return next((each for each in fit if each.venv and each.ssl is not False), None)

    def disk(self, path: str) -> Disk | None:
        """A place by its path."""
        return next((disk for disk in self.disks if disk.path == path), None)

    def install(self, mode: Install | None = None) -> Installed | None:
        """What is installed in this mode, or in any."""
        return next((each for each in self.installed if mode in (None, each.mode)), None)

    def owner(self, addresses: Iterable[str]) -> Interface | None:
        """The interface that has one of these addresses."""
        wanted = {_plain(address) for address in addresses}
        return next((each for each in self.interfaces if wanted & {_plain(own) for own in each.addresses}), None)


def _plain(address: str) -> str:
    """One spelling for each address; a name stays as it is."""
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return address
