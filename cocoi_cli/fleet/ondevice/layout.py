"""Where everything of an installed agent lies on a device.

A system install belongs to root, a user install to the user who deploys and lies in the
home folder. Both have the same shape below `base`, so one code installs either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SYSTEM = "system"
USER = "user"

UNIT = "cocoi-agent.service"
TRIAL = "cocoi-agent-test"
TRIAL_UNIT = TRIAL + ".service"


@dataclass(frozen=True)
class Layout:
    """The paths of one install.

    Attributes:
        mode: `system` or `user`.
        root: Put before every path; empty on a real device.
        base: Versions, wheels and our own records.
        config: One folder per configuration, and the link `current`.
        unit_link: Where the service manager finds the unit.
        wants_link: What has it started at boot.
        advert: What the device's Avahi announces; None where Avahi is not asked.
        lock: A folder that always exists; the lock of installers is taken on it, so no file is left.
        made: What the running agent and the service manager make for us.
        trial_unit: The unit of the self-test.
        trial_output: What the self-test writes.
        trial_made: What the service manager makes for the self-test.
        others: Folders of the system that we, or the manager for us, may be the first to need.
    """

    mode: str
    root: Path
    base: Path
    config: Path
    unit_link: Path
    wants_link: Path
    advert: Path | None
    lock: Path
    made: tuple[Path, ...]
    trial_unit: Path
    trial_output: Path
    trial_made: tuple[Path, ...]
    others: tuple[Path, ...]

    @property
    def versions(self) -> Path:
        """Folder of virtual environments."""
        return self.base / "versions"

    @property
    def wheels(self) -> Path:
        """Folder of what versions are made of."""
        return self.base / "wheels"

    @property
    def current(self) -> Path:
        """Link to the version that runs."""
        return self.base / "current"

    @property
    def previous(self) -> Path:
        """Link to the version that ran before."""
        return self.base / "previous"

    @property
    def current_config(self) -> Path:
        """Link to the configuration in use."""
        return self.config / "current"

    @property
    def ledger(self) -> Path:
        """What was not there before us; it is written first and removed last."""
        return self.base / "installed.json"

    @property
    def pending(self) -> Path:
        """Where a rollback leads while a switch is not confirmed."""
        return self.base / "pending.json"

    def ours(self) -> tuple[Path, ...]:
        """Every path that exists only because of this install, `base` last."""
        found = [self.wants_link, self.unit_link, *self.made, self.trial_unit, self.trial_output, *self.trial_made]
        if self.advert is not None:
            found.append(self.advert)
        return (*found, self.config, self.base)

    def shared(self) -> tuple[Path, ...]:
        """Folders of others that may have to be made, outermost first."""
        needed = (*self.others, self.base.parent, self.config.parent, self.unit_link.parent, self.wants_link.parent)
        folders = {folder for path in needed for folder in (path, *path.parents)}
        above = {self.root, *self.root.parents, self.base}
        return tuple(sorted(folders - above, key=lambda folder: (len(folder.parts), str(folder))))


def layout_of(mode: str, root: str = "") -> Layout:
    """The paths of an install of this mode, below `root`."""
    top = Path(root or "/")
    return _user(top) if mode == USER else _system(top)


def _system(top: Path) -> Layout:
    units = top / "etc/systemd/system"
    state, run = top / "var/lib", top / "run"
    return Layout(
        mode=SYSTEM,
        root=top,
        base=top / "opt/cocoi",
        config=top / "etc/cocoi",
        unit_link=units / UNIT,
        wants_link=units / "multi-user.target.wants" / UNIT,
        advert=top / "etc/avahi/services/cocoi.service",
        lock=units,
        made=(state / "private/cocoi", state / "cocoi", run / "private/cocoi-agent", run / "cocoi-agent"),
        trial_unit=run / "systemd/system" / TRIAL_UNIT,
        trial_output=run / (TRIAL + ".out"),
        trial_made=(state / "private" / TRIAL, state / TRIAL, run / "private" / TRIAL, run / TRIAL),
        others=(state / "private", run / "systemd/system"),
    )


def _user(top: Path) -> Layout:
    home = top / os.path.expanduser("~").lstrip("/")  # noqa: PTH111 - `Path.home` is the same, said longer
    base, units = home / ".local/share/cocoi-agent", home / ".config/systemd/user"
    run = top / runtime_folder().lstrip("/")
    return Layout(
        mode=USER,
        root=top,
        base=base,
        config=base / "config",
        unit_link=units / UNIT,
        wants_link=units / "default.target.wants" / UNIT,
        advert=None,
        lock=home,
        made=(),
        trial_unit=run / "systemd/user" / TRIAL_UNIT,
        trial_output=run / (TRIAL + ".out"),
        trial_made=(),
        others=(run / "systemd/user",),
    )


def runtime_folder() -> str:
    """Where the user's service manager listens; over SSH the variable may be missing."""
    return os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
