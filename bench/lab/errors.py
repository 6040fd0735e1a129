"""What the rig cannot do, and what its user may do about it."""

from __future__ import annotations

FAILED = 1
USAGE = 2
MACHINE = 3


class RigError(Exception):
    """Ends a command with one line, and a second one of advice.

    Attributes:
        message: What failed, with the values; lower case, no full stop.
        hint: What to do; empty where there is nothing to be done.
        status: Exit status: 1 failed, 2 usage, 3 the machine is unfit.
    """

    def __init__(self, message: str, hint: str = "", *, status: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status

    def text(self) -> str:
        """The lines for stderr."""
        return f"error: {self.message}\n" + (f"hint: {self.hint}\n" if self.hint else "")


def usage(message: str, hint: str = "") -> RigError:
    """An error of the command line."""
    return RigError(message, hint, status=USAGE)
