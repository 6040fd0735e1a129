"""A ProxyCommand of the ssh configuration: a command whose standard streams lead to the device.

It runs in a shell, as `ssh` does it, over a pair of sockets; what it complains about is kept for the error.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from contextlib import suppress
from typing import IO, Final

GRACE_S: Final = 1.0  # it ends by itself when its socket is closed; after this it is killed
LONGEST: Final = 2000  # bytes of its complaints that are looked at


class Proxy:
    """A running ProxyCommand."""

    def __init__(self, process: asyncio.subprocess.Process, complaints: IO[bytes]) -> None:
        self._process = process
        self._complaints = complaints
        self._last_words = ""

    @classmethod
    async def start(cls, command: str) -> tuple[Proxy, socket.socket]:
        """Start a command; the caller owns both the proxy and the socket to talk over.

        Raises:
            OSError: If there is no shell, or no more processes or sockets may be had.
        """
        ours, theirs = socket.socketpair()
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `aclose`
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    "sh",
                    "-c",
                    f"exec {command}",
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=complaints,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            complaints.close()
            raise
        ours.setblocking(False)  # noqa: FBT003 - the standard library's argument
        return cls(process, complaints), ours

    def last_words(self) -> str:
        """The last line that it complained with, or nothing."""
        if self._complaints.closed:
            return self._last_words
        size = self._complaints.seek(0, 2)
        self._complaints.seek(max(0, size - LONGEST))
        return self._complaints.read().decode(errors="replace").strip().rsplit("\n", 1)[-1]

    async def aclose(self) -> None:
        """End it; its socket is closed already. Safe to repeat."""
        try:
            async with asyncio.timeout(GRACE_S):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._last_words = self.last_words()
        self._complaints.close()
