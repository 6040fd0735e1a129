"""The vocabulary of the session: events are past facts, instructions are imperatives.

A *codeword* is one strip index of one conv stage: its k pieces and the shares made
of them. A *group* is the set of codewords that finish together (one conv stage of
one inference). A *request* is what a caller waits for and may cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Counting


@dataclass(frozen=True, slots=True)
class Codeword:
    """One unit of decoding.

    Attributes:
        id: Unique in the session.
        group: The stage it belongs to; its end is reported once per group.
        order: Index of the strip, in `range(strips)`.
        strips: Number of strips of the stage; decides where each agent starts.
        code: Which shares there are, and when they suffice.
        homes: Agent ids; share `i` is at home at `homes[i]`. Fewer homes than shares are allowed.
        requests: Who waits for it; it is given up when the last of them is cancelled.
        fallback: Whether shares may be resent when fewer than k agents are left, and the host may compute.
        eager: Whether every share is sent to its home at once, needed or not.
        patient: Whether a late holder is waited for until it is lost or hopelessly late.
        given: Shares whose answers are there from the start.
    """

    id: int
    group: int
    order: int
    strips: int
    code: Counting
    homes: tuple[str, ...]
    requests: frozenset[int]
    fallback: bool = True
    eager: bool = False
    patient: bool = False
    given: tuple[int, ...] = ()


# --- events -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StageStarted:
    """The inputs of these codewords exist; their shares may be sent."""

    codewords: tuple[Codeword, ...]


@dataclass(frozen=True, slots=True)
class StripArrived:
    """An agent's answer to a share is here, whole and well-formed."""

    agent: str
    codeword: int
    share: int


@dataclass(frozen=True, slots=True)
class StripFailed:
    """An agent will not answer this share: it refused, failed, or dropped it as told."""

    agent: str
    codeword: int
    share: int
    code: str


@dataclass(frozen=True, slots=True)
class AgentLost:
    """The connection to an agent is gone, and every share it held with it."""

    agent: str


@dataclass(frozen=True, slots=True)
class AgentJoined:
    """An agent is there that was not, or was lost before, be it unnoticed; it holds nothing and can take shares."""

    agent: str


@dataclass(frozen=True, slots=True)
class AgentOccupied:
    """The agent does something else, and can take no share until `AgentReady`."""

    agent: str


@dataclass(frozen=True, slots=True)
class AgentReady:
    """The agent is free of what it was occupied with; it may not have been."""

    agent: str


@dataclass(frozen=True, slots=True)
class HostComputed:
    """The host has computed these shares itself."""

    codeword: int
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """A request may wait for agents no longer."""

    request: int


@dataclass(frozen=True, slots=True)
class RequestCancelled:
    """Nobody waits for this request any more."""

    request: int


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The moment named by the last `WakeAt` has come."""


Event = (
    StageStarted
    | StripArrived
    | StripFailed
    | AgentLost
    | AgentJoined
    | AgentOccupied
    | AgentReady
    | HostComputed
    | DeadlinePassed
    | RequestCancelled
    | TimePassed
)

# --- instructions -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendShare:
    """Encode this share and send it to this agent."""

    agent: str
    codeword: int
    share: int


@dataclass(frozen=True, slots=True)
class CancelWork:
    """Tell the agent to drop this share unless it has begun it."""

    agent: str
    codeword: int
    share: int


@dataclass(frozen=True, slots=True)
class DecodeStrip:
    """These shares suffice: decode the codeword from exactly them."""

    codeword: int
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ComputeLocally:
    """Agents cannot finish this codeword: compute these shares on the host."""

    codeword: int
    shares: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send `TimePassed` at this moment unless something else happens before; replaces any earlier one."""

    moment_s: float


@dataclass(frozen=True, slots=True)
class StageDone:
    """Every codeword of the group has been decoded."""

    group: int


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """The request cannot be served, and the host may not step in.

    `answering` agents are left, `needed` is what the code asks for; `overdue` tells a
    passed deadline from lost agents.
    """

    request: int
    answering: int
    needed: int
    overdue: bool


Instruction = SendShare | CancelWork | DecodeStrip | ComputeLocally | WakeAt | StageDone | RequestFailed
