"""What can go wrong on the way to an agent, and how it is said."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.errors import FleetError
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from cocoi_agent.transport import ConnectError
    from cocoi_agent.wire.messages import Fault

STRANGER = "it shows another certificate than the fleet's"
HUNG_UP = "it hung up at the greeting"


class LinkError(FleetError):
    """An agent cannot be reached, refused us, or broke off.

    Attributes:
        agent: Its name in the fleet.
        cause: Why, as it stands after a colon.
        kind: `down`; `refused` where one side does not trust the other, or the agent says no; `version`.
    """

    code: ClassVar[str] = "agent-unreachable"

    def __init__(self, agent: str, where: str, cause: str, *, kind: str = "down") -> None:
        cause = one_line(cause)  # it may be the agent's own words
        message = f"cannot use agent `{agent}` at {where}: {cause}"
        super().__init__(message, agent=agent, address=where, cause=cause, kind=kind)
        self.agent = agent
        self.cause = cause
        self.kind = kind


class VersionError(LinkError):
    """The agent talks no protocol version that this host talks."""

    code: ClassVar[str] = "version"

    def __init__(self, agent: str, where: str, cause: str) -> None:
        super().__init__(agent, where, cause, kind="version")


class AgentFaultError(LinkError):
    """The agent answered a request with an error code of its own."""

    code: ClassVar[str] = "agent-fault"

    def __init__(self, agent: str, where: str, fault: Fault) -> None:
        super().__init__(agent, where, f"{fault.message or fault.code} (`{fault.code}`)", kind="refused")
        self.details["fault"] = fault.code
        self.fault = fault.code


def spoken(cause: Exception | None) -> str:
    """Why a connection ended, as it stands inside a sentence."""
    if cause is None:
        return "the connection was closed"
    return _lower((cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__)


def unconnected(error: ConnectError) -> str:
    """Why no connection was made; asyncio hides the system's words behind its own."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return STRANGER
    if error.kind in {"refused", "unreachable"} and isinstance(cause, OSError) and cause.errno is not None:
        return _lower(os.strerror(cause.errno))
    return _lower(error.reason)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
