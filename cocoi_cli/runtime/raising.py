"""Which stages to raise, and how far, so that the rounding of a network keeps within its budget.

Pure: figures in, rungs out. Errors of stages add up like independent ones, in their squares; each step is judged by
what it takes off the square of the worst figure for every further byte on the wire. Source: docs/methods.md,
"The rehearsal".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.runtime.rungs import Rung

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SINGLE_TO_HALF: Final = 2.0**-13
"""Rounding of float32 over that of float16."""
SMALLEST_GAIN: Final = 1e-4
"""Of what is left: what takes off less is no help."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one stage's own rounding does to the network.

    Attributes:
        stage: Its name.
        rung: Where it stood when this was measured.
        effects: By figure (an output, or a stage behind): the part of its budget that this stage alone uses up.
        answers: What float32 answers leave of that; 1 where they are float32 already.
        uncoded: What doing without a code leaves of it; 1 where there is none, or none to do without.
        size_in: Elements of the input.
        size_out: Elements of the output.
        macs: Multiply-accumulates.
    """

    stage: str
    rung: Rung
    effects: Mapping[str, float]
    answers: float
    uncoded: float
    size_in: int
    size_out: int
    macs: int

    def part(self, rung: Rung) -> float:
        """What is left of the effects on a rung at or above the measured one."""
        if rung == self.rung:
            return 1.0
        match rung:
            case Rung.HALF | Rung.WIDE_ANSWERS:
                return min(self.answers, 1.0)
            case Rung.SINGLE:
                return SINGLE_TO_HALF
            case Rung.UNCODED:
                return self.uncoded * (1.0 if self.rung is Rung.SINGLE else SINGLE_TO_HALF)
            case Rung.HOST:
                return 0.0

    def square(self, figure: str, rung: Rung) -> float:
        """What the stage adds to the square of a figure."""
        return (self.effects.get(figure, 0.0) * self.part(rung)) ** 2

    def bytes_on(self, rung: Rung) -> int:
        """Bytes on the wire, without what halos and codes add."""
        wide_in, wide_out = rung >= Rung.SINGLE, rung >= Rung.WIDE_ANSWERS
        return (4 if wide_in else 2) * self.size_in + (4 if wide_out else 2) * self.size_out

    def cost(self, now: Rung, then: Rung) -> float:
        """What a step costs: further bytes; for the host, which is only asked where nothing else helps, its work."""
        return float(self.macs) if then is Rung.HOST else float(self.bytes_on(then) - self.bytes_on(now))


def choose(
    contributions: Sequence[Contribution], rungs: Mapping[str, Rung], used: Mapping[str, float], goal: float
) -> dict[str, Rung] | None:
    """Raise as few bytes as it takes.

    Args:
        contributions: Of every distributed stage.
        rungs: Where each stands now.
        used: By figure: the part of its budget that was used up with these rungs; the effects are scaled up to it.
        goal: What figures above 1 are to come down to, below 1 for the error of this very reckoning.

    Returns:
        The new rungs, at least one of them higher; None where no rung helps.
    """
    budget = _Budget(contributions, rungs, used, goal)
    if any(value > 1.0 and figure not in budget.scales for figure, value in used.items()):
        return None
    chosen = dict(rungs)
    while (worst := budget.worst(chosen)) is not None:
        found = _best(contributions, chosen, *worst)
        if found is None:
            return None
        chosen[found[0]] = found[1]
    _lower(contributions, rungs, chosen, budget)
    return chosen if chosen != rungs else None


class _Budget:
    """What every figure may come to, and what it comes to with some rungs."""

    def __init__(
        self, contributions: Sequence[Contribution], rungs: Mapping[str, Rung], used: Mapping[str, float], goal: float
    ) -> None:
        self._contributions = contributions
        self._limits = {figure: goal if value > 1.0 else 1.0 for figure, value in used.items()}
        totals = {figure: self._total(figure, rungs) for figure in used}
        # A rehearsal may be lucky; the sum of many single effects is not below what is to be expected.
        self.scales = {figure: max(used[figure] ** 2 / total, 1.0) for figure, total in totals.items() if total > 0.0}

    def worst(self, rungs: Mapping[str, Rung]) -> tuple[str, float] | None:
        """The figure that is furthest over its limit, with its square before it is scaled; None where all hold."""
        over, figure, total = 1.0, None, 0.0
        for each, scale in self.scales.items():
            square = self._total(each, rungs)
            if square * scale > over * self._limits[each] ** 2:
                over, figure, total = square * scale / self._limits[each] ** 2, each, square
        return None if figure is None else (figure, total)

    def _total(self, figure: str, rungs: Mapping[str, Rung]) -> float:
        return sum(each.square(figure, rungs[each.stage]) for each in self._contributions)


def _lower(
    contributions: Sequence[Contribution], rungs: Mapping[str, Rung], chosen: dict[str, Rung], budget: _Budget
) -> None:
    """Take back what later steps have made needless, the dearest first."""
    raised = [each for each in contributions if chosen[each.stage] > rungs[each.stage]]
    for each in sorted(raised, key=lambda one: -one.cost(rungs[one.stage], chosen[one.stage])):
        now = chosen[each.stage]
        for lower in (rung for rung in Rung if rungs[each.stage] <= rung < now):
            chosen[each.stage] = lower
            if budget.worst(chosen) is None:
                break
            chosen[each.stage] = now


def _best(
    contributions: Sequence[Contribution], rungs: Mapping[str, Rung], figure: str, total: float
) -> tuple[str, Rung] | None:
    """The step that takes most off a figure for what it costs; no code, and the host, only where nothing else does."""
    for most in (Rung.SINGLE, Rung.UNCODED, Rung.HOST):
        found: tuple[float, str, Rung] | None = None
        for each in contributions:
            now = rungs[each.stage]
            for then in (rung for rung in Rung if now < rung <= most):
                gain = each.square(figure, now) - each.square(figure, then)
                rate = gain / max(each.cost(now, then), 1.0)
                if gain > SMALLEST_GAIN * total and (found is None or rate > found[0]):
                    found = rate, each.stage, then
        if found is not None:
            return found[1], found[2]
    return None
