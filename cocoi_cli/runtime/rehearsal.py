"""Whether rounding keeps within its budget: the inference is rehearsed on the host first.

How much a network enlarges rounding errors cannot be read off its graph: a
normalisation over a nearly constant map makes three digits out of six. So the first
inference of a model at a size is run with agents inside the host, through the same codes,
casts and strips, and compared with plain ONNX Runtime: with those agents lost whose loss
is worst for decoding, with none lost, and in between. A transport whose error leaves no margin is
not used: float16 gives way to float32, float32 to the host.
"""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.registry import make_code
from cocoi_cli.planning.defaults import gain_limit
from cocoi_cli.runtime.check import compare, tolerance
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.inner_link import ANSWER, DIE, InnerLink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import HostKernels
    from cocoi_cli.runtime.report import AnyArray, CheckReport

# The error of one output over random histories of answers scatters like a normal variable around 0: a single
# one may be a tenth of the next. So several are rehearsed, and their root mean square must leave this margin;
# over 12 random histories each of nine models at (6,4) and (10,7) the largest error was 4.1 times it, in
# the median 1.2 times (docs/methods.md).
MARGIN = 4.5
HEAVY_MACS = 5e9  # from here on only the worst history is rehearsed: seconds matter more than the scatter
MOST_SETS = 500  # sets of losses that are tried for the largest noise gain; beyond, runs of neighbours only
REHEARSAL_S = 3600.0  # nothing can be late inside the host; a job must have some deadline


async def within_budget(
    plan: Plan,
    cut: Callable[[Plan], Network],
    kernels: HostKernels,
    tensors: Mapping[str, AnyArray],
    reference: Mapping[str, AnyArray],
) -> Plan:
    """The plan, or the nearest one whose rounding error stays well within the tolerance.

    Args:
        plan: What was decided without looking at numbers.
        cut: Makes the network of a plan.
        kernels: What shares are computed with.
        tensors: The inputs of the inference.
        reference: Outputs of plain ONNX Runtime for them.
    """
    asked = plan.transport
    while plan.distributed:
        network = cut(plan)
        reports = [
            compare(await _rehearse(plan, network, lost, kernels, tensors), reference, asked)
            for lost in _histories(plan, network)
        ]
        used, worst = _budget_used(reports, reference, asked)
        if used * MARGIN <= 1.0 and all(report.top1_equal is not False for report in reports):
            return plan
        if plan.transport == "f16":
            plan = plan.in_float32(f"float32, as float16 would err by {worst:.0e}")
        else:
            plan = plan.all_local(
                f"float32 would err by {worst:.0e} here, with a budget of {worst / used / MARGIN:.0e}"
            )
    return plan


def _budget_used(
    reports: Sequence[CheckReport], reference: Mapping[str, AnyArray], transport: str
) -> tuple[float, float]:
    """Root mean square over the histories of the worst output's error: in tolerances, and as it is."""
    worst = (0.0, 0.0)
    for name, array in reference.items():
        error = math.sqrt(sum(report.per_output[name] ** 2 for report in reports) / len(reports))
        worst = max(worst, (error / tolerance(array, transport), error))
    return worst


def _histories(plan: Plan, network: Network) -> list[frozenset[int]]:
    """Sets of agents that are lost from the start: the worst for decoding, none, and one in between."""
    code = make_code(plan.scheme, plan.n, plan.k, gain_limit=gain_limit(plan.transport))
    worst = worst_losses(code)
    if not worst or sum(layer.macs for layer in network.layers) > HEAVY_MACS:
        return [worst]
    half = frozenset(sorted(worst)[: (len(worst) + 1) // 2])
    return [worst, frozenset(), half]


async def _rehearse(
    plan: Plan, network: Network, lost: frozenset[int], kernels: HostKernels, tensors: Mapping[str, AnyArray]
) -> Mapping[str, AnyArray]:
    coordinator = Coordinator(kernels)
    links = [
        InnerLink(f"inner-{share + 1}", coordinator, kernels, _lose if share in lost else _answer)
        for share in range(plan.n)
    ]
    coordinator.attach(links)
    programs = {layer: layer for layer in plan.distributed}  # an inner agent may call its programs what it likes
    for link in links:
        link.load(network, programs)
    job = Job(network=network, plan=plan, programs=programs, tensors=tensors, deadline_s=REHEARSAL_S)
    return (await coordinator.run(job)).outputs


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
