"""A shelf of devices on this machine: a fleet file, its keys, and real agents behind some of its addresses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cocoi_cli.fleet import keys
from cocoi_cli.fleet.inventory import load
from cocoi_cli.fleet.records import Device, Inventory
from cocoi_cli.runtime.trust import Identity, make_identity

# A device is of one of these kinds; all but `up` cannot be used, each for another reason.
KINDS = ("up", "down", "refusing", "stranger", "version", "bare")
OTHER_VERSION = """\
import sys
if "cocoi_agent" in sys.orig_argv:
    import cocoi_agent.worker
    cocoi_agent.worker.PROTOCOL_VERSIONS = (7, 7)
"""


@dataclass
class Shelf:
    """Devices by name and kind; `start` must come before anything else, `close` at the end."""

    repository: Path
    folder: Path
    kinds: Mapping[str, str]
    security: str = "tls"
    processes: dict[str, subprocess.Popen] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    nobody: list[socket.socket] = field(default_factory=list)

    @property
    def path(self) -> Path:
        return self.folder / "fleet.toml"

    @property
    def inventory(self) -> Inventory:
        return load(self.path)

    def start(self) -> Shelf:
        """Make keys, start agents, write the fleet file. COCOI_DATA must be set."""
        draft = Inventory(self.path, "shelf", self.security, ())
        stranger = make_identity(self.folder, "stranger")
        (self.folder / "patched").mkdir()
        (self.folder / "patched" / "sitecustomize.py").write_text(OTHER_VERSION)
        host = keys.ensure_host_identity(draft).certificate if self.security == "tls" else None
        for name, kind in self.kinds.items():
            own = None
            if kind != "bare" and host is not None:
                own = keys.ensure_agent_identity(draft, Device(name, name, "127.0.0.1"))
            if kind in {"down", "bare"}:
                closed = socket.create_server(("127.0.0.1", 0))
                self.ports[name] = closed.getsockname()[1]
                closed.close()
            else:
                shown = stranger if kind == "stranger" else own
                peer = stranger.certificate if kind == "refusing" else host
                self.processes[name] = self._agent(name, shown, peer, patched=kind == "version")
        for name, process in self.processes.items():
            self.ports[name] = json.loads(process.stdout.readline())["port"]
        self.write()
        return self

    def write(self, **drained: bool) -> None:
        """Write the fleet file."""
        lines = ['id = "shelf"', f'security = "{self.security}"']
        for name in self.kinds:
            lines += [f"[devices.{name}]", f'ssh = "{name}"', 'address = "127.0.0.1"', f"port = {self.ports[name]}"]
            lines += ["drained = true"] if drained.get(name) else []
        self.path.write_text("\n".join(lines) + "\n")

    def signal(self, name: str, number: int) -> None:
        """Send a signal to the agent of a device."""
        os.kill(self.processes[name].pid, number)

    def close(self) -> None:
        """End every agent."""
        for process in self.processes.values():
            process.kill()
            process.wait(30)
            for pipe in (process.stdin, process.stdout):
                pipe.close()

    def _agent(self, name: str, shown: Identity | None, peer: Path | None, *, patched: bool) -> subprocess.Popen:
        paths = [*([self.folder / "patched"] if patched else []), self.repository / "agent"]
        trust = ["--security", "none"]
        if shown is not None:
            trust = ["--cert", str(shown.certificate), "--key", str(shown.key), "--peer", str(peer)]
        return subprocess.Popen(
            [sys.executable, "-m", "cocoi_agent", "--embedded", "--id", name, *trust],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        )
