"""What the agent says of itself on stderr: few lines, with the priorities that the journal reads.

What peers can provoke is bounded by kind: a port scanner fills no journal. What they
say of themselves is shown without control characters, so that nobody can write a line
of their own.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

BURST: Final = 10  # lines of one kind at once
REFILL_S: Final = 30.0  # and one more after each such time
MAX_LINE: Final = 600  # characters


class Level(StrEnum):
    """Priorities of syslog(3), as systemd reads them in front of a line."""

    ERROR = "<3>"
    WARNING = "<4>"
    NOTICE = "<5>"
    INFO = "<6>"


class Kind(Enum):
    """What others can make the agent say, and how loud that is."""

    CONNECTED = ("connected", Level.INFO)
    LOST = ("lost", Level.INFO)
    REFUSED = ("refused", Level.WARNING)
    FAULT = ("fault", Level.WARNING)
    TROUBLE = ("trouble", Level.ERROR)


class _Bucket:
    """Lines that one kind may still say."""

    __slots__ = ("left", "since_s", "withheld")

    def __init__(self, now: float) -> None:
        self.left = float(BURST)
        self.since_s = now
        self.withheld = 0

    def take(self, now: float) -> bool:
        self.left = min(BURST, self.left + (now - self.since_s) / REFILL_S)
        self.since_s = now
        if self.left < 1:
            self.withheld += 1
            return False
        self.left -= 1
        return True


class Journal:
    """Writes lines.

    Args:
        quiet: Say errors only: for agents that a local host has started.
        clock: Monotonic seconds.
        write: Takes a line with its end; None for stderr.
    """

    def __init__(
        self,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], object] | None = None,
    ) -> None:
        self._quiet = quiet
        self._clock = clock
        self._write = write or _to_stderr
        self._buckets: dict[Kind, _Bucket] = {}
        # The priority only where the journal reads it; a person sees the bare line.
        self._with_levels = "JOURNAL_STREAM" in os.environ

    def say(self, level: Level, text: str) -> None:
        """One line, however many there were before."""
        if self._quiet and level is not Level.ERROR:
            return
        prefix = level.value if self._with_levels else ""
        shown = "".join(letter if letter.isprintable() else "?" for letter in text[:MAX_LINE])
        self._write(f"{prefix}{shown}\n")

    def note(self, kind: Kind, text: str) -> None:
        """One line about others, unless there were too many of its kind."""
        now = self._clock()
        bucket = self._buckets.setdefault(kind, _Bucket(now))
        if bucket.take(now):
            self._tell_withheld(kind, bucket)
            self.say(kind.value[1], text)

    def tick(self) -> None:
        """Tell how many lines were withheld, where one may be said again; call every few seconds."""
        now = self._clock()
        for kind, bucket in self._buckets.items():
            if bucket.withheld and bucket.left + (now - bucket.since_s) / REFILL_S >= 1 and bucket.take(now):
                self._tell_withheld(kind, bucket)

    def _tell_withheld(self, kind: Kind, bucket: _Bucket) -> None:
        count, bucket.withheld = bucket.withheld, 0
        if count:
            word, level = kind.value
            self.say(level, f"{count} more lines such as these were withheld ({word})")


def _to_stderr(line: str) -> None:
    with contextlib.suppress(OSError, AttributeError):  # nobody reads it any more, or there never was one
        sys.stderr.write(line)
        sys.stderr.flush()
