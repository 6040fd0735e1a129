"""Which of a few plans is quickest, by what their inferences took. Pure.

A planner foresees; a device is hotter, a layer slower, an input other than what was measured. So its plan is followed
for a while, and where what came is far from what was foreseen, a plan made with the error corrected is tried beside it;
where little is won, this machine alone. What is tried takes turns with what is followed, so that a busy moment meets
both, and the quicker is followed from then on. What lost is tried again, ever more seldom.

Source: docs/methods.md, "Trying plans".
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.planning.plan import Plan

COLD: Final = 1  # first inference of a plan, which does not count: caches and sessions are cold
TRIED: Final = 4  # inferences after it, until their median is believed
CLEAR: Final = 2  # after it suffice where each was hopeless (the slowest percent is not for trying), or each far better
LATEST: Final = 9  # inferences that the median is of
FAR_OFF: Final = 1.5  # times what was foreseen, the shortest: then the planner is asked again, the error corrected
GAINS_LITTLE: Final = 0.75  # of this machine alone: then that is tried too
CLEARLY: Final = 0.95  # of what the plan that is followed takes: then another is followed instead
HOPELESS: Final = 1.25  # of the quickest: such a plan is not tried again; the other way round it is far better
RETRY: Final = 64  # inferences until the next best is tried again; each time twice as many
MOST_RETRY: Final = 1024
ALONE: Final = "this machine alone, tried beside the planner's plan"


@dataclass(slots=True)
class _Candidate:
    """A plan, and seconds of its latest inferences."""

    plan: Plan
    enough: int = TRIED
    cold: int = COLD
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=LATEST))

    @property
    def is_tried(self) -> bool:
        return len(self.seconds) >= self.enough

    @property
    def usual_s(self) -> float:
        return median(self.seconds)

    def took(self, seconds: float) -> None:
        if self.cold:
            self.cold -= 1
        else:
            self.seconds.append(seconds)

    def believe(self) -> None:
        """Believe what little came."""
        self.enough = len(self.seconds)

    def begin_anew(self) -> None:
        self.enough, self.cold = TRIED, COLD
        self.seconds.clear()


class Trials:
    """Chooses between the plans for one model and fleet."""

    def __init__(self, plan: Plan, tried: Sequence[_Candidate] = ()) -> None:
        """Begin with the planner's; `tried` are others whose inferences are known."""
        self._candidates = [_Candidate(plan), *tried]
        self._followed = self._candidates[0]
        self._was_corrected = plan.is_local
        self._retry, self._until_retry = RETRY, RETRY
        self._is_followed = True  # the latest inference was of the plan that is followed, not of one that is tried

    def anew(self, plan: Plan, *, same_agents: bool = False) -> Trials:
        """Begin anew with a plan for agents that compute otherwise: what this machine takes alone still holds.

        Args:
            plan: The planner's.
            same_agents: Whether they are those that the plan before was made for, no other ones slow than then: it may
                still be the better one, and is tried beside the new one.
        """
        alone = [each for each in self._candidates if each.plan.is_local and each.is_tried]
        found = Trials(plan, () if plan.is_local else alone)
        if same_agents:
            found.add(self.planned)
        return found

    @property
    def planned(self) -> Plan:
        """The planner's first."""
        return self._candidates[0].plan

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All that were added, the planner's first before."""
        return tuple(each.plan for each in self._candidates)

    def take_error(self) -> float | None:
        """How many times longer than foreseen the first plan takes, once, where even its shortest inference did."""
        first = self._candidates[0]
        if self._was_corrected or not first.is_tried or first.plan.prediction is None:
            return None
        self._was_corrected = True
        foreseen_s = first.plan.prediction.latency_s
        return first.usual_s / foreseen_s if min(first.seconds) > FAR_OFF * foreseen_s else None

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
        if not self._followed.is_tried:
            return self._followed.plan
        if alone_s is not None and self._followed.usual_s > GAINS_LITTLE * alone_s:
            self.add(replace(self.planned.all_local(ALONE), prediction=None))
        best = min((each for each in self._candidates if each.is_tried), key=lambda each: each.usual_s)
        if best.usual_s < CLEARLY * self._followed.usual_s:
            self._followed = best
        # This machine alone first: to try it costs nothing that was promised.
        untried = sorted(
            (each for each in self._candidates if not each.is_tried), key=lambda each: not each.plan.is_local
        )
        self._is_followed = not (untried and self._is_followed)
        return self._followed.plan if self._is_followed else untried[0].plan

    def took(self, plan: Plan, seconds: float) -> None:
        """An inference by a plan has been made; of one that is not known nothing is kept."""
        for each in self._candidates:
            if each.plan is plan:
                each.took(seconds)
                if each is not self._followed and self._is_clear(each):
                    each.believe()

    def _is_clear(self, tried: _Candidate) -> bool:
        """Whether even the shortest of the first inferences of a plan is hopeless, or even the longest far better.

        They are compared with those that took turns with them: both met the same moment.
        """
        followed, seconds = self._followed, tried.seconds
        if not (CLEAR <= len(seconds) < TRIED and followed.is_tried):
            return False
        latest = list(followed.seconds)[-CLEAR:]
        return min(seconds) > HOPELESS * max(latest) or HOPELESS * max(seconds) < min(latest)

    def _count(self) -> None:
        """Now and then the next best is tried again."""
        if len(self._candidates) == 1 or not all(each.is_tried for each in self._candidates):
            return
        self._until_retry -= 1
        if self._until_retry > 0:
            return
        self._retry = self._until_retry = min(2 * self._retry, MOST_RETRY)
        most_s = HOPELESS * self._followed.usual_s
        others = [each for each in self._candidates if each is not self._followed and each.usual_s < most_s]
        if others:
            min(others, key=lambda each: each.usual_s).begin_anew()


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
