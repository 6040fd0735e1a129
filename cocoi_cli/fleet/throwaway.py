"""Running a script on a device that has no ONNX Runtime: in an environment that lives as long as the script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cocoi_cli.fleet import scripts
from cocoi_cli.fleet.kinds import target_of
from cocoi_cli.fleet.wheelhouse import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.remote import Remote
    from cocoi_cli.fleet.wheelhouse import Wheelhouse

ROOM: Final = 300 * 10**6
_BLOCK: Final = 1 << 18


async def wheelhouse(
    remote: Remote, facts: DeviceFacts, *, offline: bool = False, on_progress: Callable[[str], None] | None = None
) -> tuple[str, Wheelhouse]:
    """Interpreter of a device, and the wheels for it.

    Raises:
        DeviceError: If no agent could run on it; preflight says why.
        FailedError: If wheels are missing and cannot be fetched.
    """
    target = target_of(remote.device.name, facts)
    python = facts.python()
    assert python is not None  # noqa: S101 - else there were no target
    return python.path, await fetch(target, offline=offline, on_progress=on_progress)


async def run(
    remote: Remote,
    python: str,
    house: Wheelhouse,
    source: bytes,
    *,
    timeout_s: float,
    on_progress: Callable[[str], None] | None = None,
) -> scripts.Tree:
    """Run a packed script on the device with the wheels at hand; nothing stays there.

    Args:
        remote: The connection.
        python: Interpreter of the device to build on.
        house: Wheels for it.
        source: What `scripts.pack` made, and the script's payload.
        timeout_s: For everything, sending included.
        on_progress: Told what is being done.

    Raises:
        DeviceError: If it fails.
    """
    request = {
        "python": python,
        "wheels": [{"name": wheel.name, "size": wheel.size, "sha256": wheel.sha256} for wheel in house.wheels],
        "command": list(scripts.COMMAND),
        "room": ROOM,
    }
    files = [wheel.path for wheel in house.wheels]
    return await remote.script(
        "scratch", request, payload=_payload(files, source), timeout_s=timeout_s, on_progress=on_progress
    )


def _payload(files: list[Path], source: bytes) -> Iterator[bytes]:
    for path in files:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
    yield source
