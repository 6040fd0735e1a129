"""Which wheels a device needs, from what it told about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from cocoi_cli.fleet.errors import DeviceError
from cocoi_cli.fleet.findings import SUPPORTED
from cocoi_cli.fleet.targets import Target

if TYPE_CHECKING:
    from cocoi_cli.fleet.facts import DeviceFacts
    from cocoi_cli.fleet.targets import Arch

_STAGE: Final = "preflight"


def target_of(device: str, facts: DeviceFacts) -> Target:
    """What wheels for this device must fit.

    Raises:
        DeviceError: If there can be none; preflight says all that is wrong.
    """
    python, libc = facts.python(), facts.libc
    if python is None or libc is None or facts.architecture not in SUPPORTED:
        found = ", ".join(each.text for each in facts.interpreters) or "none"
        raise DeviceError(device, _STAGE, f"no wheels fit it: {facts.architecture}, Python {found}")
    return Target((python.version[0], python.version[1]), cast("Arch", facts.architecture), libc)
