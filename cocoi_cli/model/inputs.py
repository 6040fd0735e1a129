"""Which files a user's INPUT arguments stand for, and what can be wrong with a named file.

A name is kept as the user wrote it: messages, results and documents repeat it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

PICTURES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"},
)
ARRAYS = frozenset({".npy", ".npz"})


class NoSuchFileError(UsageError):
    """A file that the user named does not exist; `what` says what it was to be, `file` or `model`."""

    code: ClassVar[str] = "no-such-file"

    def __init__(self, path: str, what: str = "file") -> None:
        super().__init__(f"no such file: `{path}`", path=path, what=what)


class UnreadableFileError(UsageError):
    """A file that the user named exists and cannot be read."""

    code: ClassVar[str] = "unreadable-file"

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"cannot read `{path}`: {cause}", path=path, cause=cause)


class EmptyDirectoryError(UsageError):
    """A directory that was named as input holds no picture."""

    code: ClassVar[str] = "empty-directory"

    def __init__(self, path: str, files: int) -> None:
        found = "it is empty" if files == 0 else f"none of its {files} files is one"
        super().__init__(f"no picture in directory `{path}`: {found}", path=path, files=files)


def expand(names: Sequence[str]) -> list[str]:
    """Replace directories by the pictures in them, sorted by name; other names stay.

    Hidden files and sub-directories are left out. Files are not opened.

    Raises:
        NoSuchFileError: If a name does not exist.
        EmptyDirectoryError: If a directory holds no file with a picture's ending.
        UnreadableFileError: If a directory cannot be listed.
    """
    found: list[str] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found.extend(_pictures(name, path))
        elif path.exists():
            found.append(name)
        else:
            raise NoSuchFileError(name)
    return found


def _pictures(name: str, folder: Path) -> list[str]:
    try:
        files = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")]
    except OSError as error:
        raise UnreadableFileError(name, reason(error)) from error
    pictures = sorted(str(entry) for entry in files if entry.suffix.lower() in PICTURES)
    if not pictures:
        raise EmptyDirectoryError(name, len(files))
    return pictures


def is_array(name: str) -> bool:
    """Whether a file of this name is read as arrays instead of as a picture."""
    return Path(name).suffix.lower() in ARRAYS


def read_bytes(name: str) -> bytes:
    """Read a whole file that the user named.

    Raises:
        NoSuchFileError: If it does not exist.
        UnreadableFileError: If it is a directory, or the system refuses.
    """
    try:
        return Path(name).read_bytes()
    except FileNotFoundError as error:
        raise NoSuchFileError(name) from error
    except OSError as error:
        raise UnreadableFileError(name, reason(error)) from error


def reason(error: OSError) -> str:
    """The system's own words for an error, in lower case as they stand inside a sentence."""
    return in_sentence(error.strerror or str(error) or type(error).__name__)


def in_sentence(text: str) -> str:
    """A foreign message as it stands inside a sentence: lower case (but for `EOF` and the like), no full stop."""
    start = text[:1].lower() if not text[1:2].isupper() else text[:1]
    return (start + text[1:]).rstrip(".")
