"""What the install of one device is made of, and what it tells, as records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.fleet.scripts import Tree


@dataclass(frozen=True, slots=True)
class Version:
    """A version on a device.

    Attributes:
        id: Its name.
        complete: Whether it is whole.
        confirmed: Whether it has ever passed a health check.
    """

    id: str
    complete: bool
    confirmed: bool


@dataclass(frozen=True, slots=True)
class UnitState:
    """The agent's service.

    Attributes:
        active: systemd's word: `active`, `inactive`, `failed`, `activating`, ...
        sub: Its finer word.
        pid: Of the agent; 0 if it does not run.
        restarts: How often systemd restarted it by itself.
        result: Why it ended last: `success`, `exit-code`, `watchdog`, `oom-kill`, ...
        since: Seconds in this state; None if unknown.
    """

    active: str
    sub: str
    pid: int
    restarts: int
    result: str
    since: float | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is installed on a device.

    Attributes:
        current: The version that runs; None if none.
        previous: The one before it.
        versions: All of them.
        wheels: SHA-256 of each wheel by its name.
        config: Hash of the configuration in use; None if there is none or only root may know.
        pending: Whether a switch was neither confirmed nor taken back.
        unit: The service.
        linger: Whether the user's services run without a login.
        leftovers: Paths of ours that exist.
    """

    current: str | None
    previous: str | None
    versions: tuple[Version, ...]
    wheels: Mapping[str, str]
    config: str | None
    pending: bool
    unit: UnitState
    linger: bool
    leftovers: tuple[str, ...]

    def has(self, ident: str) -> bool:
        """Whether this version is whole on the device."""
        return any(version.id == ident and version.complete for version in self.versions)


@dataclass(frozen=True, slots=True)
class WheelEntry:
    """A wheel to send; `size` in bytes."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class VersionPlan:
    """What a version is made of.

    Attributes:
        id: Its name.
        python: Path of the device's interpreter.
        requirements: For pip: exact versions with hashes, the agent's among them.
        wheels: Names of the wheels on the device, pip's among them.
        unit: Text of the unit.
        online: Whether the device fetches what it lacks itself.
        manifest: JSON values; `version` and `protocol` are announced by the device.
    """

    id: str
    python: str
    requirements: str
    wheels: Sequence[str]
    unit: str
    online: bool
    manifest: Tree


@dataclass(frozen=True, slots=True)
class Switched:
    """Outcome of a switch.

    Attributes:
        changed: Whether the agent was started, restarted or reloaded.
        how: `unchanged`, `started`, `reloaded` or `restarted`.
        previous: The version to go back to; None if there is none.
    """

    changed: bool
    how: str
    previous: str | None
