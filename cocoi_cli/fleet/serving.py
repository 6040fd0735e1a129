"""Whether a device of the fleet serves: `health.check` with what the fleet knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.fleet import health, keys
from cocoi_cli.fleet.errors import DeviceError
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.link_errors import LinkError

if TYPE_CHECKING:
    from cocoi_cli.fleet.health import Health
    from cocoi_cli.fleet.records import Device, Inventory

HEALTH_S: Final = 30.0
TRIES: Final = 3  # an agent that has just read new certificates closes what was connected a moment before


class NotInstalledError(DeviceError):
    """No agent is installed on the device."""

    code: ClassVar[str] = "not-installed"


async def serving(inventory: Inventory, device: Device, *, version: str | None = None) -> Health:
    """Ask a device's agent to compute something.

    Args:
        inventory: The fleet.
        device: One of its devices.
        version: What must answer; None for any.

    Raises:
        LinkError: It does not serve; see `health.check`.
        BrokenKeysError, OpenKeysError, DataFolderError: The fleet's keys cannot be used.
    """
    secure = inventory.security != "none"
    certificate = keys.agent_certificate(inventory, device) if secure else None
    if secure and certificate is None:
        raise NotInstalledError(device.name, "health", "it never got a certificate from this host")
    address = AgentAddress(device.name, device.address, device.port, certificate)
    identity = keys.host_identity(inventory) if secure else None
    for _ in range(TRIES - 1):
        try:
            return await health.check(address, identity, expect_version=version, timeout_s=HEALTH_S)
        except LinkError as error:
            if error.kind != "refused":
                raise
    return await health.check(address, identity, expect_version=version, timeout_s=HEALTH_S)
