"""A rig for tests, and somebody in the coordinator's place who talks to its agents."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lab.cgroups import Groups, open_groups
from bench.lab.errors import RigError
from bench.lab.layout import PORT, folder_of, group_of
from bench.lab.network import entered
from bench.lab.system import PACKAGES, tool
from bench.lab.take_down import leftovers
from cocoi_agent.transport import connect
from cocoi_agent.wire.messages import Welcome
from tests.agent.host import HELLO, Host

ROOT = Path(__file__).resolve().parents[2]
NET = "10.81.0"


def why_not() -> str | None:
    """Why there can be no rig on this machine; None where there can."""
    if sys.platform != "linux":
        return "a rig needs Linux"
    if os.geteuid() != 0:
        return "a rig needs root"
    try:
        for command in PACKAGES:
            tool(command)
        open_groups("none")
    except RigError as error:
        return error.message
    return None


@dataclass(frozen=True)
class Place:
    """A rig of this prefix, up or not."""

    prefix: str

    @property
    def folder(self) -> Path:
        return folder_of(self.prefix)

    @property
    def groups(self) -> Groups:
        return open_groups(group_of(self.prefix))

    @property
    def left(self) -> list[str]:
        """What there is of it on this machine."""
        return [*leftovers(self.prefix), *([str(self.folder)] if self.folder.exists() else [])]

    def start(self, *words: str, door: str = "rig") -> subprocess.Popen[str]:
        """Start a command of it; its output goes to pipes."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "bench/lab" / door), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={
                **os.environ,
                "COCOI_RIG_PREFIX": self.prefix,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent")]),
            },
        )

    def rig(self, *words: str, status: int = 0, door: str = "rig") -> subprocess.CompletedProcess[str]:
        """A command of it to its end, which must be of this status."""
        process = self.start(*words, door=door)
        out, err = process.communicate(timeout=300)
        assert process.returncode == status, (words, process.returncode, out, err)
        return subprocess.CompletedProcess(words, status, out, err)

    def up(self, *words: str) -> None:
        self.rig("up", "--net", NET, "--python", sys.executable, *words)

    def faults(self, *words: str) -> None:
        """A line of a fault script; prints nothing."""
        done = self.rig(*words, door="faults")
        assert (done.stdout, done.stderr) == ("", "")

    def status(self) -> dict[str, Any]:
        """The document of `rig status`."""
        return json.loads(self.rig("status", "--json").stdout)

    def device(self, name: str) -> dict[str, Any]:
        """A device's part of it."""
        (found,) = (each for each in self.status()["devices"] if each["name"] == name)
        return found

    def from_host(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something in the coordinator's place on the network, in a loop of its own."""
        failed: list[BaseException] = []

        def there() -> None:
            try:
                with entered(f"{self.prefix}-host"):
                    asyncio.run(work())
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        if failed:
            raise failed[0]

    @asynccontextmanager
    async def client(self, number: int):
        """A host that the agent of a device has welcomed."""
        host = Host()
        host.connection = await connect(
            f"{NET}.{10 + number}", PORT, ssl_context=None, on_message=host.on_message, on_lost=host.on_lost
        )
        try:
            host.send(HELLO)
            await host.expect(Welcome)
            yield host
        finally:
            host.connection.close()
