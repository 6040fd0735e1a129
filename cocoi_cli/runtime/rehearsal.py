"""Whether rounding keeps within its budget: the inference is rehearsed on the host first.

How much a network enlarges rounding errors cannot be read off its graph: a
normalisation over a nearly constant map makes three digits out of six. So the first
inference of a model at a size is run once with agents inside the host, through the same
codes, casts and strips, and compared with plain ONNX Runtime. A transport whose error
leaves no margin is not used: float16 gives way to float32, float32 to the host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.runtime.check import compare, tolerance
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.inner_link import InnerLink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import HostKernels
    from cocoi_cli.runtime.report import AnyArray

# Which agents answer first decides the noise gain, and a rehearsal sees one history of many: the
# largest error over random histories was at most 2.4 times that of the rehearsal (tests/system).
MARGIN = 3.0
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
        outputs = await _rehearse(plan, cut(plan), kernels, tensors)
        report = compare(outputs, reference, asked)
        worst, used = max(
            ((found, found / tolerance(reference[name], asked)) for name, found in report.per_output.items()),
            key=lambda pair: pair[1],
            default=(0.0, 0.0),
        )
        if used * MARGIN <= 1.0 and report.top1_equal is not False:
            return plan
        if plan.transport == "f16":
            plan = plan.in_float32(f"float32, as float16 would err by {worst:.0e}")
        else:
            plan = plan.all_local(f"mixing would err by {worst:.0e}, the budget is {report.tolerance / MARGIN:.0e}")
    return plan


async def _rehearse(
    plan: Plan, network: Network, kernels: HostKernels, tensors: Mapping[str, AnyArray]
) -> Mapping[str, AnyArray]:
    coordinator = Coordinator(kernels)
    links = [InnerLink(f"inner-{index + 1}", coordinator, kernels) for index in range(plan.n)]
    coordinator.attach(links)
    programs = {layer: layer for layer in plan.distributed}  # an inner agent may call its programs what it likes
    for link in links:
        link.load(network, programs)
    job = Job(network=network, plan=plan, programs=programs, tensors=tensors, deadline_s=REHEARSAL_S)
    return (await coordinator.run(job)).outputs
