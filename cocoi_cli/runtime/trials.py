"""Which of a few plans is quickest, by what their inferences took. Pure.

A planner foresees; a device is hotter, a layer slower, an input other than what was measured. So its plan is tried
first, and what came is compared with what else there is: a plan made with the error corrected, and this machine
alone. Each has a few inferences, and the quickest is followed from then on. Trying this machine alone is never slower
than it, and is not done where the plan has won by far. What lost is tried again, ever more seldom: it may have had a
bad moment.

Source: docs/methods.md, "Trying plans".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cocoi_cli.planning.plan import Plan

TRIED: Final = 3  # inferences of a plan, until their median is believed; of the first, caches are cold
LATEST: Final = 5  # inferences that the median is of
FAR_OFF: Final = 1.25  # what was foreseen, or its inverse: then the planner is asked again with the error corrected
GAINS_LITTLE: Final = 0.75  # of this machine alone: then that is tried too
CLEARLY: Final = 0.95  # of what the plan that is followed takes: then another is followed instead
HOPELESS: Final = 1.25  # of the quickest: such a plan is not tried again
RETRY: Final = 32  # inferences until the next best is tried again; each time twice as many
MOST_RETRY: Final = 1024
ALONE: Final = "tried, and quicker"


@dataclass(slots=True)
class _Candidate:
    """A plan, and seconds of its latest inferences."""

    plan: Plan
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATEST))

    @property
    def is_tried(self) -> bool:
        return len(self.seconds) >= TRIED

    @property
    def usual_s(self) -> float:
        return median(self.seconds)


class Trials:
    """Chooses between the plans for one model and fleet."""

    def __init__(self, plan: Plan) -> None:
        """Begin with the planner's."""
        self._candidates = [_Candidate(plan)]
        self._followed = self._candidates[0]
        self._was_corrected = plan.is_local
        self._retry, self._until_retry = RETRY, RETRY

    @property
    def planned(self) -> Plan:
        """The planner's first."""
        return self._candidates[0].plan

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All that were added, the planner's first before."""
        return tuple(each.plan for each in self._candidates)

    def error(self) -> float | None:
        """By what the planner's seconds must be multiplied to be those that came, once, where it is far from 1."""
        first = self._candidates[0]
        if self._was_corrected or not first.is_tried or first.plan.prediction is None:
            return None
        self._was_corrected = True
        error = first.usual_s / first.plan.prediction.latency_s
        return None if 1 / FAR_OFF < error < FAR_OFF else error

    def add(self, plan: Plan) -> None:
        """Try another one, unless it says the same as one that is known."""
        if not any(_same(plan, each.plan) for each in self._candidates):
            self._candidates.append(_Candidate(plan))

    def choose(self, alone_s: float | None) -> Plan:
        """The plan for the next inference.

        Args:
            alone_s: What the unmodified model took on this machine; None where that is not known.
        """
        self._count()
        untried = [each for each in self._candidates if not each.is_tried]
        if not untried and alone_s is not None and self._best().usual_s > GAINS_LITTLE * alone_s:
            self.add(replace(self.planned.all_local(ALONE), prediction=None))
            untried = [each for each in self._candidates if not each.is_tried]
        if untried:
            return untried[0].plan
        best = self._best()
        if best.usual_s < CLEARLY * self._followed.usual_s:
            self._followed = best
        return self._followed.plan

    def took(self, plan: Plan, seconds: float) -> None:
        """An inference by a plan has been made; of one that is not known nothing is kept."""
        for each in self._candidates:
            if each.plan is plan:
                each.seconds.append(seconds)

    def _best(self) -> _Candidate:
        return min(self._candidates, key=lambda each: each.usual_s)

    def _count(self) -> None:
        """Now and then the next best is tried again."""
        if len(self._candidates) == 1 or not all(each.is_tried for each in self._candidates):
            return
        self._until_retry -= 1
        if self._until_retry > 0:
            return
        self._retry = self._until_retry = min(2 * self._retry, MOST_RETRY)
        best = self._best()
        others = [each for each in self._candidates if each is not best and each.usual_s < HOPELESS * best.usual_s]
        if others:
            min(others, key=lambda each: each.usual_s).seconds.clear()


def _same(one: Plan, other: Plan) -> bool:
    """Whether two plans have agents do the same."""
    return (one.is_local and other.is_local) or _work(one) == _work(other)


def _work(plan: Plan) -> Plan:
    """A plan without what is said about it."""
    return replace(
        plan,
        layers=tuple(replace(each, reason="", seconds=None, runner_up="") for each in plan.layers),
        segments=tuple(replace(each, reason="", seconds=None, runner_up="") for each in plan.segments),
        prediction=None,
    )
