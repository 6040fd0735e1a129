"""Where things of a fleet lie on the host: its file, its keys and profile, the cache."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import platformdirs

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.model.inputs import reason

if TYPE_CHECKING:
    from cocoi_cli.fleet.records import Inventory

_APP: Final = "cocoi"
_PRIVATE_FOLDER: Final = 0o700


class DataFolderError(ConfigurationError):
    """The folder of the fleet's keys cannot be made, read or written."""

    code: ClassVar[str] = "data-folder"

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"cannot use the fleet's data folder: `{path}`: {cause}", path=str(path), cause=cause)


def fleet_file() -> Path:
    """The fleet file where none is named: `$COCOI_FLEET`, else `fleet.toml` in the user's configuration folder."""
    named = os.environ.get("COCOI_FLEET")
    return Path(named).expanduser() if named else platformdirs.user_config_path(_APP) / "fleet.toml"


def cache_folder() -> Path:
    """What can be fetched again: `$COCOI_CACHE`, else the user's cache folder. It need not exist."""
    named = os.environ.get("COCOI_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path(_APP)


def data_path(fleet_id: str) -> Path:
    """The data folder of a fleet, which need not exist; its parent is `$COCOI_DATA` or the user's data folder."""
    named = os.environ.get("COCOI_DATA")
    parent = Path(named).expanduser() if named else platformdirs.user_data_path(_APP)
    return parent / fleet_id


def data_folder(inventory: Inventory) -> Path:
    """The fleet's keys, profile and state: made if absent, and closed to others (0700).

    Raises:
        DataFolderError: If it cannot be made.
    """
    folder = data_path(inventory.id)
    make_private(folder)
    return folder


def profile_path(inventory: Inventory) -> Path:
    """Where the fleet's profile lies; its folder exists then, the file need not."""
    return data_folder(inventory) / "profile.json"


def seen_path(inventory: Inventory) -> Path:
    """Where it is written down when each device was last seen; its folder exists then, the file need not."""
    return data_folder(inventory) / "seen.json"


def make_private(folder: Path) -> None:
    """Make a folder that only the user can enter, and close one that is there already.

    Raises:
        DataFolderError: If the system refuses.
    """
    try:
        folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(_PRIVATE_FOLDER)
    except OSError as error:
        raise DataFolderError(folder, reason(error)) from error


def write_private(path: Path, data: bytes) -> None:
    """Put `data` at `path` as a file of mode 0600, whole or not at all; no other user can read it at any moment.

    Raises:
        DataFolderError: If the system refuses; what was at `path` is then still there.
    """
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600 from the start
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise DataFolderError(path, reason(error)) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
