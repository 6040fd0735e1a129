"""Whether rounding keeps within its budget: the inference is rehearsed on the host first.

How much a network enlarges rounding errors cannot be read off its graph: a
normalisation over a nearly constant map makes three digits out of six. So the first
inference of a model at a size by a plan is run with agents inside the host, through the same programs, codes,
casts and strips, and compared with plain ONNX Runtime: with those agents lost whose loss
is worst for decoding, with none lost, and in between. Where the error leaves no margin, the stages that
are to blame climb the ladder of `rungs.py`, as few bytes at a time as it takes.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.model.network import LocalStage
from cocoi_cli.planning.plan import ConvPlan
from cocoi_cli.runtime.check import compare, difference, is_half
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.inner_link import ANSWER, DIE, InnerLink
from cocoi_cli.runtime.loading import stage_programs
from cocoi_cli.runtime.losses import losses_of
from cocoi_cli.runtime.plain_chain import Chain, is_small, run_chain
from cocoi_cli.runtime.raising import choose
from cocoi_cli.runtime.rounding import contributions, figure_of, groups
from cocoi_cli.runtime.rungs import (
    Rung,
    Step,
    raised,
    rung_of,
    stages_of,
    step,
    steps_for_all,
    stricter,
    unsendable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.check import Tolerance
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.loading import ProgramSource
    from cocoi_cli.runtime.raising import Contribution
    from cocoi_cli.runtime.report import AnyArray

__all__ = ["stricter", "within_budget"]

# The error of one output over random histories of answers scatters like a normal variable around 0: a single
# one may be a tenth of the next. So several are rehearsed, and their root mean square must leave a margin; it may be
# smaller the more there are (docs/methods.md). Where a few leave a doubt, a light network is rehearsed with more.
FEW: Final = 3
MANY: Final = 6
MARGIN: Final = 5.0
MARGIN_OF_MANY: Final = 3.5
DOUBT: Final = 1.15  # of a budget: more than this is too much, whatever further histories would show
# The largest error of a whole map scatters little: up to 1.3 times the rehearsed one in 152 random histories.
STAGE_MARGIN: Final = 1.5
LIGHT_MACS: Final = 1.5e9  # up to here a doubt is worth further histories
HEAVY_MACS: Final = 5e9  # from here on only the worst history is rehearsed: seconds matter more than the scatter
MOST_CODES: Final = 3  # whose worst losses are rehearsed, where layers have several
MOST_REHEARSALS: Final = 5  # before all stages that are left go to float32, then without codes, then to the host
MOST_BLAMED: Final = (
    100  # stages; what each does to every figure grows with their square, and the choice with their cube
)
MOST_HEAVY_REHEARSALS: Final = 2
GOAL: Final = 0.9  # of the budget: what is aimed at with the first raise; each further one aims lower
LOWER: Final = 0.85
TOO_NON_LINEAR: Final = 0.1  # an error of float16 below it shrinks by thousands in float32, without being rehearsed
OUTPUT: Final = "output "  # begins the name of the figure of an output
REHEARSAL_S: Final = 3600.0  # nothing can be late inside the host; a job must have some deadline


async def within_budget(
    plan: Plan,
    tolerance: Tolerance,
    cut: Callable[[Plan], Awaitable[Network]],
    kernels: Kernels,
    tensors: Mapping[str, AnyArray],
    reference: Mapping[str, AnyArray],
) -> Plan:
    """The plan, or the nearest one whose rounding error stays well within the tolerance.

    Args:
        plan: What was decided without looking at numbers.
        tolerance: What the user asked for, whatever `plan` has come to.
        cut: Makes the network of a plan.
        kernels: What shares are computed with.
        tensors: The inputs of the inference.
        reference: Outputs of plain ONNX Runtime for them.
    """
    return await _Rehearsal(plan, tolerance, cut, kernels, tensors, reference).settle()


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the rehearsed histories of a plan show together.

    Attributes:
        used: By figure: the part of its budget that is used up; outputs count by their root mean square over the
            histories, stages by their largest error: that of many elements scatters little, so it needs less of a
            margin.
        error: Of the worst figure.
        passed: Whether every figure is within its budget and no classifier changed its mind.
        unsent: Stages that the host computed because their input could not be sent.
    """

    used: Mapping[str, float]
    error: float
    passed: bool
    unsent: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Run:
    """One rehearsed history: the error of every figure, whether no classifier changed its mind, what was not sent."""

    errors: Mapping[str, float]
    top1_equal: bool
    unsent: frozenset[str] = frozenset()


