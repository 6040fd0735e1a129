"""What the session keeps for each codeword that is not decoded yet, and for each group of them."""

from __future__ import annotations

import math
from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cocoi_cli.runtime.events import Codeword


@dataclass(frozen=True, slots=True)
class Patience:
    """A share is overdue after `factor` times the median answering time of its stage, but not before `shortest_s`."""

    factor: float
    shortest_s: float

    def limit(self, typical_s: float) -> float:
        """Seconds after which a share is overdue."""
        return max(self.factor * typical_s, self.shortest_s)


# Measured on an emulated fleet: earlier duplicates spill into the next stage, later ones wait in vain. A scheduler's
# hiccup of a few milliseconds must not count as a straggler.
LATE = Patience(1.5, 0.010)
# When no agent can be expected to help any more, the host does; it is not to be bothered by a mere hiccup of all.
HOPELESS = Patience(8.0, 1.0)


@dataclass(slots=True)
class Group:
    """The codewords that finish together.

    Attributes:
        left: Codewords not yet decoded.
        barred: Agents that failed in it.
        begun: Agents that were given a share of it.
        patient: Whether what is late is waited for until it is hopeless.
        typical_s: Median answering time so far; infinite while there is none.
        late_s: Age at which a share in flight is late; infinite while there is nothing to compare with.
        hopeless_s: Age at which it is not waited for any more; infinite likewise.
    """

    left: int = 0
    barred: set[str] = field(default_factory=set)
    begun: set[str] = field(default_factory=set)
    patient: bool = False
    typical_s: float = math.inf
    late_s: float = math.inf
    hopeless_s: float = math.inf
    _times: list[float] = field(default_factory=list)  # answering times so far, ascending

    def answered_in(self, seconds: float) -> None:
        """Learn from one more answering time."""
        insort(self._times, seconds)
        half = len(self._times) // 2
        typical = self._times[half] if len(self._times) % 2 else (self._times[half - 1] + self._times[half]) / 2
        self.typical_s, self.hopeless_s = typical, HOPELESS.limit(typical)
        self.late_s = self.hopeless_s if self.patient else LATE.limit(typical)

    def answering_times(self, seconds: float) -> float:
        """How many median answering times that is: 0 while there is none.

        A coarse clock may see answers take no time; then what `LATE` waits at least counts as its factor of them.
        """
        return seconds / (self.typical_s or LATE.shortest_s / LATE.factor)


@dataclass(slots=True)
class Open:
    """A codeword that has not been decoded.

    Invariants: `arrived`, the keys of `flying` and `hosted` are disjoint from each
    other except that a share flying at a late holder may also fly elsewhere or be hosted.
    `flying` is in the order of sending.
    """

    word: Codeword
    group: Group
    arrived: list[int] = field(default_factory=list)
    flying: dict[tuple[str, int], float] = field(default_factory=dict)  # (agent, share) -> sent at
    refused: set[tuple[str, int]] = field(default_factory=set)
    hosted: set[int] = field(default_factory=set)
    provided_since: float = -math.inf  # see `is_provided`
    home_of: dict[str, int] = field(init=False)  # agent -> the first share that is at home there
    next_share: int = field(init=False)  # of a rateless code: the next that nobody was given

    def __post_init__(self) -> None:
        self.arrived.extend(self.word.given)
        self.next_share = self.word.code.pieces
        self.home_of = {agent: share for share, agent in reversed(tuple(enumerate(self.word.homes)))}

    def have(self) -> frozenset[int]:
        """Shares that arrived or that the host computes."""
        return frozenset(self.arrived) | self.hosted

    def expected(self, now: float) -> frozenset[int]:
        """Shares that arrived, that the host computes, or whose holder is not late yet."""
        late_s = self.group.late_s
        return self.have().union([share for (_, share), sent in self.flying.items() if now - sent < late_s])

    def is_provided(self, now: float) -> bool:
        """Whether what was found to suffice, sent at `provided_since` or later, is still expected in time.

        What has arrived since then only adds to it; whoever takes a share out of `flying` that has not arrived sets
        `provided_since` to minus infinity.
        """
        return now - self.provided_since < self.group.late_s

    def may_go(self, agent: str, share: int) -> bool:
        """Whether a share can be sent to an agent: it has not come, and was neither sent there nor refused."""
        key = (agent, share)
        return share not in self.arrived and key not in self.flying and key not in self.refused

    def newest_age(self, now: float) -> float | None:
        """Seconds since the last of the shares in flight was sent; None where nothing flies."""
        return now - next(reversed(self.flying.values())) if self.flying else None

    def next_overdue(self, now: float) -> float:
        """The next moment at which a share in flight becomes late or hopeless; infinite where none will."""
        late_s, hopeless_s = self.group.late_s, self.group.hopeless_s
        first = next(iter(self.flying.values()), math.inf) + late_s  # those behind it were sent later
        if first > now:  # as it mostly is; nothing becomes hopeless before it is late
            return first
        moments = (sent + limit for limit in (late_s, hopeless_s) for sent in self.flying.values())
        return min((moment for moment in moments if moment > now), default=math.inf)

    def distance(self, agent: str) -> int:
        """Steps from the strip at which this agent starts, cyclically."""
        word = self.word
        start = self.home_of.get(agent, 0) * word.strips // len(word.homes) if word.homes else 0
        return (word.order - start) % word.strips


@dataclass(frozen=True, slots=True)
class Need:
    """A codeword that lacks shares: `expected` are those that have come or will in time."""

    state: Open
    expected: frozenset[int]
    lacking: int
