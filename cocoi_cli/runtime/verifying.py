"""Whether agents tell the truth: answers beyond those needed are asked for, and must agree with the rest.

This happens after the last stage, so it adds nothing to the latency, though the answer is held until it has passed.
Every codeword of every stage is completed to a few answers more than its code needs (`spares`), and its parity
syndrome is taken (`codes.syndrome`): one spare tells that something is wrong, two tell who.

Source: docs/methods.md, "Integrity".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.syndrome import check
from cocoi_cli.runtime.driving import ActiveStage
from cocoi_cli.runtime.events import Codeword
from cocoi_cli.runtime.host_share import HOST
from cocoi_cli.runtime.report import Verification, cut_word
from cocoi_cli.runtime.spares import spare_code, witnesses
from cocoi_cli.runtime.works import Counts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.codes.code import Code
    from cocoi_cli.codes.syndrome import Finding
    from cocoi_cli.runtime.driving import Driver, KeptStage
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.inference import Inference
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.spares import Evidence
    from cocoi_cli.runtime.works import DistributedStage, Outgoing


async def verify(inference: Inference, driver: Driver, clock: Callable[[], float]) -> Verification:
    """Have spare shares of every stage computed, and see whether they agree with the answers that were used.

    It has as much time as the inference had; what is not confirmed by then stays unchecked.

    Args:
        inference: At its end; the stages it kept are verified.
        driver: Has spare shares computed.
        clock: Monotonic seconds, by which the inference has its deadline.
    """
    start, limit = clock(), inference.job.deadline_s
    inference.ends_at = start + limit
    checks = [(kept, Checking(kept.work, kept.evidence)) for kept in inference.kept]
    if not inference.overdue:
        try:
            async with asyncio.timeout(limit):
                for kept, checking in checks:
                    await _confirm(inference, kept, checking, driver)
        except TimeoutError:
            driver.withdraw(inference.request)
    return _verdict([checking for _, checking in checks], clock() - start)


async def _confirm(inference: Inference, kept: KeptStage, checking: Checking, driver: Driver) -> None:
    """Have the strips of a stage that is over confirmed, those that agents had a part in."""
    code, numbers = kept.work.code, driver.reserve(checking.strips)
    living = tuple(agent for agent in driver.helpers if agent != HOST or HOST in kept.homes)
    words = []
    for strip, evidence in sorted(kept.evidence.items()):
        given, givers = tuple(evidence.answers), witnesses(code, evidence, kept.homes, living)
        words.append(
            Codeword(
                id=numbers[strip],
                group=numbers[0],
                order=strip,
                strips=checking.strips,
                code=spare_code(code, given, givers, inference.job.verify),
                homes=givers,
                requests=frozenset({inference.request}),
                given=given,
            )
        )
    if words:
        await driver.drive(ActiveStage(kept.index, None, checking, kept.programs, numbers[0], kept.evidence), words)


def _verdict(checks: Sequence[Checking], seconds: float) -> Verification:
    checked = sum(checking.checked for checking in checks)
    return Verification(
        codewords=checked,
        unchecked=sum(checking.strips for checking in checks) - checked,
        inconsistent=sum(checking.inconsistent for checking in checks),
        suspects=dict(sum((checking.suspects for checking in checks), Counter[str]())),
        seconds=seconds,
        cuts=tuple(sorted({checking.cut for checking in checks})) or ("strip",),
    )


class Checking:
    """A stage that is over, as work again: its spare shares are sent, and its strips are checked instead of joined."""

    def __init__(self, work: DistributedStage, evidence: Mapping[int, Evidence]) -> None:
        """Check each strip once it has as many answers as its codeword asks for.

        Args:
            work: Of the stage; it has kept its input.
            evidence: Strip to the answers that it was decoded from; added to.
        """
        self._work, self._evidence = work, evidence
        self.name, self.strips = work.name, work.strips
        self.cut = cut_word(work.kind, work.scheme)
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
        """A spare answer is kept with the others, and with who gave it, by `ActiveStage.accept`."""

    def has(self, strip: int, share: int) -> bool:
        """Whether the strip is checked, or an answer is kept already."""
        return strip not in self._open or share in self._evidence[strip].answers

    def decode(self, strip: int, shares: Sequence[int], kernels: Kernels) -> bool:
        """Check a strip: its answers must agree."""
        self._open.discard(strip)
        kept = self._evidence[strip]
        finding = self._look(kept, shares)
        self.checked += _is_confirmed(self._work.code, kept, shares, finding)
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
