"""Lines of the agents' journals, for people and for programs."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cocoi_cli.fleet.logs import LogLine

LEVELS: Final = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_ERROR: Final = 3
_WARNING: Final = 4
_RED: Final = "\x1b[1;31m"
_YELLOW: Final = "\x1b[33m"
_END: Final = "\x1b[0m"


def line_text(line: LogLine, width: int, *, color: bool) -> str:
    """`2026-11-21 12:00:03.120  shelf-1  warning: refused ...`; the level only where it matters.

    Args:
        line: The line.
        width: Of the widest device name.
        color: Whether the level may be coloured.
    """
    when = datetime.datetime.fromtimestamp(line.time_s).astimezone()
    stamp = f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03d}"
    return f"{stamp}  {line.device:{width}}  {_level(line.priority, color=color)}{line.text}"


def line_document(line: LogLine) -> dict[str, Any]:
    """The same for programs; the time in UTC."""
    when = datetime.datetime.fromtimestamp(line.time_s, tz=datetime.UTC)
    level = LEVELS[min(line.priority, len(LEVELS) - 1)]
    return {"time": when.isoformat(), "device": line.device, "level": level, "message": line.text}


def _level(priority: int, *, color: bool) -> str:
    if priority > _WARNING:
        return ""
    word = LEVELS[priority]
    if not color:
        return f"{word}: "
    return f"{_RED if priority <= _ERROR else _YELLOW}{word}:{_END} "
