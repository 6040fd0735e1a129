"""All devices at once: one that fails, or does not answer, never holds up the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.access import Access, Passwords, Secret
from cocoi_cli.fleet.remote import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.remote import Remote

__all__ = ["Access", "Passwords", "Secret", "each"]

T = TypeVar("T")

AT_ONCE: Final = 64  # far above any fleet; only keeps a mistyped list from exhausting file descriptors


async def each(
    devices: Iterable[Device],
    access: Access,
    work: Callable[[Remote, Device], Awaitable[T]],
    *,
    on_stage: Callable[[str, str], None] | None = None,
) -> dict[str, T | CocoiError]:
    """Connect to every device and do some work there, all in parallel.

    Args:
        devices: With distinct names.
        access: Shared by all, so that a password is asked for once.
        work: Gets the connection, which is closed when it returns. May call `remote.begin(stage)`.
        on_stage: Told the device's name and `connect`, then every stage that begins there, then `done` or `failed`.

    Returns:
        For each device's name, in the order given, what `work` returned or the expected error that ended it.

    Raises:
        Exception: Whatever else `work` raises: the other devices are then cancelled and their connections closed.
    """
    devices = list(devices)
    results: dict[str, T | CocoiError] = {}
    gate = asyncio.Semaphore(AT_ONCE)

    async def contact(device: Device) -> None:
        async with gate:
            try:
                results[device.name] = await _worked(device, access, work, on_stage)
            except CocoiError as error:
                results[device.name] = error
                _tell(on_stage, device, "failed")
            else:
                _tell(on_stage, device, "done")

    try:
        async with asyncio.TaskGroup() as group:
            for device in devices:
                group.create_task(contact(device))
    except BaseExceptionGroup as failures:
        # One bug is enough to report; its own traceback says more than the group's.
        raise failures.exceptions[0] from None
    return {device.name: results[device.name] for device in devices}


async def _worked(
    device: Device,
    access: Access,
    work: Callable[[Remote, Device], Awaitable[T]],
    on_stage: Callable[[str, str], None] | None,
) -> T:
    _tell(on_stage, device, "connect")
    remote = await connect(device, access)
    remote.on_stage = None if on_stage is None else lambda stage: on_stage(device.name, stage)
    try:
        return await work(remote, device)
    finally:
        await remote.aclose()


def _tell(on_stage: Callable[[str, str], None] | None, device: Device, stage: str) -> None:
    if on_stage is not None:
        on_stage(device.name, stage)
