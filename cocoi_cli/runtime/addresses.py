"""Where agents are, and which members of a fleet are not to be asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

DOWN: Final = "down"
DRAINED: Final = "drained"


@dataclass(frozen=True, slots=True)
class AgentAddress:
    """Where an agent listens and which certificate it must show.

    Attributes:
        id: Name in the fleet.
        host: Address, or a name for one.
        port: TCP port.
        certificate: PEM file of the one certificate it may show; None for no encryption at all.
    """

    id: str
    host: str
    port: int
    certificate: Path | None


@dataclass(frozen=True, slots=True)
class Absentee:
    """A member of the fleet that takes no part.

    Attributes:
        id: Name in the fleet.
        state: `down`, or `drained` where that is its owner's will.
        reason: Why, as it stands after a colon.
    """

    id: str
    state: str
    reason: str


Member = AgentAddress | Absentee
"""A device of a fleet: one to connect to, or one that is known to take no part."""
