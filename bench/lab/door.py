"""What the doors of `rig` and `faults` share: errors become lines and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Final, NoReturn

from bench.lab.errors import FAILED, RigError
from bench.lab.layout import check_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

PREFIX_VARIABLE: Final = "COCOI_RIG_PREFIX"
DEFAULT_PREFIX: Final = "cocoi"


def named_prefix() -> str:
    """The prefix where the command line names none.

    Raises:
        RigError: If the environment names what cannot be one.
    """
    return check_prefix(os.environ.get(PREFIX_VARIABLE, DEFAULT_PREFIX))


def reported(work: Callable[[], int]) -> int:
    """Do the work of a command; return its exit status, errors told on stderr."""
    signal.signal(signal.SIGTERM, _stop)  # so that a rig half made is taken down again
    try:
        return work()
    except RigError as error:
        sys.stderr.write(error.text())
        return error.status
    except PermissionError as error:
        sys.stderr.write(RigError(f"`{error.filename}`: {error.strerror}", "start it with `sudo`").text())
        return FAILED
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return 130


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt
