"""What can go wrong with a device, as facts. Errors of one module's own work stand beside it."""

from __future__ import annotations

from typing import ClassVar

from cocoi_cli.errors import FleetError


class DeviceError(FleetError):
    """Something failed on one device (exit 4).

    Attributes:
        device: Its name in the fleet.
        stage: What was being done: `connect`, `preflight`, `stage`, `test`, ...
        cause: Why it failed, one sentence without the device's name.
    """

    code: ClassVar[str] = "device"

    def __init__(self, device: str, stage: str, cause: str, **details: object) -> None:
        super().__init__(f"`{device}`: {stage}: {cause}", device=device, stage=stage, cause=cause, **details)
        self.device = device
        self.stage = stage
        self.cause = cause


class UnreachableError(DeviceError):
    """No SSH connection could be made: no route, refused, no such name, or silence.

    `details["kind"]` is `refused`, `timeout`, `unreachable`, `unresolved` or `not-ssh`.
    """

    code: ClassVar[str] = "ssh-unreachable"


class AuthenticationError(DeviceError):
    """The device refused every key and password."""

    code: ClassVar[str] = "ssh-refused"


class UnknownHostKeyError(DeviceError):
    """First contact: nobody has said yet that this host key is the right one; `details["fingerprint"]`."""

    code: ClassVar[str] = "host-key-unknown"


class HostKeyChangedError(DeviceError):
    """The device shows another host key than before; `details` has `expected` and `found` fingerprints."""

    code: ClassVar[str] = "host-key-changed"


class WrongDeviceError(DeviceError):
    """Another device than the fleet file means answers at this address."""

    code: ClassVar[str] = "wrong-device"


class PasswordNeededError(DeviceError):
    """A password is needed and nobody can be asked; `details["what"]` is `ssh` or `sudo`."""

    code: ClassVar[str] = "password-needed"


class SudoError(DeviceError):
    """The user cannot become root there: wrong password, or not allowed to."""

    code: ClassVar[str] = "sudo-refused"


class DroppedError(DeviceError):
    """The connection broke while a command ran; whether it went on there is unknown."""

    code: ClassVar[str] = "ssh-dropped"


class CommandFailedError(DeviceError):
    """A command on the device ended badly; `details` has `command`, `status` and `stderr` (its tail)."""

    code: ClassVar[str] = "command-failed"


class CommandTimeoutError(DeviceError):
    """A command on the device took too long; `details` has `command` and `seconds`."""

    code: ClassVar[str] = "command-timeout"


class NoPythonError(DeviceError):
    """The device has no `python3`."""

    code: ClassVar[str] = "no-python"


class ScriptFailedError(DeviceError):
    """A script told of a failure; `details["failure"]` is its word, the rest are its details."""

    code: ClassVar[str] = "device-failed"
