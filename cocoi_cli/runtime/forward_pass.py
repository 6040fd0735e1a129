"""One pass through a network: stage after stage, each tensor kept until its last reader."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.registry import traits
from cocoi_cli.model.network import ConvStage, LocalStage
from cocoi_cli.runtime.driving import ActiveStage, KeptStage
from cocoi_cli.runtime.events import Codeword
from cocoi_cli.runtime.host_share import HOST
from cocoi_cli.runtime.inference import StageRow, local_reason
from cocoi_cli.runtime.outputs import arrays_of
from cocoi_cli.runtime.work import compute_convolution
from cocoi_cli.runtime.working import begin_work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cocoi_cli.model.network import FusedStage
    from cocoi_cli.planning.plan import ConvPlan, SegmentPlan
    from cocoi_cli.runtime.blocks import Blocks
    from cocoi_cli.runtime.driving import Driver
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.inference import Inference
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.spares import Evidence
    from cocoi_cli.runtime.works import DistributedStage


class ForwardPass:
    """The stages of one inference, in order: local ones in a thread, the others through the driver."""

    def __init__(
        self, inference: Inference, driver: Driver, kernels: Kernels, blocks: Blocks, clock: Callable[[], float]
    ) -> None:
        """Begin with the inputs of the job.

        Args:
            inference: What is run; rows of stages that have ended are added to it, and what verifying them takes.
            driver: Has codewords computed.
            kernels: What the host computes with.
            blocks: Where the memory of strips and outputs comes from and goes back to.
            clock: Monotonic seconds.
        """
        job = inference.job
        self._inference, self._job, self._network = inference, job, job.network
        self._driver, self._kernels, self._blocks, self._clock = driver, kernels, blocks, clock
        self._layers = {layer.layer: layer for layer in job.plan.layers}
        self._segments = {segment.name: segment for segment in job.plan.segments}
        self._tensors: dict[str, AnyArray] = dict(job.tensors)
        self._lent: set[str] = set()  # outputs whose memory is ours to use again
        self._distributed = 0  # stages so far

    async def run(self) -> dict[str, AnyArray]:
        """Go through all stages; return the outputs of the network.

        Raises:
            LocalStageError: ONNX Runtime failed on the host; beside it all that `Driver.drive` raises.
        """
        for index, stage in enumerate(self._network.stages):
            if isinstance(stage, LocalStage):
                await self._run_local(index, stage)
            else:
                await self._run_distributed(index, stage)
                self._distributed += 1
            self._let_go(index)
        return arrays_of({info.name: self._tensors[info.name] for info in self._network.model.outputs})

    async def _run_local(self, index: int, stage: LocalStage) -> None:
        inference = self._inference
        inference.began(index, stage.name, "local", 0)
        start = self._clock()
        inputs = {name: self._tensors[name] for name in stage.inputs}
        self._tensors.update(await asyncio.to_thread(self._kernels.run_stage, stage, inputs))
        end = self._clock()
        inference.timeline.host("local", start, end, stage=stage.name)
        inference.finish(index, StageRow(stage.name, local_reason(stage, self._layers), end - start, None))

    async def _run_distributed(self, index: int, stage: ConvStage | FusedStage) -> None:
        start, inference = self._clock(), self._inference
        x, plan = self._tensors[stage.input], self._plan_of(stage)
        if x.shape != stage.input_shape and isinstance(stage, ConvStage):
            await self._convolve(index, stage, x, start)
            return
        observe, verify = self._job.observe, self._job.verify > 0
        shown = stage if observe is None else stage.bare  # whoever observes is shown raw sums
        work = begin_work(shown, plan, x, self._blocks, keep_input=verify)
        inference.began(index, stage.name, work.kind, work.strips)
        reason = work.reason
        if work.is_sendable:
            await self._distribute(index, work, host=plan.host)
            output = work.hand_over()
            if observe is None and not verify:
                self._lent.add(stage.output)
        else:
            reason = _misfit(x, stage) or "on the host: its input is not finite, or beyond what float16 holds"
            work.counts.host += work.strips
            output = await asyncio.to_thread(work.whole, self._kernels)
        if observe is not None:
            observe(stage.name, output)
            output = stage.finish.of(output)
        self._tensors[stage.output] = output
        end = self._clock()
        inference.timeline.host("stage", start, end, stage=stage.name)
        inference.finish(index, StageRow(stage.name, reason, end - start, work))

    async def _convolve(self, index: int, stage: ConvStage, x: AnyArray, start: float) -> None:
        """Compute a stage on the host: the graph's own sizes depend on values, and no strip would fit."""
        self._inference.began(index, stage.name, "conv", 0)
        self._tensors[stage.output] = await asyncio.to_thread(compute_convolution, stage, x, self._kernels)
        self._inference.finish(index, StageRow(stage.name, _misfit(x, stage), self._clock() - start, None))

    async def _distribute(self, index: int, work: DistributedStage, *, host: bool) -> None:
        """Have the codewords of a stage computed, by the host too if the plan says so."""
        inference, driver, programs = self._inference, self._driver, self._job.programs[work.name]
        homes = (*inference.homes[: work.n - host], *((HOST,) if host else ()))
        numbers = driver.reserve(work.strips)
        kept: dict[int, Evidence] | None = {} if self._job.verify else None
        stage = ActiveStage(index, self._distributed, work, programs, numbers[0], kept)
        driver.include_host(wanted=host)
        await driver.drive(stage, _codewords(work, numbers, homes, inference))
        if kept is not None:
            inference.kept.append(KeptStage(index, work, programs, homes, kept))

    def _plan_of(self, stage: ConvStage | FusedStage) -> ConvPlan | SegmentPlan:
        return self._segments[stage.name] if stage.name in self._segments else self._layers[stage.name]

    def _let_go(self, index: int) -> None:
        """Forget tensors that no later stage reads; give the memory of those that are ours back."""
        last_use = self._network.last_use
        for name in [name for name in self._tensors if name in last_use and last_use[name] <= index]:
            array = self._tensors.pop(name)
            if name in self._lent:
                self._use_again(array)

    def _use_again(self, array: AnyArray) -> None:
        """Give a block back, unless a later tensor is a view of it."""
        others: Iterable[object] = self._tensors.values()  # local stages may also make lists
        if not any(isinstance(kept, np.ndarray) and np.may_share_memory(array, kept) for kept in others):
            self._blocks.give(array)


def _codewords(
    work: DistributedStage, numbers: Sequence[int], homes: tuple[str, ...], inference: Inference
) -> tuple[Codeword, ...]:
    """One for each strip, all of one group; the scheme says how they are to be treated."""
    wish = traits(work.scheme)
    return tuple(
        Codeword(
            id=number,
            group=numbers[0],
            order=strip,
            strips=work.strips,
            code=work.code,
            homes=homes,
            requests=frozenset({inference.request}),
            fallback=inference.job.fallback,
            eager=wish.eager,
            patient=wish.patient,
        )
        for strip, number in enumerate(numbers)
    )


def _misfit(x: AnyArray, stage: ConvStage | FusedStage) -> str:
    """That the input has another size than was planned; empty where it has that size."""
    if x.shape == stage.input_shape:
        return ""
    return f"its input is {_sizes(x.shape)} where {_sizes(stage.input_shape)} was planned"


def _sizes(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
