"""Spare answers: who is asked for one, and how many are waited for.

A spare answer comes from an agent that has said nothing about the strip, or it would confirm itself; of copies each
needs others of its own piece.

Source: docs/methods.md, "Integrity".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from cocoi_cli.codes.copies import CopyCode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence, Set

    from cocoi_cli.codes.code import Array, Code


@dataclass(frozen=True, slots=True)
class SpareCode:
    """What the session is told instead of the code: that it is content only with `target` distinct answers.

    Attributes:
        pieces: As the code's.
        shares: How many there are; of a rateless code those that have a giver.
        asked: Shares that may be asked for.
        target: Answers that are waited for, those included that are there from the start.
        needed: None at all: who cannot be asked is not missed.
        movable: A share that another agent computes says nothing of the one at which it is at home.
    """

    pieces: int
    shares: int
    asked: frozenset[int]
    target: int

    needed: ClassVar[int] = 0
    movable: ClassVar[bool] = False

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether one more answer is wanted, and this is one."""
        return share in self.asked and share not in arrived and not self.ready(arrived)

    def deficit(self, arrived: Set[int]) -> int:
        """Answers short of the target."""
        return max(self.target - len(arrived), 0)

    def ready(self, arrived: Set[int]) -> bool:
        """Whether there are as many answers as are wanted."""
        return len(arrived) >= self.target

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """Shares that the host computes in place of agents that are gone."""
        return tuple(sorted(self.asked - have))[: self.deficit(have)]


@dataclass(slots=True)
class Evidence:
    """The answers to one strip that were kept, by share: float32, as they were decoded from."""

    answers: dict[int, Array] = field(default_factory=dict)
    agents: dict[int, str] = field(default_factory=dict)


def witnesses(code: Code, kept: Evidence, homes: Sequence[str], living: Sequence[str]) -> tuple[str, ...]:
    """Who is to give each share that a strip may have beside those that it was decoded from.

    Only agents that have said nothing about the strip: two answers of one agent do not confirm each other. Each keeps
    its own share; one that has none, or whose share another has given, takes what is nobody's, if shares can move. Of a
    rateless code each agent gives one more, and who has given least comes first.

    Args:
        code: Of the stage.
        kept: The answers that are there.
        homes: Agents of the stage; share `i` is at home at `homes[i]`.
        living: Agents that can be given work, in order.

    Returns:
        One agent per share; empty for nobody.
    """
    if code.shares is None:
        times = Counter(kept.agents.values())
        fresh = max((code.pieces, *(share + 1 for share in kept.answers)))
        return ("",) * fresh + tuple(sorted(living, key=lambda agent: times[agent]))
    said = set(kept.agents.values())
    free = [agent for agent in dict.fromkeys((*homes, *living)) if agent in living and agent not in said]
    open_shares = [share for share in range(code.shares) if share not in kept.answers]
    givers = {share: homes[share] for share in open_shares if share < len(homes) and homes[share] in free}
    idle = [agent for agent in free if agent not in givers.values()] if code.movable else []
    for share in open_shares:
        if share not in givers and idle:
            givers[share] = idle.pop(0)
    return tuple(givers.get(share, "") for share in range(code.shares))


def spare_code(code: Code, given: Collection[int], givers: Sequence[str], spares: int) -> SpareCode:
    """How many answers to wait for: those that are there and the spares, or what agents can give if that is less.

    Args:
        code: Of the stage.
        given: Shares that are answered.
        givers: From `witnesses`.
        spares: Answers to ask for beyond; of copies so many of each piece.
    """
    possible = [share for share, agent in enumerate(givers) if agent]
    if isinstance(code, CopyCode):
        copies: dict[int, list[int]] = {}
        for share in possible:
            copies.setdefault(code.piece_of(share), []).append(share)
        possible = [share for shares in copies.values() for share in shares[:spares]]
        spares = len(possible)
    elif code.shares is None:
        possible = possible[:spares]
    return SpareCode(code.pieces, len(givers), frozenset(possible), len(given) + min(spares, len(possible)))
