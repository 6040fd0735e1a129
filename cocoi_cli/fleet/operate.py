"""What is done to agents that are installed: restart, go back, take off, look at again."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.fleet import keys
from cocoi_cli.fleet.errors import DeviceError
from cocoi_cli.fleet.installer import Installer
from cocoi_cli.fleet.serving import NotInstalledError, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cocoi_cli.fleet.deployed import Watch
    from cocoi_cli.fleet.health import Health
    from cocoi_cli.fleet.records import Device, Install, Inventory
    from cocoi_cli.fleet.remote import Remote


class NoPreviousError(DeviceError):
    """The device holds no version to go back to; `details["version"]` is the one that runs."""

    code: ClassVar[str] = "no-previous"


@dataclass(frozen=True, slots=True)
class Running:
    """What runs on a device after something was done to it.

    Attributes:
        version: The version; empty for none.
        before: The version that ran before, if it was another.
        health: What the agent told when it was asked afterwards; None if there is none.
    """

    version: str
    before: str | None
    health: Health | None


class Operation:
    """Something that is done to several devices at once, few enough at a time that the fleet still serves."""

    def __init__(self, inventory: Inventory, watch: Watch, *, at_once: int) -> None:
        """Prepare.

        Args:
            inventory: The fleet.
            watch: Told what happens.
            at_once: How many agents may be away at the same time.
        """
        self._inventory = inventory
        self._watch = watch
        self._gate = asyncio.Semaphore(at_once)

    async def restart(self, remote: Remote, device: Device) -> Running:
        """Restart the agent, and see that it serves.

        Raises:
            NotInstalledError: There is none.
            DeviceError, LinkError: It does not come back.
        """
        installer = self._installer(remote, device, "restart")
        version = (await installer.inspect()).current
        if version is None:
            raise NotInstalledError(device.name, "restart", "no agent is installed on it")
        async with self._away(remote, device, "restart"):
            await installer.restart()
            return Running(version, None, await self._check(remote, device))

    async def rollback(self, remote: Remote, device: Device) -> Running:
        """Go back to the version before, and see that it serves; it needs nothing but what is on the device.

        Raises:
            NotInstalledError: Nothing is installed.
            NoPreviousError: There is no version before.
            DeviceError, LinkError: It does not come up.
        """
        installer = self._installer(remote, device, "rollback")
        found = await installer.inspect()
        if found.current is None:
            raise NotInstalledError(device.name, "rollback", "no agent is installed on it")
        if found.previous is None and not found.pending:
            cause = f"there is no version before `{found.current}` on it"
            raise NoPreviousError(device.name, "rollback", cause, version=found.current)
        async with self._away(remote, device, "rollback"):
            version = await installer.rollback(found.current)
            return Running(version or "", found.current, await self._check(remote, device) if version else None)

    async def uninstall(self, remote: Remote, device: Device) -> tuple[str, ...]:
        """Take everything off the device, and forget its certificate; the paths that went, none if nothing was there.

        Raises:
            DeviceError: Something stays.
        """
        self._watch.stage(device.name, "uninstall")
        removed: list[str] = []
        modes: tuple[Install, ...] = ("user",) if device.install == "user" else ("system", "user")
        for install in modes:
            installer = Installer(remote, install)
            remote.begin("uninstall")
            if (await installer.inspect()).leftovers:
                removed += await installer.remove()
        keys.forget(self._inventory, device.name)
        return tuple(removed)

    def _installer(self, remote: Remote, device: Device, stage: str) -> Installer:
        remote.begin(stage)
        return Installer(remote, device.install)

    @contextlib.asynccontextmanager
    async def _away(self, remote: Remote, device: Device, stage: str) -> AsyncIterator[None]:
        self._watch.stage(device.name, "waiting for its turn")
        async with self._gate:
            remote.begin(stage)
            self._watch.stage(device.name, stage)
            yield

    async def _check(self, remote: Remote, device: Device) -> Health:
        remote.begin("health")
        self._watch.stage(device.name, "health")
        return await serving(self._inventory, device)
