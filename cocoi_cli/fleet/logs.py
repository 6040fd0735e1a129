"""The journals of agents, as one stream.

The clocks of a fleet do not agree: each line is dated by the host's clock, from the
offset that was measured when the device was contacted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet.survey import read_clock
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.fleet.records import Device, Install
    from cocoi_cli.fleet.remote import Remote

UNIT: Final = "cocoi-agent"
READ_S: Final = 120.0
_INFORMATION: Final = 6  # syslog's level of a line that says none
_LATEST_S: Final = 250e9  # about the year 9900: beyond, there are no dates
_TOO_LONG: Final = "(a message that is too long for the journal to tell)"


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a journal.

    Attributes:
        device: Whose.
        time_s: Seconds since 1970 by this machine's clock; off by the uncertainty of the comparison.
        priority: Of syslog, 0 (emergency) to 7 (debug).
        text: The message.
    """

    device: str
    time_s: float
    priority: int
    text: str


def command(install: Install, *, lines: int, since: str | None, follow: bool) -> list[str]:
    """What is run on a device.

    Args:
        install: Whose unit it is.
        lines: How many of the last lines.
        since: A moment as `journalctl --since` takes it, by the device's clock; None for any.
        follow: Whether to wait for more.
    """
    unit = f"--user-unit={UNIT}" if install == "user" else f"--unit={UNIT}"
    words = ["journalctl", unit, "--output=json", "--no-pager", "--quiet", f"--lines={lines}"]
    if since is not None:
        words.append(f"--since={since}")
    return [*words, "--follow"] if follow else words


def parse(line: bytes, device: str, offset_s: float) -> LogLine | None:
    """One line of `journalctl --output=json`; None if it is none."""
    try:
        entry = json.loads(line)
        time_s = int(entry["__REALTIME_TIMESTAMP"]) / 1e6 - offset_s
        text = _text(entry["MESSAGE"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    if not 0 <= time_s <= _LATEST_S:
        return None
    priority = str(entry.get("PRIORITY", _INFORMATION))
    level = int(priority) if re.fullmatch("[0-7]", priority) else _INFORMATION
    return LogLine(device, time_s, level, one_line(text))


def _text(message: object) -> str:
    """The journal gives a message with unprintable characters as a list of its bytes, and none that is too long.

    Raises:
        ValueError, TypeError: If it is no message.
    """
    match message:
        case str():
            return message
        case list():
            return bytes(message).decode(errors="replace")
        case None:
            return _TOO_LONG
        case _:
            raise TypeError(message)


async def read(remote: Remote, device: Device, *, lines: int, since: str | None) -> list[LogLine]:
    """The last lines of an agent's journal.

    Raises:
        DeviceError: If they cannot be read.
    """
    remote.begin("logs")
    offset = (await read_clock(remote))[0]
    words = command(device.install, lines=lines, since=since, follow=False)
    done = await remote.run(words, root=device.install == "system", timeout_s=READ_S)
    found = (parse(line, device.name, offset) for line in done.stdout.splitlines())
    return [line for line in found if line is not None]


async def follow(
    remote: Remote, device: Device, *, lines: int, since: str | None, tell: Callable[[LogLine], None]
) -> None:
    """Tell of the last lines of an agent's journal, and of each that comes, until cancelled.

    Raises:
        DeviceError: If they cannot be read, or the device is lost.
    """
    remote.begin("logs")
    offset = (await read_clock(remote))[0]
    words = command(device.install, lines=lines, since=since, follow=True)
    async for line in remote.lines(words, root=device.install == "system"):
        if (parsed := parse(line, device.name, offset)) is not None:
            tell(parsed)
