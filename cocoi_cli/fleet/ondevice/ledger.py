"""The record of what an install made, so that its removal leaves the device as it was.

It comes into being together with the first folder, in one rename, and goes with the last.
While it exists, everything that `Layout` names is ours; before that, anything of such a
name is somebody else's and stops the install.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import disk
from cocoi_cli.fleet.ondevice.common import Failure, progress
from cocoi_cli.fleet.ondevice.layout import USER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cocoi_cli.fleet.ondevice.layout import Layout

WAIT_S = 120.0  # an installer whose host is gone may still be unpacking wheels
_LOOK_S = 0.2


@contextlib.contextmanager
def alone(layout: Layout, wait_s: float = WAIT_S) -> Iterator[None]:
    """Keep other installers out.

    The lock is the folder's own, so it leaves no file. Commands that go on changing the
    disk inherit it: they are waited for even when their installer was killed.

    Raises:
        Failure: `busy` after `wait_s` seconds; `no-systemd`.
    """
    if not layout.lock.is_dir():
        raise Failure("no-systemd", f"the device has no `{layout.lock}`", path=str(layout.lock))
    handle = os.open(str(layout.lock), os.O_RDONLY | os.O_DIRECTORY)
    try:
        _take(handle, wait_s)
        os.set_inheritable(handle, True)  # noqa: FBT003 - it takes no keyword
        yield
    finally:
        os.close(handle)


def _take(handle: int, wait_s: float) -> None:
    end = time.monotonic() + wait_s
    told = False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            return
        if time.monotonic() >= end:
            raise Failure("busy", f"another installer has been at work here for {wait_s:g} s", seconds=wait_s)
        if not told:
            progress("waiting for another installer")
            told = True
        time.sleep(_LOOK_S)


def read(layout: Layout) -> dict[str, Any] | None:
    """The record: `created` (paths of folders of others) and `linger`; None if nothing is installed."""
    return disk.read_json(layout.ledger)


def begin(layout: Layout) -> dict[str, Any]:
    """The record, made now if this is the first change to the device.

    Raises:
        Failure: `not-ours` if something of our names is there already.
    """
    found = read(layout)
    if found is not None:
        return found
    _refuse_others(layout)
    created = [folder for folder in layout.shared() if not disk.present(folder)]
    record = {"created": [str(folder) for folder in created], "linger": False}
    top = next((folder for folder in created if folder in layout.base.parents), layout.base)
    new = disk.new_name(top)
    disk.remove_now(new)
    try:
        _prepare(new / layout.base.relative_to(top), layout, record)
        new.replace(top)
    except OSError:
        disk.remove_now(new)
        raise
    disk.flush_folder(top.parent)
    return record


def _prepare(base: Path, layout: Layout, record: dict[str, Any]) -> None:
    base.mkdir(parents=True)
    if layout.mode == USER:
        base.chmod(0o700)
    disk.write_json(base / layout.ledger.name, record)


def _refuse_others(layout: Layout) -> None:
    for path in layout.ours():
        if disk.present(path):
            raise Failure("not-ours", f"`{path}` exists and was not made by cocoi", path=str(path))


def amend(layout: Layout, record: dict[str, Any], **changes: object) -> None:
    """Write the record with changes."""
    record.update(changes)
    disk.write_json(layout.ledger, record)


def end(layout: Layout, record: dict[str, Any]) -> None:
    """Remove `base`, the folders above it that we made, and the record, in one step."""
    created = set(record.get("created", ()))
    top = layout.base
    while str(top.parent) in created and _only(top):
        top = top.parent
    disk.remove(top)


def clear(layout: Layout) -> None:
    """Remove what an interrupted `begin` or `end` left."""
    for path in remains(layout):
        disk.remove_now(path)


def remains(layout: Layout) -> list[Path]:
    """What an interrupted `begin` or `end` left."""
    folders = [folder for folder in (layout.base, *layout.base.parents) if layout.root in folder.parents]
    return [path for folder in folders for path in disk.beside(folder)]


def _only(path: Path) -> bool:
    return list(path.parent.iterdir()) == [path]
