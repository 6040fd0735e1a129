"""What answers have shown of agents beyond the profile: which are slow at everything, and how far shares vary. Pure.

A profile tells how devices compute when nothing is wrong. Here is what inferences find: for each share of a stage,
how long its agent computed, in units of the stage's median; for one that nobody waited for in the end, at least how
long. Short shares are judged several together. An agent whose latest shares were all slow (hot, busy, throttled) is
planned with as that slow. The session leaves such an agent out for moments (`pace`); but a plan that counts on it has
too large tiles for the others.

Where shares of one size take now this, now that on all agents alike (a random delay of each task), a plan of few
large shares waits for the slowest of them, and one of more, smaller ones is quicker; a planner that is told how far
they vary finds it.

Source: docs/methods.md, "Planning anew".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

SLOW: Final = 2.0  # medians; of a healthy agent single shares take so long, not most of them
NEWEST: Final = 6  # shares, or bundles of short ones, that tell how slow an agent is
# Usual computing: what else a device does for some ms makes shorter shares vary most, so they are judged together.
BUNDLE_S: Final = 0.020
SHORTEST_S: Final = 0.004  # of such shares even the sum tells of nothing but scheduling
FEWEST: Final = 3  # answers of a stage, before their median is called usual
LATE: Final = 1.5  # medians after which a share without an answer says something
MOST: Final = 50.0
APART: Final = 1.5  # times as slow, or as quick, as an agent was when a plan was made: then it is out of date
# How far shares vary is seen by those that take at least `BUNDLE_S`, each for itself: the newest of each agent.
NEWEST_LONG: Final = 12
FEWEST_LONG: Final = 36  # of all agents, before they tell of it
PARTS: Final = 5  # of a spread, equally likely
WIDE: Final = 1.9  # of the slowest part, in units of the quickest: 1.3 to 1.5 on a busy fleet that is well
CALM: Final = 1.5  # below it a plan that was made for a wide spread is one too many


@dataclass(slots=True)
class _Stage:
    """Seconds of the answers of a stage that is being computed: on the agent, and in all."""

    agents: list[str] = field(default_factory=list)
    run_s: list[float] = field(default_factory=list)
    all_s: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def usual_of_size(self) -> dict[int, float]:
        """By size of answers the median of their seconds on the agent, where there are enough of them."""
        by_size: dict[int, list[float]] = {}
        for size, run_s in zip(self.sizes, self.run_s, strict=True):
            by_size.setdefault(size, []).append(run_s)
        return {size: median(found) for size, found in by_size.items() if len(found) >= FEWEST}


@dataclass(slots=True)
class _Bundle:
    """Seconds of some shares of an agent: those they took, and those that are usual."""

    run_s: float = 0.0
    usual_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What a plan is made by, beside the profile.

    Attributes:
        slow: Agents that are slow at everything, and how many times slower than usual.
        spread: Factors, each equally likely, by which shares of all agents take longer than the quickest, ascending;
            empty where too little was seen.
    """

    slow: Mapping[str, float] = field(default_factory=dict)
    spread: tuple[float, ...] = ()

    @property
    def varies(self) -> bool:
        """Whether shares vary more than a profile's own samples do."""
        return bool(self.spread) and self.spread[-1] >= WIDE

    @property
    def factors(self) -> tuple[float, ...]:
        """The spread to plan with."""
        return self.spread if self.varies else (1.0,)

    def is_out_of_date(self, now: Shown) -> bool:
        """Whether a plan made by this is none to keep."""
        if has_changed(self.slow, now.slow):
            return True
        if not (self.varies and now.spread):
            return now.varies
        before, after = self.spread[-1], now.spread[-1]
        return after < CALM or max(before, after) >= APART * min(before, after)


