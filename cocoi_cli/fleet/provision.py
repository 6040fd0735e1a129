"""Deploy: from a bare device to an agent that serves, and back by itself where it does not.

Theory of operation: everything up to the switch happens beside what runs, and each step
finds out for itself whether it was done before; so a deploy that was cut off anywhere is
finished by the next. The switch is one rename on the device. Only after the agent has
computed something for this host is the switch confirmed; otherwise the device goes back.

Source: docs/fleet.md, what deploy does.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import cocoi_agent
from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import keys
from cocoi_cli.fleet.agent_wheel import agent_wheel
from cocoi_cli.fleet.deployed import Deployed, NotServingError, OtherInstallError, PreflightError, RolledBackError
from cocoi_cli.fleet.errors import DeviceError, ScriptFailedError
from cocoi_cli.fleet.findings import preflight
from cocoi_cli.fleet.installer import Installer
from cocoi_cli.fleet.kinds import target_of
from cocoi_cli.fleet.ondevice.configurations import digest
from cocoi_cli.fleet.releases import release, settings
from cocoi_cli.fleet.serving import serving
from cocoi_cli.fleet.survey import read_facts, resolve
from cocoi_cli.fleet.wheelhouse import fetch
from cocoi_cli.shipped import unit_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from cocoi_cli.fleet.deployed import Choice, Watch
    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.findings import Finding
    from cocoi_cli.fleet.health import Health
    from cocoi_cli.fleet.installation import Inspection
    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.fleet.releases import Release
    from cocoi_cli.fleet.remote import Remote
    from cocoi_cli.fleet.targets import Target
    from cocoi_cli.fleet.wheelhouse import Wheelhouse

    Check = Callable[[Device], Awaitable[Health]]

_BLOCK: Final = 1 << 18


class Deployment:
    """One deploy to many devices: what they share is made once."""

    def __init__(
        self, inventory: Inventory, choice: Choice, watch: Watch, *, at_once: int, check: Check | None = None
    ) -> None:
        """Prepare.

        Args:
            inventory: The fleet.
            choice: How.
            watch: Told what happens.
            at_once: How many serving agents may be restarted at the same time.
            check: Sees whether a device's agent serves, in the version of this host.
        """
        self._inventory = inventory
        self._choice = choice
        self._watch = watch
        self._gate = asyncio.Semaphore(at_once)
        self._houses: dict[Target, asyncio.Task[Wheelhouse]] = {}
        self.check: Check = check or partial(serving, inventory, version=cocoi_agent.__version__)

    async def __call__(self, remote: Remote, device: Device) -> Deployed:
        """Bring one device up to date.

        Raises:
            PreflightError: The device cannot run an agent as it is.
            RolledBackError: The new version does not serve there.
            DeviceError, FailedError: Anything else that stopped it; what ran before still runs.
        """
        return await _OneDevice(self, remote, device).run()

    async def fetch(self, target: Target, device: str) -> Wheelhouse:
        """The wheels for a kind of device, fetched once for all of them."""
        task = self._houses.get(target)
        if task is None:
            choice = self._choice
            tell = self._teller(device)
            task = asyncio.ensure_future(
                fetch(target, offline=choice.offline, runtime=choice.runtime, on_progress=tell)
            )
            self._houses[target] = task
        # One device that is given up must not take the wheels from the others.
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Stop fetching; idempotent."""
        tasks = list(self._houses.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def inventory(self) -> Inventory:
        """The fleet."""
        return self._inventory

    @property
    def choice(self) -> Choice:
        """How to deploy."""
        return self._choice

    @property
    def watch(self) -> Watch:
        """Who is told what happens."""
        return self._watch

    @contextlib.asynccontextmanager
    async def turn(self, *, serving: bool) -> AsyncIterator[None]:
        """Wait until so few agents are being restarted that the fleet can do without this one too."""
        if not serving:
            yield
            return
        async with self._gate:
            yield

    def _teller(self, device: str) -> _Teller:
        return _Teller(self._watch, device, "fetch")


@dataclass(frozen=True, slots=True)
class _Teller:
    """Tells the watch of progress within one stage."""

    watch: Watch
    device: str
    stage: str

    def __call__(self, note: str) -> None:
        self.watch.stage(self.device, self.stage, note)


class _OneDevice:
    """The way of one device."""

    def __init__(self, deployment: Deployment, remote: Remote, device: Device) -> None:
        self._deployment = deployment
        self._remote = remote
        self._device = device
        self._install = deployment.choice.install or device.install
        self._steps: list[str] = []
        self._begin = time.monotonic()

    async def run(self) -> Deployed:
        facts, address, notes = await self._preflight()
        python = facts.python()
        assert python is not None  # noqa: S101 - preflight refuses a device without one
        house = await self._deployment.fetch(target_of(self._device.name, facts), self._device.name)
        new = release(house, agent_wheel(), unit_file(self._install).read_text(encoding="utf-8"))
        before = await self._installer("inspect").inspect()
        env = settings(self._device, facts, address, self._deployment.inventory.security)
        if self._deployment.choice.dry_run:
            self._foresee(before, new, env)
            return self._outcome(new, before.current, notes, None)
        try:
            await self._stage(before, new, python.path)
            config = await self._configure(env, before)
        except ScriptFailedError as error:
            await self._tidy(error)
            raise
        async with self._deployment.turn(serving=before.unit.active == "active"):
            found = await self._switch(before, new, config, env)
        return self._outcome(new, found[0], notes, found[1])

    # --- the steps ---------------------------------------------------------------------

    async def _preflight(self) -> tuple[DeviceFacts, str, tuple[Finding, ...]]:
        self._at("preflight")
        facts = await read_facts(self._remote, self._device)
        addresses = await resolve(self._device)
        found = preflight(facts, self._device, addresses=addresses, install=self._install)
        if errors := [each for each in found if each.severity == "error"]:
            raise PreflightError(self._device.name, errors)
        other = facts.install("user" if self._install == "system" else "system")
        if other is not None:
            cause = f"version `{other.current}` is installed there as a {other.mode} service"
            raise OtherInstallError(self._device.name, "preflight", cause, mode=other.mode, wanted=self._install)
        if self._install == "system":
            await self._remote.become_root()
        return facts, addresses[0] if addresses else self._device.address, found

    async def _stage(self, before: Inspection, new: Release, python: str) -> None:
        if not before.has(new.id):
            online = self._deployment.choice.online
            await self._send(before, new, online=online)
            if await self._installer("stage").stage(new.plan(python, online=online)):
                self._steps.append(f"made version {new.id}")
        confirmed = any(each.id == new.id and each.confirmed for each in before.versions)
        if not confirmed:
            told = await self._installer("test").try_out(new.id)
            self._steps.append(f"tested ONNX Runtime {told.get('onnxruntime', '')} in the sandbox of the unit")

    async def _send(self, before: Inspection, new: Release, *, online: bool) -> None:
        missing = [each for each in new.sent(online=online) if before.wheels.get(each[0].name) != each[0].sha256]
        if not missing:
            return
        size = sum(entry.size for entry, _ in missing)
        count = f"{len(missing)} {'wheel' if len(missing) == 1 else 'wheels'} ({size / 1e6:.1f} MB)"
        self._at("stage", f"sending {count}")
        await self._installer("stage").receive([entry for entry, _ in missing], _bytes([data for _, data in missing]))
        self._steps.append(f"sent {count}")

    async def _configure(self, env: dict[str, str], before: Inspection) -> str:
        self._at("configure")
        config = await self._installer("configure").configure(self._files(env))
        if config != before.config:
            self._steps.append("wrote certificates and settings")
        return config

    async def _switch(
        self, before: Inspection, new: Release, config: str, env: dict[str, str]
    ) -> tuple[str | None, Health]:
        """Switch, check, confirm; or go back. The version before, and what the agent told."""
        self._at("switch")
        try:
            switched = await self._installer("switch").switch(new.id, config)
            if before.current != new.id:
                origin = f"from {before.current} " if before.current else ""
                self._steps.append(f"switched {origin}to {new.id}")
            elif switched.changed:
                self._steps.append({"reloaded": "reloaded the agent"}.get(switched.how, "restarted the agent"))
            self._at("health")
            healthy = await self._deployment.check(self._device)
            if digest(self._files(env)) != config:
                # A rotation has gone by while this device waited for its turn: what it was told admits the old host.
                config = await self._configure(env, before)
                await self._installer("switch").switch(new.id, config)
                self._at("health")
                healthy = await self._deployment.check(self._device)
        except CocoiError as error:
            raise await self._back(error, before, new, config) from error
        if before.pending or before.current != new.id or before.config != config or not _confirmed(before, new.id):
            await self._installer("confirm").confirm(new.id)
        return switched.previous, healthy

    async def _tidy(self, error: ScriptFailedError) -> None:
        """Leave nothing half installed; a connection that was lost instead leaves it to the next deploy."""
        if error.details.get("failure") != "busy":  # what is there then may be somebody else's
            with contextlib.suppress(CocoiError):
                await self._installer("roll back").undo()

    async def _back(self, error: CocoiError, before: Inspection, new: Release, config: str) -> CocoiError:
        """Take the switch back; the error to raise."""
        name = self._device.name
        if (before.current, before.config, before.pending) == (new.id, config, False):
            if isinstance(error, DeviceError):
                return error
            return NotServingError(name, "health", error.message, reason=error.code, version=new.id)
        self._at("roll back")
        try:
            version = await self._installer("roll back").undo()
        except CocoiError as failure:
            failure.details["before"] = {"error": error.code, "message": error.message}
            return failure
        return RolledBackError(name, error, version)

    # --- a dry run ------------------------------------------------------------------------

    def _foresee(self, before: Inspection, new: Release, env: dict[str, str]) -> None:
        if not before.has(new.id):
            sent = new.sent(online=self._deployment.choice.online)
            missing = [each for each, _ in sent if before.wheels.get(each.name) != each.sha256]
            if missing:
                self._steps.append(f"send {len(missing)} wheels ({sum(each.size for each in missing) / 1e6:.1f} MB)")
            self._steps.append(f"make version {new.id}")
        if not _confirmed(before, new.id):
            self._steps.append("test ONNX Runtime in the sandbox of the unit")
        same = before.config is not None and self._has_keys() and digest(self._files(env)) == before.config
        if not same:
            self._steps.append("write certificates and settings")
        if before.current != new.id:
            self._steps.append(f"switch {f'from {before.current} ' if before.current else ''}to {new.id}")
        elif not same or before.unit.active != "active":
            self._steps.append("restart the agent")
        if self._steps:
            self._steps.append("check the agent; go back if it does not serve")

    def _has_keys(self) -> bool:
        inventory = self._deployment.inventory
        if inventory.security == "none":
            return True
        return keys.host_identity(inventory) is not None and keys.agent_certificate(inventory, self._device) is not None

    # --- helpers -----------------------------------------------------------------------------

    def _files(self, env: dict[str, str]) -> dict[str, str]:
        inventory = self._deployment.inventory
        if inventory.security == "none":
            return {"agent.env": keys.environment_text(env)}
        return keys.agent_files(inventory, self._device, env)

    def _at(self, stage: str, note: str = "") -> None:
        self._remote.begin(stage)
        self._deployment.watch.stage(self._device.name, stage, note)

    def _installer(self, stage: str) -> Installer:
        self._remote.begin(stage)
        tell = _Teller(self._deployment.watch, self._device.name, stage)
        return Installer(self._remote, self._install, on_progress=tell)

    def _outcome(
        self, new: Release, previous: str | None, notes: tuple[Finding, ...], healthy: Health | None
    ) -> Deployed:
        seconds = time.monotonic() - self._begin
        return Deployed(self._install, new.id, previous, tuple(self._steps), notes, seconds, healthy)


def _confirmed(before: Inspection, ident: str) -> bool:
    return any(each.id == ident and each.confirmed for each in before.versions)


def _bytes(sources: Sequence[Path | bytes]) -> Iterator[bytes]:
    for source in sources:
        if isinstance(source, bytes):
            yield source
            continue
        with source.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
