"""Blobs by their SHA-256: what an agent keeps, so that nothing is sent twice.

On disk a blob is one file named by its digest, written whole or not at all; the
store has a limit and drops what was used longest ago. Several agents of one machine
may share a folder. Everything here runs in one thread of the agent.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cocoi_agent.wire.fields import is_digest

if TYPE_CHECKING:
    from pathlib import Path

Bytes = NDArray[np.uint8]

_TEMPORARY: Final = "incoming-"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreError(Exception):
    """A blob that cannot be kept or given; `code` is the word on the wire."""

    code: ClassVar[str] = "store"


class MissingBlobError(StoreError):
    """The store does not hold the blob."""

    code: ClassVar[str] = "missing-blob"

    def __init__(self, digest: str) -> None:
        super().__init__(f"the store holds no blob `{digest}`")
        self.digest = digest


class BadHashError(StoreError):
    """The bytes are not those of the digest."""

    code: ClassVar[str] = "bad-hash"

    def __init__(self, digest: str, found: str) -> None:
        super().__init__(f"the bytes have the digest `{found}`, not `{digest}`")
        self.digest = digest
        self.found = found


class StoreFullError(StoreError):
    """There is no room: the blob is above the store's limit, or the disk is full."""

    code: ClassVar[str] = "store-full"

    def __init__(self, size_bytes: int, limit_bytes: int, free_bytes: int | None = None) -> None:
        place = f"a store of {limit_bytes} bytes" if free_bytes is None else f"a disk with {free_bytes} bytes free"
        super().__init__(f"a blob of {size_bytes} bytes does not fit into {place}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        self.free_bytes = free_bytes


class StoreFailedError(StoreError):
    """The file system refused for another reason."""

    code: ClassVar[str] = "store-failed"


class Store(Protocol):
    """What the worker needs of a store."""

    used_bytes: int

    def has(self, digest: str) -> bool:
        """Whether the blob is held and intact."""
        ...

    def put(self, digest: str, data: Bytes) -> None:
        """Check the bytes and keep them; raises `StoreError`."""
        ...

    def open(self, digest: str) -> Bytes:
        """The bytes, read-only; valid also after the blob is dropped. Raises `MissingBlobError`."""
        ...


def check_digest(digest: str, data: Bytes) -> None:
    """Compare bytes with the digest they came under.

    Raises:
        BadHashError: If they differ.
    """
    found = hashlib.sha256(data.data).hexdigest()
    if found != digest:
        raise BadHashError(digest, found)


class MemoryStore:
    """A store that ends with its process: for embedded agents and tests."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._blobs: OrderedDict[str, Bytes] = OrderedDict()
        self.used_bytes = 0

    def has(self, digest: str) -> bool:
        """Whether the blob is held."""
        return digest in self._blobs

    def put(self, digest: str, data: Bytes) -> None:
        """Check the bytes and keep them as they are: the caller gives them away."""
        check_digest(digest, data)
        if data.nbytes > self._limit:
            raise StoreFullError(data.nbytes, self._limit)
        if digest in self._blobs:
            return
        while self._blobs and self.used_bytes + data.nbytes > self._limit:
            _, dropped = self._blobs.popitem(last=False)
            self.used_bytes -= dropped.nbytes
        data.flags.writeable = False
        self._blobs[digest] = data
        self.used_bytes += data.nbytes

    def open(self, digest: str) -> Bytes:
        """The bytes, read-only."""
        if digest not in self._blobs:
            raise MissingBlobError(digest)
        self._blobs.move_to_end(digest)
        return self._blobs[digest]


class DiskStore:
    """A store in a folder, found again after a restart.

    The order of last use is kept in the files' times, touched when a program is
    loaded and not when it is run: an SD card should not be written to per request.
    A file is checked against its name once per process, when it is first asked for.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._folder = folder
        self._limit = limit_bytes
        self._intact: set[str] = set()
        self._count = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._clean()
            self.used_bytes = sum(size for _, _, size in self._entries())
        except OSError as error:
            raise StoreFailedError(f"`{folder}`: {error.strerror or error}") from error

    def has(self, digest: str) -> bool:
        """Whether the blob is held and intact; a file that is not is removed."""
        path = self._folder / digest
        if digest in self._intact and path.exists():
            return True
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return False
        if found != digest:
            self._remove(path)
            return False
        self._intact.add(digest)
        return True

    def put(self, digest: str, data: Bytes) -> None:
        """Check the bytes and write them: whole, on the disk, then under their name."""
        check_digest(digest, data)
        if self.has(digest):
            self._touch(digest)
            return
        self._make_room(data.nbytes)
        try:
            self._write(digest, data)
        except OSError as error:
            if error.errno in _FULL:
                raise StoreFullError(data.nbytes, self._limit, _free(self._folder)) from error
            raise StoreFailedError(f"`{self._folder}`: {error.strerror or error}") from error
        self._intact.add(digest)
        self.used_bytes += data.nbytes

    def open(self, digest: str) -> Bytes:
        """The bytes, mapped from the file: pages that all agents of the machine share."""
        if not self.has(digest):
            raise MissingBlobError(digest)
        self._touch(digest)
        try:
            with (self._folder / digest).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size == 0:
                    return np.empty(0, np.uint8)
                return np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)
        except OSError as error:
            raise MissingBlobError(digest) from error

    def _write(self, digest: str, data: Bytes) -> None:
        self._count += 1
        temporary = self._folder / f"{_TEMPORARY}{os.getpid()}-{self._count}"
        try:
            with temporary.open("wb") as file:
                file.write(data.data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._folder / digest)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(self._folder)

    def _make_room(self, size: int) -> None:
        """Drop what was used longest ago until `size` more bytes fit."""
        if size > self._limit:
            raise StoreFullError(size, self._limit)
        entries = sorted(self._entries())
        # Counted anew: other agents may write to the same folder.
        self.used_bytes = sum(held for _, _, held in entries)
        for _, name, held in entries:
            if self.used_bytes + size <= self._limit:
                return
            self._remove(self._folder / name)
            self.used_bytes -= held

    def _entries(self) -> list[tuple[int, str, int]]:
        """(time of last use, name, bytes) of every blob."""
        entries: list[tuple[int, str, int]] = []
        for path in self._folder.iterdir():
            if is_digest(path.name):
                with contextlib.suppress(FileNotFoundError):  # dropped by another agent meanwhile
                    facts = path.stat()
                    entries.append((facts.st_mtime_ns, path.name, facts.st_size))
        return entries

    def _clean(self) -> None:
        """Remove half-written files of processes that are gone, and empty files under a digest."""
        for path in self._folder.iterdir():
            if path.name.startswith(_TEMPORARY) and not _is_alive(path.name):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        self._intact.discard(path.name)
        with contextlib.suppress(OSError):
            path.unlink()

    def _touch(self, digest: str) -> None:
        with contextlib.suppress(OSError):
            os.utime(self._folder / digest)


def _is_alive(name: str) -> bool:
    """Whether the process that writes a temporary file is running, so far as can be told."""
    pid = name.removeprefix(_TEMPORARY).partition("-")[0]
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _free(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def _sync_folder(folder: Path) -> None:
    """Make the new name last; some file systems cannot, and lose no bytes by it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
