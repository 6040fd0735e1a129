"""What answers have shown of agents beyond the profile: which of them are slow at everything. Pure.

A profile tells how devices compute when nothing is wrong. Here is what inferences find: for each share of a stage,
how long its agent computed, in units of the stage's median; for one that nobody waited for in the end, at least how
long. Short shares are judged several together. An agent whose latest shares were all slow (hot, busy, throttled) is
planned with as that slow. The session leaves such an agent out for moments (`pace`); but a plan that counts on it has
too large tiles for the others.

Source: docs/methods.md, "Planning anew".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SLOW: Final = 2.0  # medians; of a healthy agent single shares take so long, not most of them
NEWEST: Final = 6  # shares, or bundles of short ones, that tell how slow an agent is
# Usual computing: what else a device does for some ms makes shorter shares vary most, so they are judged together.
BUNDLE_S: Final = 0.020
SHORTEST_S: Final = 0.004  # of such shares even the sum tells of nothing but scheduling
FEWEST: Final = 3  # answers of a stage, before their median is called usual
LATE: Final = 1.5  # medians after which a share without an answer says something
MOST: Final = 50.0
APART: Final = 1.5  # times as slow, or as quick, as an agent was when a plan was made: then it is out of date


@dataclass(slots=True)
class _Stage:
    """Seconds of the answers of a stage that is being computed: on the agent, and in all."""

    agents: list[str] = field(default_factory=list)
    run_s: list[float] = field(default_factory=list)
    all_s: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Bundle:
    """Seconds of some shares of an agent: those they took, and those that are usual."""

    run_s: float = 0.0
    usual_s: float = 0.0


class Experience:
    """What the latest shares of each agent have shown."""

    def __init__(self) -> None:
        """Nothing yet."""
        self._stage = _Stage()
        self._ratios: dict[str, deque[float]] = {}
        self._bundles: dict[str, _Bundle] = {}  # by agent: its latest short shares

    def answered(self, agent: str, run_s: float, all_s: float) -> None:
        """An agent answered a share of the stage that is being computed.

        Args:
            agent: Who.
            run_s: Seconds that it computed, on its own clock.
            all_s: Seconds from sending the share to the answer.
        """
        self._stage.agents.append(agent)
        self._stage.run_s.append(run_s)
        self._stage.all_s.append(all_s)

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
        for agent, age_s in unanswered:
            if age_s >= LATE * usual_s:
                self._note(agent, usual_run_s * age_s / usual_s, usual_run_s)

    def forget(self, agent: str) -> None:
        """An agent begins anew."""
        self._ratios.pop(agent, None)
        self._bundles.pop(agent, None)

    def slow(self) -> dict[str, float]:
        """Agents that are slow at everything, and how many times slower than usual."""
        usual = {agent: median(ratios) for agent, ratios in self._ratios.items() if len(ratios) == NEWEST}
        return {agent: factor for agent, factor in usual.items() if factor >= SLOW}

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
