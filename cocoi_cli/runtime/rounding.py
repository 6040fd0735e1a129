"""How much of the error of a network each distributed stage is to blame for.

Each stage is computed alone, by its plan, on the exact input: what it is off by then is its own rounding. This is
added to the plain run of the network, a few neighbouring stages at a time, to see what becomes of it behind. Where even
that would take too long, what was measured for all stages together is shared out by their own rounding.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.model.network import ConvStage, LocalStage
from cocoi_cli.planning.plan import ConvPlan
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.inner_link import answer_of, narrowed
from cocoi_cli.runtime.loading import stage_programs
from cocoi_cli.runtime.losses import losses_of, survivors
from cocoi_cli.runtime.magnitudes import peak
from cocoi_cli.runtime.plain_chain import distributed, disturbed
from cocoi_cli.runtime.raising import Contribution
from cocoi_cli.runtime.rungs import rung_of, stages_of, without_code
from cocoi_cli.runtime.working import begin_work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.model.network import FusedStage, Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.plain_chain import Chain
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.rungs import StagePlan

THIN: Final = 8  # of a heavy network one output channel in so many is computed: enough for the size of its rounding
MOST_USED: Final = 1e6  # of a budget; what is not finite counts as so much
MOST_DISTURBED_MACS: Final = 12e9  # for runs of the disturbed network, all together
DRAWS: Final = 3  # of a stage's rounding: what one does to an output may be a tenth of what the next does


@dataclass(frozen=True, slots=True)
class OwnRounding:
    """What a stage is off by, fed exactly.

    Attributes:
        added: Its result by the plan minus the plain one; None where nothing or only a part of it was computed.
        error: Largest magnitude of that over the largest of the plain result.
        answers: What float32 answers leave of the error; 1 where they are float32 already.
    """

    added: AnyArray | None = None
    error: float = 0.0
    answers: float = 1.0


def own_rounding(
    stage: ConvStage | FusedStage, plan: StagePlan, x: AnyArray, y: AnyArray, kernels: Kernels, *, thin: bool = False
) -> OwnRounding:
    """Compute one stage alone by its plan, from the answers that decode worst.

    Args:
        stage: What to compute; it is not finished.
        plan: How.
        x: Its exact input.
        y: Its exact result, float32, raw sums of a conv stage.
        kernels: What computes.
        thin: Whether a part of the output channels will do.
    """
    largest = peak(y)
    if x.shape != stage.input_shape or not math.isfinite(largest) or largest == 0.0:
        return OwnRounding()  # the host computes it whole, or there is nothing to measure by
    if thin and isinstance(stage, ConvStage) and isinstance(plan, ConvPlan) and plan.filters == stage.spec.group == 1:
        stage, y = _thinned(stage, y)
    else:
        thin = False
    replies = ("f16", "f32") if plan.answers == "f16" else ("f32",)
    with np.errstate(invalid="ignore", over="ignore"):
        added = [result - y for result in _compute(stage, plan, x, kernels, replies)]
    if not added:
        return OwnRounding()
    errors = [peak(array) / largest for array in added]
    answers = errors[-1] / errors[0] if errors[0] > 0.0 and math.isfinite(errors[0]) else 1.0
    return OwnRounding(None if thin else added[0], errors[0], answers)


def contributions(
    plan: Plan,
    chain: Chain,
    kernels: Kernels,
    used: Mapping[str, float],
    judge: Callable[[Chain], Mapping[str, float]],
    *,
    heavy: bool,
) -> list[Contribution]:
    """What each distributed stage's own rounding does to every figure; blocking.

    Args:
        plan: The stages' rungs.
        chain: A plain run of the network, kept at the starts of `groups` unless heavy.
        kernels: What computes.
        used: By figure: what a rehearsal of the plan used up of its budget.
        judge: The same of a disturbed run; figures of stages before the disturbance are absent.
        heavy: Whether seconds matter more than an exact picture.
    """
    plans = stages_of(plan)
    stages = distributed(chain.network)
    own: dict[str, OwnRounding] = {}
    effects: dict[str, dict[str, float]] = {stage.name: {} for stage in stages}
    for start, group in groups(chain.network, heavy=heavy):
        for stage in group:
            x, y = chain.inputs[stage.name], chain.results[stage.name]
            own[stage.name] = own_rounding(stage, plans[stage.name], x, y, kernels, thin=heavy)
        if heavy:
            continue
        added = {stage.name: array for stage in group if (array := own[stage.name].added) is not None}
        if added:
            runs = [judge(disturbed(chain, kernels, start, _rolled(added, draw))) for draw in range(DRAWS)]
            _share_out(_mean(runs), [stage.name for stage in group], own, effects)
        for name in added:  # these may be large
            own[name] = replace(own[name], added=None)
    if heavy:
        _share_out(used, [stage.name for stage in stages], own, effects)
    return [
        _contribution(
            chain,
            stage,
            plans[stage.name],
            own[stage.name],
            effects[stage.name],
            uncoded=without_code(plan, plans[stage.name]),
        )
        for stage in stages
    ]


def groups(network: Network, *, heavy: bool) -> list[tuple[int, list[ConvStage | FusedStage]]]:
    """Neighbouring distributed stages that are disturbed together, each with the index of its first.

    As many groups as `MOST_DISTURBED_MACS` allows, each of which costs `DRAWS` half runs of the network on average.
    """
    numbered = [(index, stage) for index, stage in enumerate(network.stages) if not isinstance(stage, LocalStage)]
    macs = sum(layer.macs for layer in network.layers)
    count = 1 if heavy else min(len(numbered), max(1, int(2 * MOST_DISTURBED_MACS / max(DRAWS * macs, 1))))
    bounds = [round(part * len(numbered) / max(count, 1)) for part in range(count + 1)]
    parts = [numbered[first:last] for first, last in itertools.pairwise(bounds)]
    return [(part[0][0], [stage for _, stage in part]) for part in parts if part]


def _rolled(added: Mapping[str, AnyArray], draw: int) -> dict[str, AnyArray]:
    """Another sample of the same rounding: shifted along the spatial axes, whose elements are alike."""
    if draw == 0:
        return dict(added)
    return {
        name: np.roll(array, [draw * size // DRAWS for size in array.shape[2:]], range(2, array.ndim))
        for name, array in added.items()
    }


def _mean(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The root mean square of every figure."""
    capped = [{figure: min(value, MOST_USED) for figure, value in run.items()} for run in runs]
    return {figure: math.sqrt(sum(run[figure] ** 2 for run in capped) / len(capped)) for figure in capped[0]}


