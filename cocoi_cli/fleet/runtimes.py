"""Which versions of ONNX Runtime a device may get. Pure.

Source: the issues named in `DENIED`.
"""

from __future__ import annotations

import re
from typing import ClassVar, Final

from cocoi_cli.errors import UsageError

LOWEST: Final = (1, 22, 1)
"""The agent's own lower bound (agent/pyproject.toml)."""

DENIED: Final = {
    (1, 21, 0): "it dies with an illegal instruction on a Raspberry Pi 4 (microsoft/onnxruntime#23957, #24112)",
    (1, 22, 0): "it stops with a failed assertion on some ARM boards (microsoft/onnxruntime#25103, #25472)",
}
"""Versions that are known to break on devices, and how."""


class BadRuntimeError(UsageError):
    """A version of ONNX Runtime that devices must not get."""

    code: ClassVar[str] = "bad-runtime"

    def __init__(self, version: str, cause: str) -> None:
        super().__init__(f"ONNX Runtime `{version}` is not for devices: {cause}", version=version, cause=cause)
        self.version = version
        self.cause = cause


def known_bad(version: str) -> str | None:
    """How this version breaks on devices, one clause; None if nothing is known against it."""
    numbers = _numbers(version)
    return DENIED.get(numbers) if numbers else None


def check_runtime(version: str) -> str:
    """Check a version that somebody asks for.

    Args:
        version: Two or three numbers with points between them.

    Returns:
        The same with three numbers, as packages are named.

    Raises:
        BadRuntimeError: If it is no such version, known to break, or older than the agent can use.
    """
    numbers = _numbers(version)
    if numbers is None:
        raise BadRuntimeError(version, "it is no version number such as `1.31.1`")
    if cause := DENIED.get(numbers):
        raise BadRuntimeError(version, cause)
    if numbers < LOWEST:
        raise BadRuntimeError(version, f"the agent needs {_text(LOWEST)} or newer")
    return _text(numbers)


def _numbers(version: str) -> tuple[int, int, int] | None:
    found = re.fullmatch(r"([0-9]{1,6})\.([0-9]{1,6})(?:\.([0-9]{1,6}))?", version)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def _text(numbers: tuple[int, int, int]) -> str:
    return ".".join(map(str, numbers))
