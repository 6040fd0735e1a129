"""The wheels on a device: received with their hashes, kept for the versions made of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import disk
from cocoi_cli.fleet.ondevice.common import Failure, progress

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from cocoi_cli.fleet.ondevice.layout import Layout

SUFFIX = ".whl"
SPARE_BYTES = 16 << 20  # left free on the disk of a device that has more to do

_CHUNK = 1 << 20


def held(layout: Layout) -> dict[str, str]:
    """SHA-256 of each wheel by its name, read from the disk just now."""
    return {path.name: _digest(path) for path in disk.entries(layout.wheels) if path.name.endswith(SUFFIX)}


def receive(layout: Layout, files: list[dict[str, Any]], payload: BinaryIO) -> int:
    """Keep the files that follow each other in `payload`; how many.

    Args:
        layout: The install, begun.
        files: `name`, `size` in bytes and `sha256` of each, in their order.
        payload: Their bytes.

    Raises:
        Failure: `bad-wheel`; `disk-full`, before anything is written where that can be known.
    """
    for file in files:
        check_name(str(file["name"]))
    disk.make_folder(layout.wheels)
    disk.clear_folder(layout.wheels)
    need = sum(int(file["size"]) for file in files) + SPARE_BYTES
    free = shutil.disk_usage(str(layout.wheels)).free
    if free < need:
        text = f"`{layout.wheels}`: {need >> 20} MiB are needed and {free >> 20} MiB are free"
        raise Failure("disk-full", text, path=str(layout.wheels), needed=need, free=free)
    for number, file in enumerate(files, 1):
        progress(f"receiving {number} of {len(files)}")
        _receive(layout.wheels / file["name"], int(file["size"]), str(file["sha256"]), payload)
    return len(files)


def check_name(name: str) -> None:
    """Refuse what is no name of a wheel.

    Raises:
        Failure: `bad-wheel`.
    """
    if not name.endswith(SUFFIX) or "/" in name or name.startswith("."):
        raise Failure("bad-wheel", f"`{name}` is no name of a wheel", name=name)


def _receive(path: Path, size: int, sha256: str, payload: BinaryIO) -> None:
    new = disk.new_name(path)
    try:
        found = _write(new, size, payload)
    except (OSError, Failure):
        disk.remove_now(new)
        raise
    if found != sha256:
        disk.remove_now(new)
        text = f"`{path.name}` arrived with the hash `{found}`, not `{sha256}`"
        raise Failure("bad-wheel", text, name=path.name, found=found, expected=sha256)
    new.replace(path)
    disk.flush_folder(path.parent)


def _write(path: Path, size: int, payload: BinaryIO) -> str:
    digest = hashlib.sha256()
    left = size
    with path.open("wb") as file:
        while left:
            chunk = payload.read(min(left, _CHUNK))
            if not chunk:
                text = f"`{path.name}` ended {left} bytes early"
                raise Failure("bad-wheel", text, name=path.name, missing=left)
            digest.update(chunk)
            file.write(chunk)
            left -= len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def prune(layout: Layout, keep: set[str]) -> list[str]:
    """Remove the wheels that are not in `keep`; their paths."""
    disk.clear_folder(layout.wheels)
    extra = [path for path in disk.entries(layout.wheels) if path.name not in keep]
    return [str(path) for path in extra if disk.remove(path)]


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
