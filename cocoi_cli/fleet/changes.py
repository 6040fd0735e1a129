"""Files of one folder that change together or not at all, whatever ends the process.

Theory of operation: a change is first written to a draft folder: the new files under numbers,
and a journal that says where they belong and what goes. Renaming the draft to `.change` is the
moment at which the change has happened. What follows (moving the files to their places, removing
others) is repeatable: whoever comes next and finds a `.change` finishes it before anything else.
A draft that was never renamed is removed. Writers, and readers that find a change, hold a lock.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet.folders import make_private
from cocoi_cli.fleet.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_CHANGE: Final = ".change"
_DRAFT: Final = ".draft-"
_JOURNAL: Final = "journal.json"
_LOCK: Final = ".lock"


@contextmanager
def changing(folder: Path) -> Iterator[None]:
    """Hold the folder for a change, with an earlier one that was cut off finished first.

    Raises:
        OSError: If the system refuses.
    """
    with locked(folder / _LOCK):
        for draft in folder.glob(f"{_DRAFT}*"):
            shutil.rmtree(draft, ignore_errors=True)
        _finish(folder)
        yield


def settle(folder: Path) -> None:
    """Finish a change that was cut off, if there is one; a folder that is absent has none.

    Raises:
        OSError: If the system refuses.
    """
    if (folder / _CHANGE).exists():
        with changing(folder):
            pass


@contextmanager
def draft(folder: Path) -> Iterator[Path]:
    """A private folder inside `folder` for the time of the context; one left over goes with the next change."""
    path = Path(tempfile.mkdtemp(prefix=_DRAFT, dir=folder))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def change(folder: Path, put: Mapping[str, bytes], remove: tuple[str, ...] = ()) -> None:
    """Write some files and remove others, all or nothing; only inside `changing`.

    Args:
        folder: Of all of them.
        put: Contents by path inside the folder; files get mode 0600, new folders 0700.
        remove: Paths of files or folders inside the folder, absent ones too; none of `put` lies there.

    Raises:
        OSError: If the system refuses; the change has then not happened, or happens when the folder is next held.
    """
    with draft(folder) as path:
        for number, data in enumerate(put.values()):
            _write(path / str(number), data)
        _write(path / _JOURNAL, json.dumps({"put": list(put), "remove": list(remove)}).encode())
        _sync(path)
        path.rename(folder / _CHANGE)
    _sync(folder)
    _finish(folder)


def _finish(folder: Path) -> None:
    """Carry out what `.change` says, from wherever it was cut off."""
    pending = folder / _CHANGE
    if not pending.exists():
        return
    journal = pending / _JOURNAL
    if journal.exists():  # it goes last, so without it everything is done
        steps = json.loads(journal.read_bytes())
        for number, name in enumerate(steps["put"]):
            _move(pending / str(number), folder / name)
        for name in steps["remove"]:
            _remove(folder / name)
        _sync(folder)
        journal.unlink()
    pending.rmdir()


def _move(source: Path, target: Path) -> None:
    if source.exists():
        make_private(target.parent)
        source.replace(target)
        _sync(target.parent)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make names in a folder last through a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
