"""Agents as real processes, and what they tell the service manager that started them."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from cocoi_agent.transport import connect
from cocoi_agent.wire.messages import Welcome
from tests.agent.host import HELLO, Host

AGENT = [sys.executable, "-m", "cocoi_agent"]
EMBEDDED = [*AGENT, "--embedded", "--security", "none"]
SERVICE = [*AGENT, "--port", "0", "--id", "pi-7"]
WAIT_S = 20

Start = Callable[..., subprocess.Popen]


def in_loop(test: Callable[..., Coroutine]) -> Callable:
    """Run a test that is a coroutine."""

    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Manager:
    """A socket as systemd's, whose messages can be waited for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(WAIT_S)

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def environment(self, watchdog_s: float = 0.2) -> dict[str, str]:
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def next(self) -> str:
        return self._socket.recv(4096).decode()

    def until(self, begin: str, count: int = 1) -> list[str]:
        """Everything that comes until `count` messages beginning so have come."""
        found: list[str] = []
        while sum(message.startswith(begin) for message in found) < count:
            found.append(self.next())
        return found

    def is_silent(self) -> bool:
        """Whether nothing has come; for after the end of the process."""
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return True
        return False


def announced(process: subprocess.Popen) -> dict[str, int]:
    """What an embedded agent says on its standard output."""
    return json.loads(process.stdout.readline())


def line_with(process: subprocess.Popen, text: str) -> str:
    """The next line on stderr that holds a text."""
    while text not in (line := process.stderr.readline().decode()):
        assert line, f"the process ended without a line that holds {text!r}"
    return line


def port_of(process: subprocess.Popen) -> int:
    """The port that a service says it listens on."""
    return int(line_with(process, " listens on ").split(" listens on ")[1].split()[0].rpartition(":")[2])


async def welcomed(port: int, context: Any = None) -> Host:
    host = Host()
    host.connection = await connect(
        "127.0.0.1", port, ssl_context=context, on_message=host.on_message, on_lost=host.on_lost
    )
    host.send(HELLO)
    await host.expect(Welcome)
    return host


@asynccontextmanager
async def visiting(port: int, context: Any = None) -> AsyncIterator[Host]:
    """A welcomed host that leaves at the end."""
    host = await welcomed(port, context)
    try:
        yield host
    finally:
        await host.connection.aclose()
