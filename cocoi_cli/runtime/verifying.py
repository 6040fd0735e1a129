"""Whether agents tell the truth: answers beyond those needed are asked for, and must agree with the rest.

This happens after the last stage, so it adds nothing to the latency, though the answer is
held until it has passed. Every codeword of
every stage is completed to a few answers more than its code needs, from agents that have
not answered it, and its parity syndrome is taken (`codes.syndrome`): one spare tells that
something is wrong, two tell who.

Source: docs/methods.md, "Integrity".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.syndrome import check

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from cocoi_cli.codes.code import Array, Code, Decoded
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.works import Counts, Outgoing, Work


@dataclass(frozen=True, slots=True)
class SpareCode:
    """A code that is content only with `target` distinct answers, to whatever shares.

    Attributes:
        inner: The code of the stage.
        target: Answers that are waited for.
    """

    inner: Code
    target: int

    @property
    def name(self) -> str:
        """As the inner code's."""
        return self.inner.name

    @property
    def pieces(self) -> int:
        """As the inner code's."""
        return self.inner.pieces

    @property
    def shares(self) -> int | None:
        """As the inner code's."""
        return self.inner.shares

    @property
    def needed(self) -> int:
        """None at all: who cannot be asked is not missed."""
        return 0

    @property
    def movable(self) -> bool:
        """A share that another agent computes says nothing of the one at which it is at home."""
        return False

    @property
    def filters(self) -> int:
        """As the inner code's."""
        return self.inner.filters

    def encode(self, pieces: Array, share: int) -> Array:
        """As the inner code does."""
        return self.inner.encode(pieces, share)

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """As the inner code does."""
        return self.inner.encode_shares(pieces, shares, out)

    def encode_filters(self, weight: Array, share: int) -> Array:
        """As the inner code does."""
        return self.inner.encode_filters(weight, share)

    def piece_of(self, share: int) -> int | None:
        """As the inner code has it."""
        return self.inner.piece_of(share)

    def share_of(self, piece: int) -> int:
        """As the inner code has it."""
        return self.inner.share_of(piece)

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether one more answer is wanted, and this is one."""
        return share not in arrived and not self.ready(arrived)

    def deficit(self, arrived: Set[int]) -> int:
        """Answers short of the target."""
        return max(self.target - len(arrived), 0)

    def ready(self, arrived: Set[int]) -> bool:
        """Whether there are as many answers as are wanted."""
        return len(arrived) >= self.target

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """Shares that the host computes in place of agents that are gone."""
        shares = self.inner.shares or 0
        return tuple(share for share in range(shares) if share not in have)[: self.deficit(have)]

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """As the inner code does; nothing here is decoded twice."""
        return self.inner.decode(arrived, answers, out)


def spare_code(code: Code, given: Set[int], homes: Sequence[str], living: Set[str], spares: int) -> SpareCode:
    """How many answers to wait for: those needed and the spares, or what living agents can give if that is less."""
    possible = {share for share, agent in enumerate(homes) if agent in living and share < (code.shares or 0)}
    return SpareCode(code, min(max(code.needed, len(given)) + spares, len(possible | given)))


@dataclass(slots=True)
class Evidence:
    """The answers to one strip that were kept, by share: float32, as they were decoded from."""

    answers: dict[int, Array] = field(default_factory=dict)
    agents: dict[int, str] = field(default_factory=dict)


class Checking:
    """A stage that is over, as work again: its spare shares are sent, and its strips are checked instead of joined."""

    def __init__(self, work: Work, evidence: Mapping[int, Evidence]) -> None:
        """Check each strip once it has as many answers as its codeword asks for.

        Args:
            work: Of the stage; it has kept its input.
            evidence: Strip to the answers that it was decoded from; added to.
        """
        self._work, self._evidence = work, evidence
        self.code = work.code
        self._magnitude = work.magnitude
        self.inconsistent = 0
        self.suspects: Counter[str] = Counter()
        self._open = set(evidence)

    @property
    def name(self) -> str:
        """Of the stage."""
        return self._work.name

    @property
    def kind(self) -> str:
        """Of the stage."""
        return self._work.kind

    @property
    def scheme(self) -> str:
        """Of the stage."""
        return self._work.scheme

    @property
    def n(self) -> int:
        """Of the stage."""
        return self._work.n

    @property
    def k(self) -> int:
        """Of the stage."""
        return self._work.k

    @property
    def reason(self) -> str:
        """Of the stage."""
        return self._work.reason

    @property
    def counts(self) -> Counts:
        """Of the stage: answers that come for the check count as late there."""
        return self._work.counts

    @property
    def strips(self) -> int:
        """Of the stage."""
        return self._work.strips

    @property
    def rounding(self) -> str:
        """Of the stage."""
        return self._work.rounding

    @property
    def magnitude(self) -> float:
        """Of the stage."""
        return self._work.magnitude

    @property
    def is_finite(self) -> bool:
        """Else there would have been no shares."""
        return True

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
        answers = self._work.arranged(np.stack([kept.answers[share] for share in shares]))
        finding = check(self._work.code, shares, answers, self._work.rounding, magnitude=self._magnitude)
        if not finding.consistent:
            self.inconsistent += 1
            if finding.suspect_share is not None and finding.suspect_share in kept.agents:
                self.suspects[kept.agents[finding.suspect_share]] += 1
        return False

    def arranged(self, answers: Array) -> Array:
        """As in the stage."""
        return self._work.arranged(answers)

    def convolve(self, kernels: Kernels, strip: int, shares: Sequence[int]) -> list[AnyArray]:
        """As in the stage."""
        return self._work.convolve(kernels, strip, shares)

    def whole(self, kernels: Kernels) -> AnyArray:
        """As in the stage."""
        return self._work.whole(kernels)

    def hand_over(self) -> AnyArray:
        """There is no output: the stage gave its own."""
        return np.empty(0, np.float32)
