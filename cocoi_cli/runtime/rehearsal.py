"""Whether rounding keeps within its budget: the inference is rehearsed on the host first.

How much a network enlarges rounding errors cannot be read off its graph: a
normalisation over a nearly constant map makes three digits out of six. So the first
inference of a model at a size by a plan is run with agents inside the host, through the same codes,
casts and strips, and compared with plain ONNX Runtime: with those agents lost whose loss
is worst for decoding, with none lost, and in between. A transport whose error leaves no margin is
not used: float16 gives way to float32, float32 to the host.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.registry import make_code
from cocoi_cli.model.network import ConvStage, LocalStage
from cocoi_cli.planning.defaults import gain_limit
from cocoi_cli.runtime.check import FLOAT16_MODEL_TOLERANCE, TOLERANCES, compare, difference, is_half, tolerance
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.inner_link import ANSWER, DIE, InnerLink
from cocoi_cli.runtime.work import convolve_whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import HostKernels
    from cocoi_cli.runtime.report import AnyArray

# The error of one output over random histories of answers scatters like a normal variable around 0: a single
# one may be a tenth of the next. So several are rehearsed, and their root mean square must leave this margin;
# over 12 random histories each of nine models at (6,4) and (10,7) the largest error was 4.1 times it, in
# the median 1.2 times (docs/methods.md).
MARGIN = 4.5
# The largest error of a whole map scatters little: up to 1.3 times the rehearsed one in 152 random histories.
STAGE_MARGIN = 1.5
MOST_BYTES = 1 << 30  # of plain sums; beyond, only the outputs are judged
HEAVY_MACS = 5e9  # from here on only the worst history is rehearsed: seconds matter more than the scatter
MOST_SETS = 500  # sets of losses that are tried for the largest noise gain; beyond, runs of neighbours only
REHEARSAL_S = 3600.0  # nothing can be late inside the host; a job must have some deadline


async def within_budget(
    plan: Plan,
    asked: str,
    cut: Callable[[Plan], Awaitable[Network]],
    kernels: HostKernels,
    tensors: Mapping[str, AnyArray],
    reference: Mapping[str, AnyArray],
) -> Plan:
    """The plan, or the nearest one whose rounding error stays well within the tolerance.

    Args:
        plan: What was decided without looking at numbers.
        asked: The transport that the user asked for; decides the tolerance, whatever `plan` has come to.
        cut: Makes the network of a plan.
        kernels: What shares are computed with.
        tensors: The inputs of the inference.
        reference: Outputs of plain ONNX Runtime for them.
    """
    while plan.distributed:
        network = await cut(plan)
        stages = await asyncio.to_thread(plain_sums, network, kernels, tensors)
        runs = [
            await _rehearse(plan, network, lost, kernels, tensors, stages, reference, asked)
            for lost in _histories(plan, network)
        ]
        used, worst = _budget_used(runs)
        if used <= 1.0 and all(run.top1_equal for run in runs):
            return plan
        plan = stricter(plan, worst)
    return plan


def stricter(plan: Plan, error: float) -> Plan:
    """The next plan to try when the rounding of this one errs by `error`."""
    if plan.transport == "f16":
        return plan.in_float32(f"float32, as float16 would err by {error:.0e}")
    return plan.all_local(f"kept here: even float32 would err by {error:.0e}")


@dataclass(frozen=True, slots=True)
class _Run:
    """One rehearsed history.

    Attributes:
        outputs: By name: error, and the tolerance for it.
        stages: By name: error of the raw sum against the plain chain, and the tolerance for it.
        top1_equal: Whether no classifier changed its mind.
    """

    outputs: Mapping[str, tuple[float, float]]
    stages: Mapping[str, tuple[float, float]]
    top1_equal: bool


def _budget_used(runs: Sequence[_Run]) -> tuple[float, float]:
    """Of the worst output or stage: the part of its budget that is used up, and its error.

    Outputs count by their root mean square over the histories, stages by their largest error:
    that of many elements scatters little, so it needs less of a margin.
    """
    worst = (0.0, 0.0)
    for name, (_, allowed) in runs[0].outputs.items():
        error = math.sqrt(sum(run.outputs[name][0] ** 2 for run in runs) / len(runs))
        worst = max(worst, (error * MARGIN / allowed, error))
    for run in runs:
        for error, allowed in run.stages.values():
            worst = max(worst, (error * STAGE_MARGIN / allowed, error))
    return worst


def plain_sums(network: Network, kernels: HostKernels, tensors: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
    """The raw sum of every conv stage when nothing is cut, mixed or rounded.

    Returns:
        Stage name to float32 `stage.output_shape`; empty where they would take more than `MOST_BYTES`.
    """
    convs = [stage for stage in network.stages if isinstance(stage, ConvStage)]
    if sum(4 * math.prod(stage.output_shape) for stage in convs) > MOST_BYTES:
        return {}
    alive: dict[str, AnyArray] = dict(tensors)
    sums: dict[str, AnyArray] = {}
    for index, stage in enumerate(network.stages):
        if isinstance(stage, LocalStage):
            alive.update(kernels.run_stage(stage, {name: alive[name] for name in stage.inputs}))
        else:
            alive[stage.output] = sums[stage.name] = convolve_whole(stage, alive[stage.input], kernels)
        for name in [name for name, last in network.last_use.items() if last == index]:
            alive.pop(name, None)
    return sums


def _histories(plan: Plan, network: Network) -> list[frozenset[int]]:
    """Sets of agents that are lost from the start: the worst for decoding, none, and one in between."""
    code = make_code(plan.scheme, plan.n, plan.k, gain_limit=gain_limit(plan.transport))
    worst = worst_losses(code)
    if not worst or sum(layer.macs for layer in network.layers) > HEAVY_MACS:
        return [worst]
    half = frozenset(sorted(worst)[: (len(worst) + 1) // 2])
    return [worst, frozenset(), half]


async def _rehearse(
    plan: Plan,
    network: Network,
    lost: frozenset[int],
    kernels: HostKernels,
    tensors: Mapping[str, AnyArray],
    stages: Mapping[str, AnyArray],
    reference: Mapping[str, AnyArray],
    transport: str,
) -> _Run:
    coordinator = Coordinator(kernels)
    links = [
        InnerLink(f"inner-{share + 1}", coordinator, kernels, _lose if share in lost else _answer)
        for share in range(plan.n)
    ]
    coordinator.attach(links)
    programs = {layer: layer for layer in plan.distributed}  # an inner agent may call its programs what it likes
    for link in links:
        link.load(network, programs)
    half = is_half(network.layers)
    limit = FLOAT16_MODEL_TOLERANCE if half else TOLERANCES[transport]
    judged: dict[str, tuple[float, float]] = {}

    def observe(name: str, found: AnyArray) -> None:
        if name in stages:
            judged[name] = (difference(found, stages[name]), limit)

    job = Job(network=network, plan=plan, programs=programs, tensors=tensors, deadline_s=REHEARSAL_S, observe=observe)
    outcome = await coordinator.run(job)
    report = compare(outcome.outputs, reference, transport, half=half)
    outputs = {
        name: (found, tolerance(reference[name], transport, half=half)) for name, found in report.per_output.items()
    }
    return _Run(outputs, judged, report.top1_equal is not False)


def worst_losses(code: Code) -> frozenset[int]:
    """The n - k shares without which decoding enlarges rounding most, among sets that the guard accepts."""
    n = code.shares or code.pieces
    spare = n - code.pieces
    sets: Iterable[tuple[int, ...]] = combinations(range(n), spare)
    if math.comb(n, spare) > MOST_SETS:
        sets = (tuple((first + step) % n for step in range(spare)) for first in range(n))
    worst, gain = frozenset[int](), 0.0
    for lost in sets:
        rest = [share for share in range(n) if share not in lost]
        if code.ready(frozenset(rest)):
            found = code.decode(rest, np.zeros((len(rest), 1), np.float32)).gain
            if found > gain:
                worst, gain = frozenset(lost), found
    return worst


def _answer(_: int) -> str:
    return ANSWER


def _lose(_: int) -> str:
    return DIE
