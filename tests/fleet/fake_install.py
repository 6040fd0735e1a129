"""A device's install as a state machine in memory: it answers the scripts that deploy and its like send."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cocoi_cli.fleet.errors import DroppedError, ScriptFailedError, SudoError
from cocoi_cli.fleet.ondevice.configurations import digest
from cocoi_cli.fleet.records import Device

FACTS: dict[str, Any] = {
    "hostname": "pi",
    "machine_id": "0" * 32,
    "user": "pi",
    "home": "/home/pi",
    "hardware": {"model": "Raspberry Pi 4 Model B", "memory": {"total": 4 << 30, "available": 3 << 30}},
    "system": {
        "userland": "arm64",
        "machine": "aarch64",
        "pointer_bits": 64,
        "libc": [2, 36],
        "os": {"pretty_name": "Debian 12"},
    },
    "services": {"running": True, "version": 252},
    "interpreters": [{"path": "/usr/bin/python3.11", "version": [3, 11, 2], "bits": 64, "venv": True, "ssl": True}],
    "interfaces": [{"name": "eth0", "kind": "wired", "addresses": ["127.0.0.1"], "up": True}],
    "disks": [{"path": "/opt", "free": 10**10, "total": 2 * 10**10, "read_only": False}],
    "clock": {"seconds": 0.0},
}


@dataclass
class FakeInstall:
    """What is installed; `fails` maps an operation to the failure's word, `asked` lists every operation."""

    facts: dict[str, Any] = field(default_factory=lambda: {**FACTS})
    current: str | None = None
    previous: str | None = None
    confirmed: set[str] = field(default_factory=set)
    complete: set[str] = field(default_factory=set)
    wheels: dict[str, str] = field(default_factory=dict)
    configs: dict[str, dict[str, str]] = field(default_factory=dict)
    config: str | None = None
    origin: tuple[str | None, str | None, str | None] | None = None
    active: bool = False
    fails: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: int = 0
    may_be_root: bool = True

    def inspect(self, _: dict[str, Any]) -> dict[str, Any]:
        state = "active" if self.active else "inactive"
        unit = {"active": state, "sub": "", "pid": 7, "restarts": 0, "result": "success", "since": 1.0}
        versions = [
            {"id": each, "complete": True, "confirmed": each in self.confirmed} for each in sorted(self.complete)
        ]
        return {
            "current": self.current,
            "previous": self.previous,
            "versions": versions,
            "wheels": dict(self.wheels),
            "config": self.config,
            "pending": self.origin is not None,
            "unit": unit,
            "linger": False,
            "leftovers": ["/opt/cocoi"] if self.complete or self.wheels else [],
        }

    def receive(self, request: dict[str, Any]) -> dict[str, Any]:
        self.wheels |= {each["name"]: each["sha256"] for each in request["files"]}
        return {"received": len(request["files"])}

    def stage(self, request: dict[str, Any]) -> dict[str, Any]:
        assert set(request["wheels"]) <= set(self.wheels)
        changed = request["id"] not in self.complete
        self.complete.add(request["id"])
        return {"changed": changed}

    def try_(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["id"] in self.complete
        return {"ok": True, "onnxruntime": "1.31.1"}

    def configure(self, request: dict[str, Any]) -> dict[str, Any]:
        ident = digest(request["files"])
        self.configs[ident] = request["files"]
        return {"changed": True, "config": ident}

    def switch(self, request: dict[str, Any]) -> dict[str, Any]:
        goal = request["id"], request["config"]
        if goal == (self.current, self.config) and self.active:
            return {"changed": False, "how": "unchanged", "previous": self.previous}
        how = "reloaded" if request["id"] == self.current else "restarted"
        self.origin = self.origin or (self.current, self.previous, self.config)
        if self.current not in (None, request["id"]):
            self.previous = self.current
        self.current, self.config = goal
        self.active = True
        return {"changed": True, "how": how, "previous": self.previous}

    def confirm(self, request: dict[str, Any]) -> dict[str, Any]:
        assert request["id"] == self.current
        self.confirmed.add(request["id"])
        self.origin = None
        return {"removed": []}

    def rollback(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("undo"):
            if self.origin is not None:
                self.current, self.previous, self.config = self.origin
            elif self.current is None:
                self.complete, self.wheels, self.config = set(), {}, None
            self.origin = None
        else:
            self.current, self.previous = self.previous, self.current
        self.active = self.current is not None
        return {"current": self.current}

    def restart(self, _: dict[str, Any]) -> dict[str, Any]:
        self.active = True
        return {"active": True}

    def remove(self, _: dict[str, Any]) -> dict[str, Any]:
        found = ["/opt/cocoi"] if self.complete or self.wheels else []
        self.complete, self.wheels, self.current, self.config, self.active = set(), {}, None, None, False
        return {"removed": found}


class FakeRemote:
    """Stands where `fleet.remote.Remote` stands."""

    def __init__(self, device: Device, install: FakeInstall) -> None:
        self.device = device
        self.install = install
        self.stage = ""

    def begin(self, stage: str) -> None:
        self.stage = stage

    async def become_root(self) -> str:
        if not self.install.may_be_root:
            raise SudoError(self.device.name, "sudo", "not allowed")
        return "nopasswd"

    async def script(self, name: str, request: dict[str, Any], *helpers: str, payload=(), **options: Any):
        if name == "facts":
            return self.install.facts
        op = request["op"]
        self.install.asked.append(op)
        if op in self.install.fails:
            word = self.install.fails[op]
            if word == "cut":
                raise DroppedError(self.device.name, self.stage, "the connection broke")
            raise ScriptFailedError(self.device.name, self.stage, f"it failed: {word}", failure=word)
        self.install.received += sum(len(block) for block in payload)
        return getattr(self.install, {"try": "try_"}.get(op, op))(request)


class Record:
    """A watch that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def stage(self, device: str, stage: str, note: str = "") -> None:
        self.told.append((device, stage, note))
