"""Locks between processes of one user: a file that one of them holds at a time.

The system lets go of the lock when its holder ends, however it ends. The file itself stays:
removing it would let two holders in, each with a file of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

POLL_S: Final = 0.1  # a thread that waits for a lock cannot be cancelled, so a waiting coroutine asks again


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock, after waiting for it: for work of milliseconds.

    Args:
        path: The file, made with mode 0600 where absent; its folder exists.

    Raises:
        OSError: If the file cannot be opened, or the file system knows no locks.
    """
    descriptor = _open(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@asynccontextmanager
async def locked_async(path: Path) -> AsyncIterator[None]:
    """The same for work that takes long; waiting for it can be cancelled."""
    descriptor = _open(path)
    try:
        while not _take(descriptor):  # noqa: ASYNC110 - another process lets go of it, so no event can tell
            await asyncio.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
