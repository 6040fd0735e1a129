"""What is kept of the stage that is running, and counted of every agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cocoi_cli.simulation.costs import Encoding
from cocoi_cli.simulation.results import AgentResult

if TYPE_CHECKING:
    from cocoi_cli.simulation.shapes import SharedShape, Sizes


@dataclass(slots=True)
class OpenWord:
    """A codeword that is not decoded.

    Attributes:
        sizes: Of its shares.
        encoding: What has been done for them.
        arrived: Shares whose answers are here.
    """

    sizes: Sizes
    encoding: Encoding = field(default_factory=Encoding)
    arrived: set[int] = field(default_factory=set)


@dataclass(slots=True)
class RunningStage:
    """A shared stage.

    Attributes:
        shape: What it is.
        first: Number of its first codeword; the others follow without gaps.
        started_at: When.
        open: Its codewords that are still wanted, by number.
    """

    shape: SharedShape
    first: int
    started_at: float
    open: dict[int, OpenWord] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """One agent's part; the fields are those of `AgentResult`."""

    used: int = 0
    late: int = 0
    used_s: float = 0.0
    wasted_s: float = 0.0
    bytes_out: int = 0
    bytes_in: int = 0

    def count(self, word: OpenWord | None, share: int, seconds: float) -> bool:
        """Count an answer that took so many seconds to compute; returns whether it was wanted."""
        if word is None or share in word.arrived:
            self.late += 1
            self.wasted_s += seconds
            return False
        word.arrived.add(share)
        self.used += 1
        self.used_s += seconds
        return True

    def result(self, name: str, dropped: int) -> AgentResult:
        """As it is handed out."""
        return AgentResult(
            name, self.used, self.late, dropped, self.used_s, self.wasted_s, self.bytes_out, self.bytes_in
        )
