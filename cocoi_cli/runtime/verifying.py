"""Whether agents tell the truth: answers beyond those needed are asked for, and must agree with the rest.

This happens after the last stage, so it adds nothing to the latency, though the answer is
held until it has passed. Every codeword of
every stage is completed to a few answers more than its code needs, from agents that have
not answered it, and its parity syndrome is taken (`codes.syndrome`): one spare tells that
something is wrong, two tell who. Of copies each needs others of its own piece.

Source: docs/methods.md, "Integrity".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.syndrome import check
from cocoi_cli.runtime.host_share import HOST
from cocoi_cli.runtime.works import Counts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence, Set

    from cocoi_cli.codes.code import Array, Code
    from cocoi_cli.codes.syndrome import Finding
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.works import DistributedStage, Outgoing


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


class Checking:
    """A stage that is over, as work again: its spare shares are sent, and its strips are checked instead of joined."""

    def __init__(self, work: DistributedStage, evidence: Mapping[int, Evidence]) -> None:
        """Check each strip once it has as many answers as its codeword asks for.

        Args:
            work: Of the stage; it has kept its input.
            evidence: Strip to the answers that it was decoded from; added to.
        """
        self._work, self._evidence = work, evidence
        self.name, self.strips, self.code = work.name, work.strips, work.code
        self._magnitude = work.magnitude  # a pass over the whole input
        self.counts = Counts()  # of its own: the table of stages is about the answer
        self.checked = self.inconsistent = 0
        self.suspects: Counter[str] = Counter()
        self._open = set(evidence)

    def share(self, strip: int, share: int) -> Outgoing:
        """Encode a spare share."""
        return self._work.share(strip, share)

    def fits(self, strip: int, share: int, answer: AnyArray) -> bool:
        """As in the stage."""
        return self._work.fits(strip, share, answer)

    def accept(self, strip: int, share: int, answer: AnyArray, scale: float) -> None:
        """A spare answer is kept with the others, and with who gave it, by `Inference.remember`."""

    def has(self, strip: int, share: int) -> bool:
        """Whether the strip is checked, or an answer is kept already."""
        return strip not in self._open or share in self._evidence[strip].answers

    def decode(self, strip: int, shares: Sequence[int], kernels: Kernels) -> bool:
        """Check a strip: its answers must agree."""
        self._open.discard(strip)
        kept = self._evidence[strip]
        finding = self._look(kept, shares)
        self.checked += _is_confirmed(self.code, kept, shares, finding)
        if not finding.consistent:
            self.inconsistent += 1
            suspect = self._suspect(kept, shares, finding)
            if suspect is not None:
                self.suspects[suspect] += 1
        return False

    def _look(self, kept: Evidence, shares: Sequence[int]) -> Finding:
        work = self._work
        answers = work.arranged(np.stack([kept.answers[share] for share in shares]))
        return check(work.code, shares, answers, work.rounding, magnitude=self._magnitude)

    def _suspect(self, kept: Evidence, shares: Sequence[int], finding: Finding) -> str | None:
        """The agent that stands against the others; what is found takes each answer for that of another agent."""
        first: dict[str, int] = {}
        for share in shares:
            first.setdefault(kept.agents[share], share)
        if len(first) < len(shares):
            finding = self._look(kept, tuple(first.values()))
        if finding.suspect_share is None:
            return None
        agent = kept.agents[finding.suspect_share]
        return None if agent == HOST else agent  # then there are several liars

    def convolve(self, kernels: Kernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """As in the stage."""
        return self._work.convolve(kernels, strip, shares)


def _is_confirmed(code: Code, kept: Evidence, shares: Sequence[int], finding: Finding) -> bool:
    """Whether every answer to a strip had another to stand against."""
    if not isinstance(code, CopyCode):
        return finding.spares > 0
    givers: dict[int, set[str]] = {}
    for share in shares:
        givers.setdefault(code.piece_of(share), set()).add(kept.agents[share])
    return all(len(agents) > 1 for agents in givers.values())
