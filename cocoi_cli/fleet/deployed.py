"""What a deploy is asked for, what comes of it, and what can stop it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

from cocoi_cli.fleet.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.errors import CocoiError
    from cocoi_cli.fleet.findings import Finding
    from cocoi_cli.fleet.health import Health
    from cocoi_cli.fleet.records import Install


_OWN: Final = {"device", "stage", "cause", "version", "reason", "message", "self"}
"""Details that the error of a rollback has itself, or that no error may have."""


class Watch(Protocol):
    """Who is told what happens on which device."""

    def stage(self, device: str, stage: str, note: str = "") -> None:
        """A device is at a stage of its way; `note` says what is done just now."""


class PreflightError(DeviceError):
    """The device cannot run an agent as it is; `details["findings"]` lists everything that is wrong."""

    code: ClassVar[str] = "preflight"

    def __init__(self, device: str, findings: Sequence[Finding]) -> None:
        listed = [{"code": each.code, "message": each.message, "details": dict(each.details)} for each in findings]
        super().__init__(device, "preflight", "; ".join(each.message for each in findings), findings=listed)
        self.findings = tuple(findings)


class OtherInstallError(DeviceError):
    """The other kind of install is on the device already."""

    code: ClassVar[str] = "other-install"


class RolledBackError(DeviceError):
    """The new version did not serve, and the device is as it was before; `version` runs there, or nothing."""

    code: ClassVar[str] = "rolled-back"

    def __init__(self, device: str, cause: CocoiError, version: str | None) -> None:
        stage = cause.stage if isinstance(cause, DeviceError) else "health"
        why = cause.cause if isinstance(cause, DeviceError) else cause.message
        now = f"it runs version `{version}` again" if version else "nothing was left on it"
        super().__init__(device, stage, f"{why}; {now}", version=version, reason=cause.code, **_more(cause))


class NotServingError(DeviceError):
    """The agent that was there already does not serve, and nothing new was put there."""

    code: ClassVar[str] = "not-serving"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How to deploy.

    Attributes:
        install: `system` or `user`; None for what the fleet file says.
        online: Whether devices fetch what they need themselves.
        offline: Whether this machine must do with the wheels that it has.
        runtime: Another version of ONNX Runtime than the locked one.
        dry_run: Only say what would be done.
    """

    install: Install | None = None
    online: bool = False
    offline: bool = False
    runtime: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Deployed:
    """How it went on one device.

    Attributes:
        install: Whose install it is.
        version: The version that runs now, or would.
        previous: The one before, to roll back to; None if there is none.
        steps: What was done, or would be; empty if everything was as it should be.
        notes: What preflight found worth saying.
        seconds: From connecting to the end.
        health: What the agent told; None in a dry run.
    """

    install: Install
    version: str
    previous: str | None
    steps: tuple[str, ...]
    notes: tuple[Finding, ...]
    seconds: float
    health: Health | None

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return bool(self.steps)


def _more(cause: CocoiError) -> dict[str, object]:
    """What the cause knows beyond its sentence: output, status, signal."""
    return {key: value for key, value in cause.details.items() if key not in _OWN}
