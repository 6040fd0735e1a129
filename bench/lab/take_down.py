"""Removing a rig, or what is left of one: found by its names, whatever its record says."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Final

from bench.lab.cgroups import enter, kill_members, open_groups, remove_groups
from bench.lab.errors import RigError
from bench.lab.layout import KERNELS, folder_of, group_of
from bench.lab.network import namespaces, processes_in, remove
from bench.lab.system import command_line, processes

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S: Final = 5.0


def take_down(prefix: str) -> list[str]:
    """End every process of a rig and remove all that it made; the folder of its state stays, empty.

    Safe to repeat. Processes in the group of the coordinator's kernels belong to whoever put
    them there, and are only let out.

    Returns:
        What was there, in words; empty where nothing was.

    Raises:
        RigError: If something does not go.
    """
    found = leftovers(prefix)
    groups = open_groups(group_of(prefix))
    own = os.getpid()  # called from the coordinator's place: it must not end itself
    for name in groups.names():
        for pid in groups.members(name):
            if name == KERNELS or pid == own:
                with contextlib.suppress(RigError):  # gone meanwhile
                    enter(groups.outside(), pid)
        kill_members(groups, name)
    _end(lambda: [pid for pid in _inhabitants(prefix) if pid != own])
    for namespace in namespaces(prefix):
        remove(namespace)
    remove_groups(groups)
    for entry in folder_of(prefix).iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    return found


def remove_folder(prefix: str) -> None:
    """Remove the empty folder of a rig's state, and that of all rigs if this was the last one."""
    folder = folder_of(prefix)
    folder.rmdir()
    with contextlib.suppress(OSError):  # there are others
        folder.parent.rmdir()


def leftovers(prefix: str) -> list[str]:
    """What there is of a rig on this machine: namespaces, groups, processes, files."""
    groups = open_groups(group_of(prefix))
    folder = folder_of(prefix)
    found = [f"namespace {name}" for name in namespaces(prefix)]
    found += [f"group {top}" for top in groups.folders()]
    members = {pid for name in groups.names() for pid in groups.members(name)}
    found += [f"process {pid}" for pid in sorted({*members, *_inhabitants(prefix)})]
    return found + [f"file {entry}" for entry in sorted(folder.iterdir() if folder.is_dir() else ())]


def _inhabitants(prefix: str) -> list[int]:
    """Processes inside the rig's namespaces, and those whose program lies in the folder of its state."""
    programs = f"{folder_of(prefix)}/"
    own = [pid for pid in processes() if (command_line(pid) or [""])[0].startswith(programs)]
    return [*own, *(pid for namespace in namespaces(prefix) for pid in processes_in(namespace))]


def _end(find: Callable[[], list[int]]) -> None:
    end = time.monotonic() + _PATIENCE_S
    while pids := find():
        if time.monotonic() > end:
            raise RigError(f"process {pids[0]} does not end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
