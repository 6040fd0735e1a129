"""Taking everything off a device again: what is ours, nothing else, and nothing left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice import disk, ledger, service, trial
from cocoi_cli.fleet.ondevice.common import Failure, progress

if TYPE_CHECKING:
    from cocoi_cli.fleet.ondevice.layout import Layout


def remove(layout: Layout) -> list[str]:
    """Stop the agent and remove the install; the removed paths, none if there is no install.

    The agent no longer starts at boot before anything it needs goes; our own record goes last,
    so a removal that was cut off ends when it is repeated.

    Raises:
        Failure: `stop-failed`: the service still runs, and nothing but its start at boot was removed.
    """
    ledger.clear(layout)
    record = ledger.read(layout)
    if record is None:
        return []
    progress("stopping the agent")
    removed = _take([layout.wants_link])
    _silence(layout)
    progress("removing files")
    removed += _take([*_inside(layout.config, layout), layout.unit_link])
    _forget(layout)
    adverts = [] if layout.advert is None else [layout.advert]
    removed += _take([*adverts, *layout.made])
    removed += _take([path for path in disk.entries(layout.base) if path != layout.ledger])
    disk.clear_folder(layout.base)
    if record.get("linger"):
        service.stop_lingering()
    removed += _give_back(layout, record)
    ledger.end(layout, record)
    return [*removed, str(layout.base)]


def leftovers(layout: Layout) -> list[str]:
    """The paths of ours that exist."""
    return [str(path) for path in (*layout.ours(), *ledger.remains(layout)) if disk.present(path)]


def _silence(layout: Layout) -> None:
    try:
        trial.clean(layout)
        service.stop(layout)
    except Failure as failure:
        # Without a manager nothing of ours can run, and the files shall go all the same.
        if failure.code not in ("no-user-manager", "no-systemd"):
            raise


def _forget(layout: Layout) -> None:
    try:
        service.read_units(layout)
        service.forget(layout)
    except Failure as failure:
        if failure.code not in ("no-user-manager", "no-systemd"):
            raise


def _inside(path: Path, layout: Layout) -> list[Path]:
    return [path] if layout.base not in path.parents else []


def _take(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths if path.parent.is_dir() and disk.remove(path)]


def _give_back(layout: Layout, record: dict[str, Any]) -> list[str]:
    """Remove the folders of others that we were the first to need, where they are empty again."""
    folders = [Path(text) for text in record.get("created", ())]
    inner_first = sorted(folders, key=lambda folder: len(folder.parts), reverse=True)
    mine = [folder for folder in inner_first if folder not in layout.base.parents]
    return [str(folder) for folder in mine if disk.remove_empty(folder)]
