"""Asking devices for their facts, and connecting to their agents' ports."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING, Final, Literal

from cocoi_cli.fleet.facts_tree import HELPERS, clock, condition, device_facts
from cocoi_cli.fleet.findings import Reach
from cocoi_cli.fleet.names import is_ip

if TYPE_CHECKING:
    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.remote import Remote
    from cocoi_cli.planning.profile import Condition

FACTS_S: Final = 60.0  # an emulated device needs most of a second for each tool that is asked
CONNECT_S: Final = 3.0
RESOLVE_S: Final = 5.0


async def read_facts(remote: Remote, device: Device) -> DeviceFacts:
    """Everything that a device tells about itself; changes nothing there.

    Raises:
        DeviceError: If the device is lost or has no usable Python.
    """
    asked = time.time()
    tree = await remote.script("facts", {"port": device.port}, *HELPERS, timeout_s=FACTS_S)
    return device_facts(tree, asked=asked, answered=time.time())


async def read_condition(remote: Remote, when: Literal["before", "during", "after"]) -> Condition:
    """Only how the device is doing now.

    Raises:
        DeviceError: If the device is lost.
    """
    tree = await remote.script("facts", {"only": "condition"}, *HELPERS, timeout_s=FACTS_S)
    found = tree.get("condition")
    return condition(found if isinstance(found, dict) else {}, when)


async def read_clock(remote: Remote) -> tuple[float, float]:
    """The device's clock minus this machine's, and how far off that may be, in seconds.

    Raises:
        DeviceError: If the device is lost.
    """
    asked = time.time()
    tree = await remote.script("facts", {"only": "condition"}, *HELPERS, timeout_s=FACTS_S)
    return clock(tree, asked=asked, answered=time.time())


async def resolve(device: Device) -> tuple[str, ...]:
    """The IP addresses that the device's address stands for on this machine; none if it stands for nothing."""
    try:
        if is_ip(device.address):  # at once: the loop's few threads may all be waiting for names
            kind, flag = socket.SOCK_STREAM, socket.AI_NUMERICHOST
            found = socket.getaddrinfo(device.address, device.port, type=kind, flags=flag)
        else:
            async with asyncio.timeout(RESOLVE_S):
                loop = asyncio.get_running_loop()
                found = await loop.getaddrinfo(device.address, device.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # a timeout is an OSError too
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


async def reach(device: Device) -> Reach:
    """Connect to the agent's port and hang up."""
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(device.address, device.port)
    except ConnectionRefusedError:
        return Reach(connected=False, kind="refused")
    except TimeoutError:
        return Reach(connected=False, kind="timeout")
    except socket.gaierror:
        return Reach(connected=False, kind="unresolved")
    except OSError:
        return Reach(connected=False, kind="unreachable")
    writer.close()
    return Reach(connected=True)
