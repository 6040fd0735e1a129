"""Telling systemd how the agent is: one datagram per message, no library.

Source: sd_notify(3).
"""

from __future__ import annotations

import contextlib
import os
import socket


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
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """The agent has checked itself; keeps the watchdog quiet."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The agent is about to end."""
        self._send("STOPPING=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # A manager that is gone is no reason to stop computing.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
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
