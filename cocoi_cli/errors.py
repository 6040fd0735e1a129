"""What can go wrong on the host, as facts; advice lives in `cocoi_cli.hints`.

Every expected error derives from `CocoiError` through the class that says whose
move it is. `exit_status` is the documented status of the process.
"""

from __future__ import annotations

from typing import ClassVar


class CocoiError(Exception):
    """An expected failure.

    `code` is the stable word of this error for programs, `exit_status` the
    status of the command; `details` holds the deciding values.
    """

    code: ClassVar[str] = "failed"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: dict[str, object] = details


class FailedError(CocoiError):
    """The work was asked for correctly and did not succeed (exit 1)."""


class UsageError(CocoiError):
    """The caller asked for something impossible, or named an unfit input (exit 2)."""

    code: ClassVar[str] = "usage"
    exit_status: ClassVar[int] = 2


class ConfigurationError(CocoiError):
    """A file that cocoi was told to work with is unfit (exit 3)."""

    code: ClassVar[str] = "configuration"
    exit_status: ClassVar[int] = 3


class ModelError(ConfigurationError):
    """The model file or its graph is unfit (exit 3)."""

    code: ClassVar[str] = "model"


class FleetError(CocoiError):
    """Agents are unreachable, refused us, or are too few (exit 4)."""

    code: ClassVar[str] = "fleet"
    exit_status: ClassVar[int] = 4


class DecodeError(CocoiError):
    """Fewer answers came than decoding needs, and the host may not help (exit 5)."""

    code: ClassVar[str] = "cannot-decode"
    exit_status: ClassVar[int] = 5
