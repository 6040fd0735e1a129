"""Who a device is: its machine-id and SSH host key together, never its name.

Eight fresh cards call themselves `raspberrypi`. A copied card has the machine-id and the
host key of the one it was copied from until the system makes itself new ones.
"""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet.names import is_ip, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.remote import Remote

# Plain sh: a bare device may lack everything else.
_ASK: Final = ("sh", "-c", "cat /etc/machine-id 2>/dev/null || echo; uname -n")
_MACHINE_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device says of itself.

    Attributes:
        hostname: What it calls itself.
        machine_id: `/etc/machine-id`; None where that is absent or not yet made.
        host_key: Fingerprint of the host key that it has shown.
        address: For its agent, as far as the SSH connection tells.
    """

    hostname: str
    machine_id: str | None
    host_key: str
    address: str


async def identify(remote: Remote, device: Device) -> Identity:
    """Ask a device who it is.

    Raises:
        DeviceError: If it cannot be asked.
    """
    remote.begin("identify")
    done = await remote.run(_ASK)
    first, _, rest = done.stdout.decode("utf-8", "replace").partition("\n")
    machine_id = first.strip()
    return Identity(
        hostname=rest.strip().partition("\n")[0] or parse_target(device.ssh).host,
        machine_id=machine_id if _MACHINE_ID.fullmatch(machine_id) else None,
        host_key=remote.host_key,
        address=await agent_address(device.ssh, remote.address),
    )


async def agent_address(ssh: str, reached: str) -> str:
    """Where an agent listens if the user does not say: the host as typed, if that leads to the device without ssh.

    Args:
        ssh: SSH target.
        reached: Address that the SSH connection went to.
    """
    host = parse_target(ssh).host
    if is_ip(host) or reached in await _resolved(host):
        return host
    return reached  # an alias: only ssh knows what it means


def copies(device: Device, others: Iterable[Device]) -> list[str]:
    """Sentences about what a device shares with others although it is another one."""
    found = []
    for other in others:
        if device.machine_id is not None and device.machine_id == other.machine_id:
            found.append(f"`{device.name}` has the machine-id of `{other.name}` but another host key")
        elif device.host_key is not None and device.host_key == other.host_key:
            found.append(f"`{device.name}` has the host key of `{other.name}` but another machine-id")
    return found


async def _resolved(host: str) -> set[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    except UnicodeError:  # a label that no name can have
        return set()
    return {str(entry[4][0]) for entry in found}
