"""The devices of a fleet, as records. `inventory` reads and writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from pathlib import Path

Install = Literal["system", "user"]
Security = Literal["tls", "none"]

DEFAULT_PORT: Final = 52600
"""Where agents listen; the agent's own default."""


@dataclass(frozen=True, slots=True)
class Device:
    """One device of the fleet file.

    Attributes:
        name: Unique in the fleet; the agent's id.
        ssh: What `ssh` would be given: `[user@]host[:port]`, or an alias of the user's ssh configuration.
        address: Where the agent listens and the host connects: an address of the device, or a name for one.
        port: TCP port of the agent.
        machine_id: `/etc/machine-id` of the device, as it was when added; None if never contacted.
        host_key: Fingerprint of its SSH host key, `SHA256:...`; None if never contacted.
        install: `system` (a hardened system service) or `user` (a user service, without root).
        drained: Not used for inference until further notice.
        line: Line of the fleet file where it begins; 0 for one that was never written.
    """

    name: str
    ssh: str
    address: str
    port: int = DEFAULT_PORT
    machine_id: str | None = None
    host_key: str | None = None
    install: Install = "system"
    drained: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Inventory:
    """A fleet file.

    Attributes:
        path: The file.
        id: Random word that names the folder of the fleet's keys and profile.
        security: `tls`, or `none` where the user asks for that by name.
        devices: In the order of the file.
    """

    path: Path
    id: str
    security: Security
    devices: tuple[Device, ...]

    def device(self, name: str) -> Device | None:
        """The device of this name, or None."""
        return next((device for device in self.devices if device.name == name), None)