def _share_out(
    found: Mapping[str, float],
    group: Sequence[str],
    own: Mapping[str, OwnRounding],
    effects: Mapping[str, dict[str, float]],
) -> None:
    """Give the stages of a group their parts of each figure: in proportion to the squares of their own rounding.

    What a figure of a stage tells concerns this stage and those before it.
    """
    for figure, value in found.items():
        behind = stage_of(figure)
        part = group[: group.index(behind) + 1] if behind in group else group
        total = math.sqrt(sum(own[name].error ** 2 for name in part))
        for name in part:
            if total > 0.0 and math.isfinite(total):
                effects[name][figure] = min(value, MOST_USED) * own[name].error / total


def figure_of(stage: str) -> str:
    """The name of the figure that judges a stage's result; figures of outputs have other names."""
    return f"stage {stage}"


def stage_of(figure: str) -> str | None:
    """The stage that a figure judges; None for one of an output."""
    return figure.removeprefix("stage ") if figure.startswith("stage ") else None


def _contribution(
    chain: Chain,
    stage: ConvStage | FusedStage,
    plan: StagePlan,
    own: OwnRounding,
    effects: Mapping[str, float],
    *,
    uncoded: float,
) -> Contribution:
    names = (stage.name,) if isinstance(stage, ConvStage) else stage.layers
    return Contribution(
        stage=stage.name,
        rung=rung_of(plan),
        effects=effects,
        answers=own.answers,
        uncoded=uncoded,
        size_in=math.prod(stage.input_shape),
        size_out=math.prod(stage.output_shape),
        macs=sum(layer.macs for layer in chain.network.layers if layer.name in names),
    )


def _compute(
    stage: ConvStage | FusedStage, plan: StagePlan, x: AnyArray, kernels: Kernels, replies: Sequence[str]
) -> list[AnyArray]:
    """The stage by its plan, for each type of answers, computed once for all; nothing where the host does it whole."""
    blocks = Blocks()
    works = [begin_work(stage.bare, replace(plan, reply=reply), x, blocks) for reply in replies]
    work = works[0]
    if not work.is_sendable:
        return []
    sources = stage_programs(stage, plan if isinstance(plan, ConvPlan) else None)
    lost = losses_of(plan) if isinstance(plan, ConvPlan) else frozenset()
    shares, added = survivors(work.code, lost)
    for strip in range(work.strips):
        answers = []
        for share in shares:
            out = work.share(strip, share)
            answers.append((share, *answer_of(kernels, sources[out.variant], out.x, out.scale, "f32")))
        if added:
            answers += [(share, y, 1.0) for share, y in zip(added, work.convolve(kernels, strip, added), strict=True)]
        for reply, each in zip(replies, works, strict=True):
            for share, y, scale in answers:
                sent, by = narrowed(y) if reply == "f16" and share in shares else (y, 1.0)
                each.accept(strip, share, sent, by * scale)
            each.decode(strip, [*shares, *added], kernels)
    return [each.hand_over() for each in works]


def _thinned(stage: ConvStage, y: AnyArray) -> tuple[ConvStage, AnyArray]:
    """The stage with every `THIN`-th output channel, and its plain result."""
    weight, y = stage.weight[::THIN], y[:, ::THIN]
    shape = (stage.output_shape[0], len(weight), *stage.output_shape[2:])
    spec = replace(stage.spec, out_channels=len(weight))
    return replace(stage, spec=spec, weight=np.ascontiguousarray(weight), output_shape=shape), y