class _Rehearsal:
    """One plan on its way up the ladder."""

    def __init__(
        self,
        plan: Plan,
        tolerance: Tolerance,
        cut: Callable[[Plan], Awaitable[Network]],
        kernels: Kernels,
        tensors: Mapping[str, AnyArray],
        reference: Mapping[str, AnyArray],
    ) -> None:
        self._plan, self._tolerance, self._cut = plan, tolerance, cut
        self._kernels, self._tensors, self._reference = kernels, tensors, reference
        self._steps: dict[str, Step] = {}
        self._network: Network | None = None
        self._cut_as: tuple[object, ...] = ()
        self._chain: Chain | None = None
        self._blame: list[Contribution] | None = None

    async def settle(self) -> Plan:
        """Rehearse and raise until the budget holds."""
        goal, rehearsed = GOAL, 0
        while True:
            plan = raised(self._plan, self._steps.values())
            if plan.is_local:
                return plan
            network = await self._network_of(plan)
            heavy = sum(layer.macs for layer in network.layers) > HEAVY_MACS
            if self._chain is None and is_small(network):
                starts = [] if heavy else [start for start, _ in groups(network, heavy=False)]
                self._chain = await asyncio.to_thread(run_chain, network, self._kernels, self._tensors, starts)
            verdict = await self._rehearse(plan, network, heavy=heavy)
            if verdict.unsent and self._keep_unsent(plan, verdict.unsent):
                continue
            if verdict.passed:
                return plan
            rehearsed += 1
            exhausted = rehearsed >= (MOST_HEAVY_REHEARSALS if heavy else MOST_REHEARSALS)
            if exhausted or not await self._raise(plan, verdict, goal, heavy=heavy):
                steps = steps_for_all(plan, verdict.error)
                self._steps.update(steps)
                is_single = all(each.rung is Rung.SINGLE for each in steps.values())
                if exhausted and heavy and is_single and verdict.error < TOO_NON_LINEAR:
                    return raised(self._plan, self._steps.values())
            goal *= LOWER

    async def _network_of(self, plan: Plan) -> Network:
        """The network of a plan; what travels as what makes no difference to conv stages."""
        cut_as = (plan.distributed, plan.segments)
        if self._network is None or cut_as != self._cut_as:
            self._network, self._cut_as = await self._cut(plan), cut_as
        return self._network

    # --- the ladder ------------------------------------------------------------------

    def _keep_unsent(self, plan: Plan, unsent: frozenset[str]) -> bool:
        """Raise stages whose input agents cannot be sent, until it can be or they stay here; whether any was."""
        steps = {name: unsendable(name, stage) for name, stage in stages_of(plan).items() if name in unsent}
        self._steps.update(steps)
        return bool(steps)

    async def _raise(self, plan: Plan, verdict: _Verdict, goal: float, *, heavy: bool) -> bool:
        """Raise the stages that are to blame; whether that can be told."""
        if self._chain is None or len(stages_of(plan)) > MOST_BLAMED:
            return False
        if self._blame is None:
            self._blame = await asyncio.to_thread(
                contributions, plan, self._chain, self._kernels, verdict.used, self._used_by, heavy=heavy
            )
        rungs = {name: rung_of(stage) for name, stage in stages_of(plan).items()}
        living = [each for each in self._blame if each.stage in rungs]
        chosen = await asyncio.to_thread(choose, living, rungs, verdict.used, goal)
        if chosen is None:
            return False
        for name, rung in chosen.items():
            if rung > rungs[name]:
                self._steps[name] = step(name, rung, verdict.error)
        return True

    # --- judging ---------------------------------------------------------------------

    def _judge(self, runs: Sequence[_Run], margin: float) -> _Verdict:
        used: dict[str, float] = {}
        worst = (0.0, 0.0)
        for figure, (allowed, leave) in self._budgets(runs[0].errors, margin).items():
            errors = [run.errors[figure] for run in runs if figure in run.errors]
            mean = math.sqrt(sum(error**2 for error in errors) / len(errors))
            error = mean if figure.startswith(OUTPUT) else max(errors)
            used[figure] = error * leave / allowed
            worst = max(worst, (used[figure], error))
        if not all(run.top1_equal for run in runs) and worst[0] <= 1.0:
            # Nothing says how much closer it must be; half is a try.
            used = {figure: 2.0 if value == worst[0] else value for figure, value in used.items()}
        unsent = frozenset[str]().union(*(run.unsent for run in runs))
        return _Verdict(used, worst[1], all(value <= 1.0 for value in used.values()), unsent)

    def _budgets(self, figures: Iterable[str], margin: float) -> dict[str, tuple[float, float]]:
        """By figure: the tolerance, and the margin that the error must leave to it; `margin` is that of outputs."""
        half = is_half(self._network.layers) if self._network is not None else False
        found = {}
        for figure in figures:
            if figure.startswith(OUTPUT):
                reference = self._reference[figure.removeprefix(OUTPUT)]
                found[figure] = self._tolerance.of(reference, half=half), margin
            else:
                found[figure] = self._tolerance.inside(half=half), STAGE_MARGIN
        return found

    def _used_by(self, chain: Chain) -> dict[str, float]:
        """What a disturbed run uses of each budget."""
        assert self._chain is not None  # noqa: S101 - it was made from this one
        plain = self._chain
        errors = {figure_of(name): difference(array, plain.results[name]) for name, array in chain.results.items()}
        errors |= {f"{OUTPUT}{name}": difference(array, plain.outputs[name]) for name, array in chain.outputs.items()}
        margin = MARGIN_OF_MANY if self._is_light() else MARGIN
        budgets = self._budgets(errors, margin)
        return {figure: errors[figure] * leave / allowed for figure, (allowed, leave) in budgets.items()}

    def _is_light(self) -> bool:
        """Whether further histories are worth their time."""
        return self._network is not None and sum(layer.macs for layer in self._network.layers) <= LIGHT_MACS

    # --- histories -------------------------------------------------------------------

    async def _rehearse(self, plan: Plan, network: Network, *, heavy: bool) -> _Verdict:
        """Run the network with one set of lost agents after the other; with more of them where that leaves doubt."""
        plans = {layer.layer: layer for layer in plan.layers}
        sources = {
            stage.name: await asyncio.to_thread(stage_programs, stage, plans.get(stage.name))
            for stage in network.stages
            if not isinstance(stage, LocalStage)
        }
        losses = histories(plan, network, heavy=heavy)
        runs = [await self._run(plan, network, sources, lost) for lost in losses]
        verdict = self._judge(runs, MARGIN)
        if verdict.passed or len(losses) < FEW or not self._is_light():
            return verdict
        hopeful = self._judge(runs, MARGIN_OF_MANY)
        if max(hopeful.used.values()) > DOUBT:
            return hopeful
        runs += [await self._run(plan, network, sources, lost) for lost in further(plan, losses)]
        return self._judge(runs, MARGIN_OF_MANY if len(runs) >= MANY else MARGIN)

    async def _run(
        self, plan: Plan, network: Network, sources: Mapping[str, Sequence[ProgramSource]], lost: frozenset[int]
    ) -> _Run:
        coordinator = Coordinator(self._kernels)
        links = [
            InnerLink(f"inner-{home + 1}", coordinator, self._kernels, _lose if home in lost else _answer)
            for home in range(agents_of(plan))
        ]
        # An inner agent may call its programs what it likes.
        programs = {name: tuple(f"{name} {index}" for index in range(len(each))) for name, each in sources.items()}
        for link in links:
            for name, each in sources.items():
                for program, source in zip(programs[name], each, strict=True):
                    link.hold(program, source)
        coordinator.attach(links)
        plain = {} if self._chain is None else self._chain.results
        errors: dict[str, float] = {}

        def observe(name: str, found: AnyArray) -> None:
            if name in plain:
                errors[figure_of(name)] = difference(found, plain[name])

        job = Job(
            network=network,
            plan=plan,
            programs=programs,
            tensors=self._tensors,
            deadline_s=REHEARSAL_S,
            observe=observe,
        )
        try:
            outcome = await coordinator.run(job)
        finally:
            coordinator.close()
        report = compare(outcome.outputs, self._reference, self._tolerance, half=is_half(network.layers))
        errors |= {f"{OUTPUT}{name}": found for name, found in report.per_output.items()}
        return _Run(errors, report.top1_equal is not False, outcome.unsent)


