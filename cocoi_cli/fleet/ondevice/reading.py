"""Files and tools of a device, all looked for under one root.

A made-up device in a folder is thus read by the very code that reads a real one.
Nothing here changes anything; what cannot be read is None.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TOOL_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/vc/bin")
TOOL_TIMEOUT_S = 5.0  # a wedged bus or firmware mailbox must not hold the others up


def _environment() -> dict[str, str]:
    """English, without pagers and colours; over SSH the place of the user's own services may be missing."""
    own = {"LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    return {"XDG_RUNTIME_DIR": f"/run/user/{os.getuid()}", **os.environ, **own}


class Root:
    """The file tree of a device.

    Attributes:
        prefix: Put before every absolute path; empty on a real device.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix.rstrip("/")

    def path(self, name: str) -> Path:
        """Where an absolute path of the device lies."""
        return Path(self.prefix + name)

    def text(self, name: str) -> str | None:
        """What a file holds, without the blanks and NULs at its ends."""
        try:
            return self.path(name).read_bytes().decode("utf-8", "replace").strip(" \t\r\n\0")
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """The integer in a file."""
        text = self.text(name) or ""
        return int(text) if text.lstrip("-").isdigit() else None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none where it cannot be read."""
        try:
            return sorted(entry.name for entry in self.path(folder).iterdir())
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        """Whether something is there."""
        try:
            return self.path(name).exists()
        except OSError:  # a parent folder is closed to us
            return False

    def link(self, name: str) -> str | None:
        """Where a symbolic link points to, as it is written."""
        try:
            return os.readlink(str(self.path(name)))  # noqa: PTH115 - pathlib has it from Python 3.9 only
        except OSError:
            return None

    def tool(self, name: str, *arguments: str) -> str | None:
        """What a program says on standard output; None if it is absent, fails or hangs."""
        found = self.find_tool(name)
        return None if found is None else self.run(found, *arguments)

    def run(self, program: str, *arguments: str) -> str | None:
        """As `tool`, for a path of this machine."""
        try:
            done = subprocess.run(  # noqa: S603 - fixed programs, no shell
                [program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=TOOL_TIMEOUT_S,
                check=False,
                env=_environment(),
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None

    def find_tool(self, name: str) -> str | None:
        """Path of a program; system programs are found although a login's PATH may lack their folders."""
        for folder in TOOL_FOLDERS:
            path = str(self.path(folder) / name)
            if os.access(path, os.X_OK):
                return path
        return None
