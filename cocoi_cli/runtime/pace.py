"""How slow each agent is beside the others, learnt from its answers and slowly forgotten.

The unit of pace is the stage's median answering time: 1 is usual, 3 three times as
slow. It decides who is left out at the end of a stage, when the others would be done
before a slow agent has answered; it is never a reason to drop an agent for good, since
what is not used again is trusted again after a while.

Source: docs/methods.md, "Pulled strips".
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

SLOW: Final = 1.8
"""From here on an agent may be left out; queueing at the host's port makes some of a healthy fleet look 1.5."""

LEARN: Final = 0.3
FADE: Final = 0.9
MOST: Final = 50.0


class Pace:
    """The pace of every agent that has ever answered; 1 for the others."""

    def __init__(self) -> None:
        """Nobody is known to be slow."""
        self._pace: dict[str, float] = {}

    def of(self, agent: str) -> float:
        """How many median answering times the agent needs for a share."""
        return self._pace.get(agent, 1.0)

    def answered(self, agent: str, ratio: float) -> None:
        """Learn from one answer that took `ratio` median answering times."""
        old = self.of(agent)
        self._pace[agent] = old + LEARN * (min(ratio, MOST) - old)

    def overdue(self, agent: str, ratio: float) -> None:
        """Learn from a share that has been held for `ratio` median answering times already."""
        if ratio > self.of(agent):
            self._pace[agent] = min(ratio, MOST)

    def fade(self, agents: Iterable[str]) -> None:
        """Trust agents a little more that were not asked in a whole stage."""
        for agent in agents:
            if agent in self._pace:
                self._pace[agent] = 1.0 + FADE * (self._pace[agent] - 1.0)

    def forget(self, agent: str) -> None:
        """An agent begins anew: it may have been restarted, cooled or moved."""
        self._pace.pop(agent, None)

    def slow(self, agents: Iterable[str]) -> list[str]:
        """Those of some agents that may be left out, slowest first."""
        found = [agent for agent in agents if self.of(agent) >= SLOW]
        return sorted(found, key=self.of, reverse=True)

    def dispensable(self, candidates: Iterable[str], busy: Mapping[str, float], lacking: int) -> frozenset[str]:
        """Slow agents without which the others finish sooner than they would answer.

        Args:
            candidates: Agents that could be given a share now.
            busy: Every agent that may compute, with the median answering times until it is free: 0 for an idle
                one, infinite for one that nothing can be expected of.
            lacking: Shares that must still be given out.
        """
        out: set[str] = set()
        for agent in self.slow(candidates):
            others = {name: free for name, free in busy.items() if name != agent and name not in out}
            if self._finish(others, lacking) <= self.of(agent):
                out.add(agent)
        return frozenset(out)

    def _finish(self, busy: Mapping[str, float], lacking: int) -> float:
        """When these agents together have answered so many shares more; infinite without any."""
        heap = [(free + self.of(agent), self.of(agent)) for agent, free in busy.items() if free < float("inf")]
        if not heap:
            return float("inf")
        heapq.heapify(heap)
        moment = 0.0
        for _ in range(lacking):
            moment, each = heap[0]
            heapq.heapreplace(heap, (moment + each, each))
        return moment
