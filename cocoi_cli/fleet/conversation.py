"""What a script on a device says, put together from parts of any size. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet import scripts

if TYPE_CHECKING:
    from collections.abc import Callable


MOST_LINE: Final = 4 << 20  # bytes; the longest of ours measures a link with 1 MiB


class TooLongError(Exception):
    """What a device says has no end; whoever reads it says of what."""

    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"{what} has more than {most} bytes")


class Conversation:
    """One run of a script.

    Attributes:
        outcome: How it ended, as far as it has said so.
    """

    def __init__(self, on_progress: Callable[[str], None] | None) -> None:
        self.outcome: scripts.Result | scripts.ScriptFailure | None = None
        self._on_progress = on_progress
        self._rest: list[bytes] = []
        self._held = 0

    def feed(self, part: bytes) -> None:
        """Take the next part of its standard output.

        Raises:
            TooLongError: If a line does not end.
        """
        *whole, rest = part.split(b"\n")
        for line in whole:
            self._take(b"".join([*self._rest, line]))
            self._rest.clear()
            self._held = 0
        self._rest.append(rest)
        self._held += len(rest)
        if self._held > MOST_LINE:
            raise TooLongError("a line", MOST_LINE)

    def _take(self, line: bytes) -> None:
        match scripts.read_line(line):
            case scripts.Progress(text):
                if self._on_progress is not None:
                    self._on_progress(text)
            case scripts.Result() | scripts.ScriptFailure() as outcome:
                self.outcome = outcome
            case None:
                pass  # a library of the device that talks
