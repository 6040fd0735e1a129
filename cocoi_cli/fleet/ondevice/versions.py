"""Versions on a device: each a virtual environment in a folder of its own, with its unit.

A version is whole when its folder holds `.complete`, which is written after everything
else is on the disk; without it the folder means nothing and is made anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import disk, environments, units, wheels
from cocoi_cli.fleet.ondevice.common import Failure
from cocoi_cli.fleet.ondevice.layout import UNIT

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.fleet.ondevice.layout import Layout

COMPLETE = ".complete"
CONFIRMED = ".confirmed"
MANIFEST = "manifest.json"
REQUIREMENTS = "requirements.txt"
CIPHERS = "openssl.cnf"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}")


def folder_of(layout: Layout, ident: str) -> Path:
    """Folder of a version.

    Raises:
        Failure: `bad-request` if `ident` is no name of a version.
    """
    if not _ID.fullmatch(ident):
        raise Failure("bad-request", f"`{ident}` is no name of a version", id=ident)
    return layout.versions / ident


def require(layout: Layout, ident: str) -> Path:
    """Folder of a version that is whole.

    Raises:
        Failure: `not-staged`.
    """
    folder = folder_of(layout, ident)
    if not (folder / COMPLETE).exists():
        raise Failure("not-staged", f"version `{ident}` is not complete on the device", id=ident)
    return folder


def listed(layout: Layout) -> list[dict[str, Any]]:
    """Every version: `id`, `complete`, `confirmed`."""
    return [
        {
            "id": folder.name,
            "complete": (folder / COMPLETE).exists(),
            "confirmed": (folder / CONFIRMED).exists(),
        }
        for folder in disk.entries(layout.versions)
    ]


def manifest(layout: Layout, ident: str) -> dict[str, Any]:
    """What the host said of a version; empty if the device does not have it."""
    return disk.read_json(folder_of(layout, ident) / MANIFEST) or {}


def stage(layout: Layout, request: dict[str, Any]) -> bool:
    """Make a version unless it is whole; whether it was made. Nothing that runs is touched.

    Args:
        layout: The install, begun.
        request: `id`; `python`, the interpreter; `requirements`, text for pip with hashes;
            `wheels`, their names, pip's among them; `unit`, text; `online`; `manifest`.

    Raises:
        Failure: `missing-wheel`, `no-venv`, `pip-failed`, `disk-full`. The folder is then gone.
    """
    ident = str(request["id"])
    folder = folder_of(layout, ident)
    if (folder / COMPLETE).exists():
        return False
    needed = [str(name) for name in request["wheels"]]
    _check_wheels(layout, needed)
    disk.make_folder(layout.versions)
    disk.clear_folder(layout.versions)
    disk.remove(folder)
    try:
        _make(layout, folder, request, needed)
    except (OSError, Failure):
        disk.remove_now(folder)  # the room is needed, and half a version is none
        raise
    return True


def _check_wheels(layout: Layout, names: list[str]) -> None:
    for name in names:
        wheels.check_name(name)
        if not (layout.wheels / name).is_file():
            raise Failure("missing-wheel", f"the device has no `{name}`", name=name)


def _make(layout: Layout, folder: Path, request: dict[str, Any], needed: list[str]) -> None:
    disk.make_folder(folder)
    disk.write(folder / UNIT, str(request["unit"]).encode())
    disk.write(folder / REQUIREMENTS, str(request["requirements"]).encode())
    disk.write(folder / CIPHERS, units.cipher_file(_cpu_info()).encode())
    environments.make(folder, str(request["python"]))
    environments.install(folder, layout.wheels, needed, folder / REQUIREMENTS, online=bool(request.get("online")))
    environments.compile_modules(folder)
    disk.write_json(folder / MANIFEST, dict(request.get("manifest") or {}, id=folder.name, wheels=needed))
    environments.settle(folder)
    disk.write(folder / COMPLETE, b"")


def _cpu_info() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - the running machine's
            return file.read()
    except OSError:
        return ""


def confirm(layout: Layout, ident: str) -> None:
    """Mark a version as one that has served."""
    mark = require(layout, ident) / CONFIRMED
    if not mark.exists():
        disk.write(mark, b"")


def prune(layout: Layout, keep: set[str]) -> list[str]:
    """Remove the versions that are not in `keep`, and the wheels that no kept one is made of; their paths."""
    disk.clear_folder(layout.versions)
    removed = []
    needed: set[str] = set()
    for folder in disk.entries(layout.versions):
        if folder.name in keep:
            needed.update(manifest(layout, folder.name).get("wheels", ()))
        elif disk.remove(folder):
            removed.append(str(folder))
    return removed + wheels.prune(layout, needed)
