"""Changes to the disk that survive a power cut at any moment.

Every change is prepared beside its place, flushed, and takes effect in one rename. What a
cut leaves behind has names that nothing else uses and goes with the next change of the
same path.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice.common import Failure

if TYPE_CHECKING:
    from pathlib import Path

NEW = ".cocoi-new"
GONE = ".cocoi-gone"

_FULL = (errno.ENOSPC, errno.EDQUOT)


def failure_of(error: OSError) -> Failure:
    """A refusal of the file system, as the host is told."""
    cause = error.strerror or str(error)
    where = f"`{error.filename}`: " if error.filename else ""
    details = {"path": error.filename or "", "cause": cause}
    if error.errno in _FULL:
        return Failure("disk-full", where + "no space is left", **details)
    if error.errno == errno.EROFS:
        return Failure("read-only", where + "the file system is read-only", **details)
    return Failure("disk", where + cause.lower(), **details)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Give a file its content, whole or not at all; its folder must exist."""
    new = _beside(path, NEW)
    remove_now(new)
    handle = os.open(str(new), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(handle, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        os.fchmod(handle, mode)
        file.write(data)
        file.flush()
        os.fsync(handle)
    new.replace(path)
    flush_folder(path.parent)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Give a file one JSON document, whole or not at all."""
    write(path, json.dumps(document, indent=1, sort_keys=True).encode() + b"\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON document in a file; None if there is no such file."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Failure("damaged", f"`{path}` is damaged: {error}", path=str(path)) from None
    return document if isinstance(document, dict) else {}


def link(path: Path, target: str) -> bool:
    """Point a symbolic link somewhere in one step; whether it changed."""
    if target_of(path) == target:
        return False
    new = _beside(path, NEW)
    remove_now(new)
    new.symlink_to(target)
    new.replace(path)
    flush_folder(path.parent)
    return True


def target_of(path: Path) -> str | None:
    """Where a symbolic link points; None if it is none."""
    try:
        return os.readlink(str(path))  # noqa: PTH115 - `Path.readlink` came with 3.9
    except OSError:
        return None


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder, and those above it, unless they exist."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode)
    path.chmod(mode)
    flush_folder(path.parent)


def remove(path: Path) -> bool:
    """Remove a file, link or tree, so that it is there whole or not at all; whether there was one."""
    clear(path)
    if not present(path):
        return False
    if path.is_dir() and not path.is_symlink():
        gone = _beside(path, GONE)
        path.replace(gone)
        flush_folder(path.parent)
        remove_now(gone)
    else:
        path.unlink()
    flush_folder(path.parent)
    return True


def clear(path: Path) -> None:
    """Remove what an interrupted change of `path` left beside it."""
    for left in beside(path):
        remove_now(left)


def beside(path: Path) -> list[Path]:
    """What an interrupted change of `path` left beside it."""
    return [left for left in (_beside(path, suffix) for suffix in (NEW, GONE)) if present(left)]


def clear_folder(folder: Path) -> None:
    """Remove what interrupted changes left in one of our own folders."""
    for path in _entries(folder):
        if path.name.startswith(".") and path.name.endswith((NEW, GONE)):
            remove_now(path)


def remove_now(path: Path) -> None:
    """Remove a file, link or tree step by step: only for names that mean nothing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(str(path))
    elif present(path):
        path.unlink()


def remove_empty(folder: Path) -> bool:
    """Remove a folder if it is empty; whether it went."""
    try:
        folder.rmdir()
    except OSError:
        return False
    flush_folder(folder.parent)
    return True


def present(path: Path) -> bool:
    """Whether something of this name exists, a broken link included."""
    return os.path.lexists(str(path))


def entries(folder: Path) -> list[Path]:
    """What a folder holds, hidden names left out, sorted; nothing if there is no such folder."""
    return [path for path in _entries(folder) if not path.name.startswith(".")]


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(str(folder), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def new_name(path: Path) -> Path:
    """Where the content of `path` is prepared."""
    return _beside(path, NEW)


def _beside(path: Path, suffix: str) -> Path:
    return path.parent / ("." + path.name + suffix)