class Experience:
    """What the latest shares of each agent have shown."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._stage = _Stage()
        self._ratios: dict[str, deque[float]] = {}
        self._bundles: dict[str, _Bundle] = {}  # by agent: its latest short shares
        self._long: dict[str, deque[float]] = {}

    def answered(self, agent: str, run_s: float, all_s: float, size: int) -> None:
        """An agent answered a share of the stage that is being computed.

        Args:
            agent: Who.
            run_s: Seconds that it computed, on its own clock.
            all_s: Seconds from sending the share to the answer.
            size: Of the answer, in any unit: those of one size are alike.
        """
        self._stage.agents.append(agent)
        self._stage.run_s.append(run_s)
        self._stage.all_s.append(all_s)
        self._stage.sizes.append(size)

    def stage_over(self, unanswered: Sequence[tuple[str, float]]) -> None:
        """The stage is done; what comes of it from now on counts no more.

        Args:
            unanswered: Agents that still hold shares of it, and for how many seconds.
        """
        stage, self._stage = self._stage, _Stage()
        if len(stage.agents) < FEWEST:
            return
        usual_run_s, usual_s = median(stage.run_s), median(stage.all_s)
        if usual_run_s < SHORTEST_S:
            return
        for agent, run_s in zip(stage.agents, stage.run_s, strict=True):
            self._note(agent, run_s, usual_run_s)
        self._note_long(zip(stage.agents, stage.run_s, stage.sizes, strict=True), stage.usual_of_size())
        for agent, age_s in unanswered:
            if age_s >= LATE * usual_s:
                self._note(agent, usual_run_s * age_s / usual_s, usual_run_s)
                if usual_run_s >= BUNDLE_S:
                    self._add_long(agent, age_s / usual_s)

    def forget(self, agent: str) -> None:
        """An agent begins anew."""
        self._ratios.pop(agent, None)
        self._bundles.pop(agent, None)
        self._long.pop(agent, None)

    def shown(self) -> Shown:
        """What a plan is made by now."""
        return Shown(self.slow(), self.spread())

    def slow(self) -> dict[str, float]:
        """Agents that are slow at everything, and how many times slower than usual."""
        usual = {agent: median(ratios) for agent, ratios in self._ratios.items() if len(ratios) == NEWEST}
        return {agent: factor for agent, factor in usual.items() if factor >= SLOW}

    def spread(self) -> tuple[float, ...]:
        """Factors by which shares vary, each of the same probability, the smallest 1; empty where few were seen.

        Shares are compared with the median of their own agent, so that one that is always slower adds nothing.
        """
        found = [(median(ratios), ratio) for ratios in self._long.values() for ratio in ratios]
        if len(found) < FEWEST_LONG:
            return ()
        ratios = sorted(ratio / usual for usual, ratio in found)
        # The median of each part: a hiccup of twenty times in a hundred is the session's matter and moves no mean here.
        middles = [ratios[len(ratios) * (2 * part + 1) // (2 * PARTS)] for part in range(PARTS)]
        return tuple(middle / middles[0] for middle in middles)

    def _note_long(self, shares: Iterable[tuple[str, float, int]], usual_s: Mapping[int, float]) -> None:
        for agent, run_s, size in shares:
            if usual_s.get(size, 0.0) >= BUNDLE_S:
                self._add_long(agent, run_s / usual_s[size])

    def _add_long(self, agent: str, ratio: float) -> None:
        # Nothing computes in no time: a clock that stands still is no reason to divide by it.
        self._long.setdefault(agent, deque(maxlen=NEWEST_LONG)).append(min(max(ratio, 1 / MOST), MOST))

    def _note(self, agent: str, run_s: float, usual_s: float) -> None:
        bundle = self._bundles.setdefault(agent, _Bundle())
        bundle.run_s += run_s
        bundle.usual_s += usual_s
        if bundle.usual_s >= BUNDLE_S:
            del self._bundles[agent]
            ratio = bundle.run_s / bundle.usual_s
            self._ratios.setdefault(agent, deque(maxlen=NEWEST)).append(min(ratio, MOST))


def has_changed(before: Mapping[str, float], now: Mapping[str, float]) -> bool:
    """Whether some agent is so much slower or quicker than `before` that a plan made then is out of date."""
    for agent in {*before, *now}:
        old, new = before.get(agent, 1.0), now.get(agent, 1.0)
        if max(old, new) >= APART * min(old, new):
            return True
    return False
