"""Credentials and settings on a device: a folder for each content, and a link to the one in use."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from cocoi_cli.fleet.ondevice import disk
from cocoi_cli.fleet.ondevice.common import Failure

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.fleet.ondevice.layout import Layout

SETTINGS = "agent.env"
NAMES = frozenset(("agent.crt", "agent.key", "hosts.crt", SETTINGS))

_DIGITS = 16


def configure(layout: Layout, files: dict[str, str]) -> tuple[bool, str]:
    """Keep files for the agent without using them yet; whether they are new, and their hash.

    Args:
        layout: The install, begun.
        files: Text by name; names are those of `NAMES`, `agent.env` among them.

    Raises:
        Failure: `bad-request`.
    """
    if not NAMES.issuperset(files) or SETTINGS not in files:
        raise Failure("bad-request", "the files of a configuration are " + ", ".join(sorted(NAMES)))
    ident = digest(files)
    folder = layout.config / ident
    disk.make_folder(layout.config, 0o700)
    disk.clear_folder(layout.config)
    if disk.present(folder):
        return False, ident
    new = disk.new_name(folder)
    new.mkdir(0o700)
    for name, text in sorted(files.items()):
        disk.write(new / name, text.encode(), 0o600)
    new.replace(folder)
    disk.flush_folder(layout.config)
    return True, ident


def digest(files: dict[str, str]) -> str:
    """The hash of these files by name and text."""
    hasher = hashlib.sha256()
    for name, text in sorted(files.items()):
        for part in (name.encode(), text.encode()):
            hasher.update(b"%d:" % len(part) + part)
    return hasher.hexdigest()[:_DIGITS]


def current(layout: Layout) -> str | None:
    """Hash of the configuration in use; None if there is none, or only root may know."""
    return linked(layout.current_config)


def linked(path: Path) -> str | None:
    """The last part of where a link points; None if it is no link."""
    target = disk.target_of(path)
    return None if target is None else target.rpartition("/")[2]


def require(layout: Layout, ident: str) -> None:
    """Check that a configuration is on the device.

    Raises:
        Failure: `not-configured`.
    """
    if not (layout.config / ident / SETTINGS).is_file():
        raise Failure("not-configured", f"configuration `{ident}` is not on the device", config=ident)


def settings(layout: Layout, ident: str | None) -> dict[str, str]:
    """The variables of a configuration; empty if there is none."""
    try:
        text = (layout.config / (ident or "none") / SETTINGS).read_text("utf-8")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#"))
    return {key.strip(): value.strip().strip('"') for key, equals, value in pairs if equals}


def prune(layout: Layout, keep: set[str]) -> list[str]:
    """Remove the configurations that are not in `keep`; their paths. Old keys go with them."""
    disk.clear_folder(layout.config)
    extra = [path for path in disk.entries(layout.config) if path.name not in keep and not path.is_symlink()]
    return [str(path) for path in extra if disk.remove(path)]
