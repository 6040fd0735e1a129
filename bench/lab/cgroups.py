"""The groups of a rig: quota, weight and freezer of each device, with cgroup v1 or v2.

    <prefix's group>/host           what `rig exec host` starts: no quota, and before all devices
    <prefix's group>/host-kernels   where the coordinator convolves: a quota
    <prefix's group>/node-1 ...     a device: a quota, and it can be frozen

With v1 each group is a folder in the hierarchies `cpu` and `freezer`; with v2 one folder.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.lab.errors import MACHINE, RigError
from bench.lab.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path("/sys/fs/cgroup")
RIG_WEIGHT: Final = 16  # times that of any other process: neighbours on the machine disturb less
HOST_WEIGHT: Final = 8  # times that of a device, inside the rig

_PATIENCE_S: Final = 5.0
_PAUSE_S: Final = 0.01


class Groups(ABC):
    """The groups under one top group; names are those of `layout`.

    Args:
        top: Its name.
        cpu, freezer: The hierarchies of the two controllers; the same folder with v2.
    """

    def __init__(self, top: str, cpu: Path, freezer: Path) -> None:
        self._cpu = cpu / top
        self._freezer = freezer / top
        self._tops = list(dict.fromkeys((self._cpu, self._freezer)))

    @abstractmethod
    def create(self, name: str, weight: int = 1) -> None:
        """Make a group, and the top if it is not there; `weight` against 1 of the usual one."""

    @abstractmethod
    def limit(self, name: str, quota: Quota | None) -> None:
        """Set the quota of a group; None takes it away."""

    @abstractmethod
    def quota(self, name: str) -> Quota | None:
        """The quota that the kernel holds; None where it holds none."""

    @abstractmethod
    def freeze(self, name: str, *, frozen: bool) -> None:
        """Stop every process of a group, or let them go on."""

    @abstractmethod
    def is_frozen(self, name: str) -> bool:
        """Whether a group is stopped, or about to be."""

    def entrances(self, name: str) -> list[Path]:
        """Files that a process writes its number into to become a member."""
        return [top / name / "cgroup.procs" for top in self._tops]

    def outside(self) -> list[Path]:
        """As `entrances`, of the root: outside of every group."""
        return [top.parent / "cgroup.procs" for top in self._tops]

    def members(self, name: str) -> list[int]:
        """Numbers of its processes; none where the group does not exist."""
        return sorted({pid for file in self.entrances(name) for pid in _numbers(file)})

    def names(self) -> list[str]:
        """The groups that exist under the top, whoever made them."""
        return sorted({child.name for top in self.folders() for child in _folders(top)})

    def folders(self) -> list[Path]:
        """The folders of the top, those that exist."""
        return [top for top in self._tops if top.is_dir()]


class GroupsV1(Groups):
    """Of cgroup v1: a folder in each of two hierarchies."""

    def create(self, name: str, weight: int = 1) -> None:
        """In both."""
        if not self._cpu.is_dir():
            _make(self._cpu)
            _write(self._cpu / "cpu.shares", 1024 * RIG_WEIGHT)
        _make(self._cpu / name)
        _make(self._freezer / name)
        _write(self._cpu / name / "cpu.shares", 1024 * weight)

    def limit(self, name: str, quota: Quota | None) -> None:
        """Lifted first: a quota left from before may not fit into the new period."""
        group = self._cpu / name
        _write(group / "cpu.cfs_quota_us", -1)
        if quota is not None:
            _write(group / "cpu.cfs_period_us", quota.period_us)
            _write(group / "cpu.cfs_quota_us", quota.quota_us)

    def quota(self, name: str) -> Quota | None:
        """Two files; a negative quota is none."""
        held, period = ((self._cpu / name / f"cpu.cfs_{what}_us").read_text() for what in ("quota", "period"))
        return None if int(held) < 0 else Quota(int(held), int(period))

    def freeze(self, name: str, *, frozen: bool) -> None:
        """A word."""
        _write(self._freezer / name / "freezer.state", "FROZEN" if frozen else "THAWED")

    def is_frozen(self, name: str) -> bool:
        """A word, with a third one on the way."""
        return (self._freezer / name / "freezer.state").read_text().strip() != "THAWED"


class GroupsV2(Groups):
    """Of cgroup v2: one folder, and controllers that are handed down level by level."""

    def create(self, name: str, weight: int = 1) -> None:
        """Only leaves have processes, as v2 demands."""
        if not self._cpu.is_dir():
            _write(self._cpu.parent / "cgroup.subtree_control", "+cpu")
            _make(self._cpu)
            _write(self._cpu / "cgroup.subtree_control", "+cpu")
            _write(self._cpu / "cpu.weight", 100 * RIG_WEIGHT)
        _make(self._cpu / name)
        _write(self._cpu / name / "cpu.weight", 100 * weight)

    def limit(self, name: str, quota: Quota | None) -> None:
        """Quota and period in one line."""
        _write(self._cpu / name / "cpu.max", "max" if quota is None else f"{quota.quota_us} {quota.period_us}")

    def quota(self, name: str) -> Quota | None:
        """The same line."""
        held, period = (self._cpu / name / "cpu.max").read_text().split()
        return None if held == "max" else Quota(int(held), int(period))

    def freeze(self, name: str, *, frozen: bool) -> None:
        """A digit."""
        _write(self._cpu / name / "cgroup.freeze", int(frozen))

    def is_frozen(self, name: str) -> bool:
        """A digit."""
        return (self._cpu / name / "cgroup.freeze").read_text().strip() == "1"


def open_groups(top: str, root: Path = ROOT) -> Groups:
    """The groups under `top`, in the version that this kernel has its processor controller in.

    Raises:
        RigError: If it has none that can limit and freeze.
    """
    offered = root / "cgroup.controllers"
    if offered.is_file() and "cpu" in offered.read_text().split():
        return GroupsV2(top, root, root)
    # Named after all controllers that share a hierarchy, with a link for each where a distribution cares.
    cpu = next((root / each for each in ("cpu", "cpu,cpuacct") if (root / each).is_dir()), None)
    if cpu is not None and (root / "freezer").is_dir():
        return GroupsV1(top, cpu, root / "freezer")
    raise RigError(
        f"this kernel offers no processor quotas: `{root}` has neither the controller `cpu` of cgroup v2 "
        "nor `cpu` and `freezer` of v1",
        "in a container, start it with the host's cgroups writable (`--privileged --cgroupns=host`)",
        status=MACHINE,
    )


def enter(entrances: Sequence[Path], pid: int) -> None:
    """Make a process, with all its threads, a member of the groups that these files let it into.

    Raises:
        RigError: If it does not exist, or the kernel refuses.
    """
    for file in entrances:
        try:
            file.write_text(str(pid))
        except ProcessLookupError:
            raise RigError(f"there is no process {pid}") from None
        except OSError as error:
            raise RigError(f"process {pid} cannot enter `{file.parent}`: {error.strerror or error}") from error


def kill_members(groups: Groups, name: str) -> None:
    """SIGKILL every process of a group, and wait until they are gone.

    The group is thawed and without a quota afterwards: a frozen process cannot die, and one
    that waits for its quota takes its time.

    Raises:
        RigError: If one does not go.
    """
    if name not in groups.names():
        return
    groups.freeze(name, frozen=False)
    groups.limit(name, None)
    end = time.monotonic() + _PATIENCE_S
    while pids := groups.members(name):
        if time.monotonic() > end:
            raise RigError(f"process {pids[0]} of `{name}` does not end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def remove_groups(groups: Groups) -> None:
    """Take the top and all under it away; they must have no processes.

    Raises:
        RigError: If the kernel keeps one.
    """
    for top in groups.folders():
        for folder in [*_folders(top), top]:
            _remove(folder)


def _remove(folder: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while folder.is_dir():
        try:
            folder.rmdir()
        except OSError as error:  # busy for a moment after its last process has ended
            if time.monotonic() > end:
                raise RigError(f"the group `{folder}` cannot be removed: {error.strerror or error}") from error
            time.sleep(_PAUSE_S)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RigError(
            f"the group `{folder}` cannot be made: {error.strerror or error}",
            "the cgroup file systems must be writable here",
            status=MACHINE,
        ) from error


def _write(file: Path, value: str | int) -> None:
    try:
        file.write_text(str(value))
    except OSError as error:
        raise RigError(f"`{file}` does not take {value}: {error.strerror or error}", status=MACHINE) from error


def _numbers(file: Path) -> list[int]:
    try:
        return [int(line) for line in file.read_text().split()]
    except FileNotFoundError:
        return []


def _folders(group: Path) -> list[Path]:
    return [child for child in group.iterdir() if child.is_dir()]
