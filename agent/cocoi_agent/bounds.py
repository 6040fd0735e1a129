"""Bounding the memory of the whole process, also where the kernel has no memory cgroup.

A Raspberry Pi's kernel usually starts without that cgroup, and a service manager's
memory limit then does nothing. RLIMIT_DATA works everywhere: it counts all private
writable memory, large arrays included, and an allocation beyond it fails at once.
Such a failure ends one run or request (`out-of-memory`), not the process. Files
mapped from the store do not count.

Source: setrlimit(2).
"""

from __future__ import annotations

import resource
from pathlib import Path
from typing import ClassVar, Final

AUTOMATIC_SHARE: Final = 0.75  # of the machine's memory; the rest is for the system and its file cache
MARGIN_BYTES: Final = 64 << 20  # beyond what is taken already: less does not serve a single run

_PROC: Final = Path("/proc")


class BoundError(Exception):
    """A limit that leaves no room to work in.

    Attributes:
        limit: What was asked for, in bytes.
        least: What there must be, in bytes.
    """

    code: ClassVar[str] = "data-limit"

    def __init__(self, limit: int, least: int) -> None:
        super().__init__(f"a data limit of {limit} bytes is too low: the agent itself needs {least}")
        self.limit = limit
        self.least = least


def bound_data(limit: int, proc: Path = _PROC) -> None:
    """Let allocations fail once the process holds `limit` bytes.

    Args:
        limit: Bytes of private writable memory, threads' stacks included.
        proc: Where procfs is mounted.

    Raises:
        BoundError: If the process would have next to nothing left.
    """
    least = (kilobytes(proc / "self/status", "VmData:") or 0) + MARGIN_BYTES
    if limit < least:
        raise BoundError(limit, least)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def automatic_limit(proc: Path = _PROC) -> int:
    """Three quarters of the machine's memory in bytes; 0 where it is not known."""
    return int((kilobytes(proc / "meminfo", "MemTotal:") or 0) * AUTOMATIC_SHARE)


def kilobytes(path: Path, key: str) -> int | None:
    """The line `key  N kB` of a file of procfs, in bytes; None where there is none."""
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None
