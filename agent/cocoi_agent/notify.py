"""Telling systemd how the agent is: one datagram per message, no library.

Source: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Final

PATIENCE_S: Final = 1.0  # for the two messages that are said once


class Notifier:
    """Speaks to the service manager that started the agent; silent without one."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        known = dict(os.environ) if environment is None else environment
        address = known.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the zero byte of Linux's abstract names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog(known)

    def ready(self, status: str) -> None:
        """The agent takes connections."""
        self._send(f"READY=1\nSTATUS={status}", PATIENCE_S)

    def alive(self, status: str) -> None:
        """The agent has checked itself; keeps the watchdog quiet."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def busy(self, status: str) -> None:
        """The agent runs, but has not checked itself: for people only, the watchdog goes on waiting."""
        self._send(f"STATUS={status}")

    def stopping(self) -> None:
        """The agent is about to end."""
        self._send("STOPPING=1", PATIENCE_S)

    def _send(self, text: str, patience_s: float = 0.0) -> None:
        if not self._address:
            return
        # A manager that is gone, or does not read, is no reason to stop computing.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.settimeout(patience_s)
            sock.connect(self._address)
            sock.send(text.encode())


def _watchdog(known: dict[str, str]) -> float | None:
    """Seconds within which `alive` must come, or None; a value for another process is not ours."""
    microseconds, pid = known.get("WATCHDOG_USEC", ""), known.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    if pid and pid != str(os.getpid()):
        return None
    return int(microseconds) / 1e6
