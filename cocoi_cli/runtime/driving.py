"""What is computed right now, and the one who has it computed.

The coordinator is the one `Driver`. Whoever wants codewords computed, those of a stage or spare answers to them,
reserves numbers for them, makes an `ActiveStage` of them, and waits until it was driven to its end; one at a time.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from cocoi_cli.runtime.spares import Evidence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.runtime.events import Codeword
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.works import DistributedStage, Work


class Driver(Protocol):
    """Has codewords computed by agents and the host."""

    @property
    def helpers(self) -> tuple[str, ...]:
        """Who can be given work: living agents in fleet order, then the host while it is included."""
        ...

    def include_host(self, *, wanted: bool) -> None:
        """Give the host shares like any agent from now on, or no more."""

    def reserve(self, count: int) -> range:
        """Numbers for codewords, one after another, that no other has."""
        ...

    async def drive(self, stage: ActiveStage, words: Sequence[Codeword]) -> None:
        """Have these codewords of a stage computed; return when the last is decoded.

        Raises:
            NoAgentsError, CannotDecodeError, DeadlineError: Without fallback only.
            ProgramError: ONNX Runtime failed on the host.
        """

    def withdraw(self, request: int) -> None:
        """Want nothing more of what agents still compute for a request."""


def _unresolved() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


@dataclass(slots=True)
class ActiveStage:
    """The distributed stage that is being computed, or verified.

    Attributes:
        index: Of the stage in the network.
        number: Of the stage among the distributed stages; None where it is over and only verified.
        work: Its arrays.
        programs: Ids of the programs that compute its shares, by variant.
        first: Number of its first codeword; the others follow without gaps.
        evidence: Strip to the answers that were used; None where they need not be kept.
        done: Resolved when its last strip is decoded, or with what went wrong.
        decoded: Strips decoded so far.
        answered: Whether any answer has come.
    """

    index: int
    number: int | None
    work: Work
    programs: Sequence[str]
    first: int
    evidence: dict[int, Evidence] | None = None
    done: asyncio.Future[None] = field(default_factory=_unresolved)
    decoded: int = 0
    answered: bool = False

    def wants(self, work: Work, strip: int, share: int) -> bool:
        """Whether an answer to this share is still of use: it is of this stage, and neither here nor decoded."""
        return self.work is work and not work.has(strip, share)

    def accept(self, agent: str, strip: int, share: int, answer: AnyArray, scale: float) -> None:
        """Take an answer that is wanted; its value is `answer * scale`.

        A copy is kept, with who gave it, where it will have to stand against others.
        """
        if self.evidence is not None:
            kept = self.evidence.setdefault(strip, Evidence())
            kept.agents[share] = agent
            with np.errstate(over="ignore"):  # the sum itself is beyond float32 then
                kept.answers[share] = np.multiply(answer, np.float32(scale), dtype=np.float32)
        self.work.accept(strip, share, answer, scale)

    def strip_of(self, codeword: int) -> int:
        """The strip that a codeword of this stage stands for."""
        return codeword - self.first

    def finish(self) -> None:
        """End the stage, unless it has ended with an error."""
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, error: BaseException) -> None:
        """End the stage with an error, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, slots=True)
class KeptStage:
    """A stage that is over, with what it takes to verify it.

    Attributes:
        index: Of the stage in the network.
        work: Its arrays; the input is still there.
        programs: Ids of the programs that compute its shares, by variant.
        homes: Of its shares.
        evidence: Strip to the answers that it was decoded from.
    """

    index: int
    work: DistributedStage
    programs: Sequence[str]
    homes: tuple[str, ...]
    evidence: dict[int, Evidence]


@dataclass(frozen=True, slots=True)
class SentShare:
    """A share on its way: when it left, and the strip it belongs to."""

    at_s: float
    work: Work
    strip: int
