"""New certificates for a whole fleet, without a moment in which it cannot be used.

Theory of operation: first every agent gets its successor and admits both the present host
and the next one, while this host accepts either certificate of each agent. Then this host
becomes the next one. Then every agent admits the new host only, and closes what was
connected under the old certificates. Cut off anywhere, all that were told and all that
were not can still be reached; another rotation, or a deploy, goes on from there.

Source: docs/fleet.md, trust; `cocoi_cli.fleet.keys` says what is where meanwhile.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import keys
from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.installer import Installer
from cocoi_cli.fleet.releases import settings
from cocoi_cli.fleet.serving import NotInstalledError, serving
from cocoi_cli.fleet.survey import read_facts, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.deployed import Watch
    from cocoi_cli.fleet.records import Device, Inventory
    from cocoi_cli.fleet.remote import Remote

Outcome = dict[str, CocoiError | None]
"""Device to what went wrong there; None where nothing did."""


async def rotate(
    inventory: Inventory,
    devices: Sequence[Device],
    access: Access,
    watch: Watch,
    go_on: Callable[[Outcome], bool],
) -> Outcome:
    """Give the host and every agent new certificates.

    Args:
        inventory: The fleet; its `security` is `tls`.
        devices: Those that have an agent.
        access: How to get into them.
        watch: Told what happens.
        go_on: Asked, with what went wrong, whether to go on without the devices that were not reached: they will
            not know the new host until the next deploy. If not, the present certificates stay valid.

    Returns:
        For each device how it ended. A device with an error may still admit the old certificates.

    Raises:
        BrokenKeysError, OpenKeysError, DataFolderError: This host's keys cannot be used.
    """
    keys.make_next(inventory, devices)
    outcome = await _renew(inventory, devices, access, watch, "new certificates")
    missed = {name: error for name, error in outcome.items() if error is not None}
    if missed and not go_on(outcome):
        return outcome
    keys.adopt_next(inventory)
    told = [device for device in devices if device.name not in missed]
    return missed | await _renew(inventory, told, access, watch, "refusing the old ones")


async def _renew(inventory: Inventory, devices: Sequence[Device], access: Access, watch: Watch, stage: str) -> Outcome:
    """Have agents use what the keys say now."""

    async def work(remote: Remote, device: Device) -> None:
        watch.stage(device.name, stage)
        facts = await read_facts(remote, device)
        addresses = await resolve(device)
        env = settings(device, facts, addresses[0] if addresses else device.address, inventory.security)
        installer = Installer(remote, device.install)
        remote.begin("rotate")
        version = (await installer.inspect()).current
        if version is None:
            raise NotInstalledError(device.name, "rotate", "no agent is installed on it")
        config = await installer.configure(keys.agent_files(inventory, device, env))
        await installer.switch(version, config)
        await serving(inventory, device)
        await installer.confirm(version)

    results = await each(devices, access, work)
    return {name: result if isinstance(result, CocoiError) else None for name, result in results.items()}
