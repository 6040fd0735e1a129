"""Files out: a result is written beside its place and moved there when it is whole.

So neither a full disk nor a killed process leaves half a file, or destroys an older one.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from cocoi_cli.errors import FailedError
from cocoi_cli.model.inputs import reason


class OutputNotWritableError(FailedError):
    """A result cannot be written where the user wants it; `folder` is empty for the standard streams."""

    code: ClassVar[str] = "output-not-writable"

    def __init__(self, path: str, folder: str, cause: str) -> None:
        where = f"`{path}` in folder `{folder}`" if folder else path
        super().__init__(f"cannot write {where}: {cause}", path=path, folder=folder, cause=cause)


def check_writable(path: str) -> None:
    """Find out now, before any work, whether `write` can succeed later; leaves nothing behind.

    Raises:
        OutputNotWritableError: If the folder is absent or takes no file, or the path is a folder.
    """
    target = Path(path)
    if target.is_dir():
        raise OutputNotWritableError(path, str(target.parent), "it is a folder")
    _discard(_beside(path))


def write(path: str, data: bytes) -> None:
    """Put `data` at `path`, replacing a file that is there only once everything is written.

    A symbolic link at `path` stays, and the file that it points to is replaced.

    Raises:
        OutputNotWritableError: If the system refuses; what was at `path` is then still there.
    """
    partial = _beside(path)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(_mode(Path(path)))
        partial.replace(Path(path).resolve())
    except OSError as error:
        _discard(partial)
        raise OutputNotWritableError(path, str(Path(path).parent), reason(error)) from error
    except BaseException:
        _discard(partial)
        raise


def make_folder(path: str) -> None:
    """Create a folder for several results, with its parents; an existing one is fine.

    Raises:
        OutputNotWritableError: If it cannot be made or takes no file.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritableError(path, str(Path(path).parent), reason(error)) from error
    check_writable(str(Path(path) / "result"))


def _beside(path: str) -> Path:
    target = Path(path).resolve()
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise OutputNotWritableError(path, str(Path(path).parent), reason(error)) from error
    os.close(handle)
    return Path(name)


def _discard(partial: Path) -> None:
    with suppress(OSError):
        partial.unlink()


def _mode(target: Path) -> int:
    """Permissions of the file that is replaced, else those of any new file."""
    with suppress(OSError):
        return target.stat().st_mode & 0o777
    # The only way to read the mask is to set it.
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