def agents_of(plan: Plan) -> int:
    """How many agents take part; the host is none of them."""
    return max((stage.n - stage.host for stage in stages_of(plan).values()), default=0)


def histories(plan: Plan, network: Network, *, heavy: bool) -> list[frozenset[int]]:
    """Sets of agents that are lost from the start: the worst for decoding, none, and one in between.

    Where layers have several codes the worst for each of those with most work counts, and for a heavy network only
    that for the one with the most.
    """
    macs = {layer.name: layer.macs for layer in network.layers}
    weights: dict[frozenset[int], int] = {}
    for stage in stages_of(plan).values():
        if isinstance(stage, ConvPlan):
            lost = losses_of(stage)
            weights[lost] = weights.get(lost, 0) + macs.get(stage.layer, 0)
    worst = sorted(weights, key=lambda lost: -weights[lost])[:MOST_CODES] or [frozenset[int]()]
    if heavy or not any(worst):
        return worst[:1]
    first = next(lost for lost in worst if lost)
    half = frozenset(sorted(first)[: (len(first) + 1) // 2])
    return list(dict.fromkeys([*worst, frozenset[int](), half]))


def further(plan: Plan, losses: Sequence[frozenset[int]]) -> list[frozenset[int]]:
    """More sets of lost agents, until there are `MANY`: neighbours, as many as may be lost, then single ones."""
    agents, size = agents_of(plan), max(map(len, losses))
    runs = [frozenset((first + step) % agents for step in range(size)) for first in range(agents)]
    single = [frozenset({agent}) for agent in range(agents)]
    fresh = [lost for lost in dict.fromkeys([*runs, *single]) if lost not in losses]
    return fresh[: max(MANY - len(losses), 0)]


def _answer(_: int) -> str:
    return ANSWER


def _lose(_: int) -> str:
    return DIE
