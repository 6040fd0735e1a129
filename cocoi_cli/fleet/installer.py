"""The host's hand on one device's install: typed calls of `ondevice.install`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from cocoi_cli.fleet.errors import ScriptFailedError
from cocoi_cli.fleet.installation import Inspection, Switched, UnitState, Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cocoi_cli.fleet.installation import VersionPlan, WheelEntry
    from cocoi_cli.fleet.records import Device, Install
    from cocoi_cli.fleet.scripts import Tree

SCRIPT: Final = "install"

HELPERS: Final = (
    "layout",
    "disk",
    "ledger",
    "service",
    "units",
    "wheels",
    "environments",
    "versions",
    "trial",
    "configurations",
    "removal",
    "switching",
)
"""Modules that the script imports, in the order of their imports."""

_LOOK_S: Final = 60.0
_CHANGE_S: Final = 180.0  # the device waits up to 120 s for another installer
_START_S: Final = 420.0  # and up to 180 s for the agent to stop and start
_STAGE_S: Final = 1200.0  # unpacking wheels onto a slow card
_SLOW_BYTES_PER_S: Final = 100_000  # below this, Wi-Fi counts as broken

Payload = AsyncIterator[bytes] | Iterable[bytes]


class Scripts(Protocol):
    """What this module needs of a connection to a device."""

    @property
    def device(self) -> Device:
        """Whose connection it is."""
        ...

    async def script(
        self,
        name: str,
        request: Tree,
        *helpers: str,
        root: bool = False,
        payload: Payload = (),
        timeout_s: float = 60.0,
        on_progress: Callable[[str], None] | None = None,
    ) -> Tree:
        """Run a script on the device; its reply."""
        ...


@dataclass(frozen=True, slots=True)
class Installer:
    """The install of one device.

    Every call may be repeated. What the device refuses comes as `ScriptFailedError`, whose
    `details["failure"]` is the word; see `ondevice.install` for these.

    Attributes:
        remote: A connection to the device.
        install: Whose install it is.
        root: Prefix of all paths on the device, for tests.
        on_progress: Told what is being done.
    """

    remote: Scripts
    install: Install = "system"
    root: str = ""
    on_progress: Callable[[str], None] | None = None

    async def inspect(self) -> Inspection:
        """What is installed; changes nothing."""
        found = await self._call("inspect", _LOOK_S)
        with self._understanding("inspect"):
            return Inspection(
                current=_word(found["current"]),
                previous=_word(found["previous"]),
                versions=tuple(Version(**each) for each in found["versions"]),
                wheels=dict(found["wheels"].items()),
                config=_word(found["config"]),
                pending=bool(found["pending"]),
                unit=UnitState(**found["unit"]),
                linger=bool(found["linger"]),
                leftovers=tuple(map(str, found["leftovers"])),
            )

    async def receive(self, wheels: Sequence[WheelEntry], payload: Payload) -> None:
        """Send wheels; `payload` is their bytes in the same order."""
        files = [{"name": wheel.name, "size": wheel.size, "sha256": wheel.sha256} for wheel in wheels]
        seconds = _CHANGE_S + sum(wheel.size for wheel in wheels) / _SLOW_BYTES_PER_S
        await self._call("receive", seconds, payload, files=files)

    async def stage(self, plan: VersionPlan) -> bool:
        """Make a version beside the running one; whether it was made now."""
        reply = await self._call(
            "stage",
            _STAGE_S,
            id=plan.id,
            python=plan.python,
            requirements=plan.requirements,
            wheels=list(plan.wheels),
            unit=plan.unit,
            online=plan.online,
            manifest=plan.manifest,
        )
        with self._understanding("stage"):
            return bool(reply["changed"])

    async def try_out(self, ident: str) -> Tree:
        """Test a version in the sandbox of its unit; what its self-test tells."""
        return await self._call("try", _START_S, id=ident)

    async def configure(self, files: Mapping[str, str]) -> str:
        """Bring credentials and settings, unused as yet; their hash. Names: `ondevice.configurations.NAMES`."""
        reply = await self._call("configure", _CHANGE_S, files=dict(files))
        with self._understanding("configure"):
            return str(reply["config"])

    async def switch(self, ident: str, config: str) -> Switched:
        """Have a version run under a configuration, and wait until it says that it is ready."""
        reply = await self._call("switch", _START_S, id=ident, config=config)
        with self._understanding("switch"):
            return Switched(bool(reply["changed"]), str(reply["how"]), _word(reply["previous"]))

    async def confirm(self, ident: str) -> tuple[str, ...]:
        """Make a switch final; the paths of what was dropped."""
        reply = await self._call("confirm", _CHANGE_S, id=ident)
        with self._understanding("confirm"):
            return tuple(map(str, reply["removed"]))

    async def undo(self) -> str | None:
        """Take back a switch that was not confirmed, or a first install that never came to one; what is current."""
        reply = await self._call("rollback", _START_S, undo=True)
        with self._understanding("rollback"):
            return _word(reply["current"])

    async def rollback(self, leave: str | None = None) -> str | None:
        """Go back to the previous version; nothing changes if another than `leave` is current. What is current."""
        reply = await self._call("rollback", _START_S, leave=leave)
        with self._understanding("rollback"):
            return _word(reply["current"])

    async def restart(self) -> None:
        """Restart the agent, and wait until it is ready."""
        await self._call("restart", _START_S)

    async def reload(self) -> None:
        """Have the agent read its credentials anew."""
        await self._call("reload", _START_S)

    async def start(self) -> None:
        """Start the agent, and wait until it is ready."""
        await self._call("start", _START_S)

    async def stop(self) -> None:
        """Stop the agent until the next start or boot."""
        await self._call("stop", _START_S)

    async def remove(self) -> tuple[str, ...]:
        """Take everything off; the removed paths, none if nothing was there."""
        reply = await self._call("remove", _START_S)
        with self._understanding("remove"):
            return tuple(map(str, reply["removed"]))

    @contextmanager
    def _understanding(self, op: str) -> Iterator[None]:
        """What is no answer is an error of this device alone."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            cause = f"what it answers makes no sense ({type(error).__name__}: {error})"
            raise ScriptFailedError(self.remote.device.name, f"{SCRIPT}/{op}", cause, failure="bad-answer") from error

    async def _call(self, op: str, timeout_s: float, payload: Payload = (), **values: object) -> Tree:
        return await self.remote.script(
            SCRIPT,
            {"op": op, "mode": self.install, "root": self.root, **values},
            *HELPERS,
            root=self.install == "system",
            payload=payload,
            timeout_s=timeout_s,
            on_progress=self.on_progress,
        )


def _word(value: object) -> str | None:
    """A name, or none.

    Raises:
        TypeError: If it is something else.
    """
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"{value!r:.40} is no name")
