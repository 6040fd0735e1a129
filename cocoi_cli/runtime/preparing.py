"""What is made once per model, size and plan, and kept for the next inference."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import UsageError
from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.network import LocalStage
from cocoi_cli.model.segments import find_segments
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut
from cocoi_cli.model.tiles import fuse
from cocoi_cli.runtime.loading import loading_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.network import FusedStage, LoadedModel, Network
    from cocoi_cli.model.segments import Segment
    from cocoi_cli.planning.plan import Plan, SegmentPlan
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.loading import Loading

MOST_CUTS: Final = 16  # of one model: the local stages of each may hold weights


class UnknownSegmentError(UsageError):
    """A plan names a segment that the model does not have at this size."""

    code: ClassVar[str] = "unknown-segment"

    def __init__(self, segment: str, model: str) -> None:
        super().__init__(f"the model `{model}` has no segment `{segment}`", segment=segment, model=model)


@dataclass(frozen=True, slots=True)
class Cut:
    """A model cut by a plan, and what agents must hold for it."""

    network: Network
    loading: Loading


class Preparations:
    """One model at one size at a time, cut by a few plans; to be used from one thread at a time."""

    def __init__(self, kernels: Kernels) -> None:
        """Nothing is prepared; `kernels` open the sessions of local stages."""
        self._kernels = kernels
        self._key: tuple[object, ...] = ()
        self._prepared: Prepared | None = None
        self._segments: tuple[Segment, ...] | None = None
        self._cuts: dict[Plan, Cut] = {}

    def prepare(self, model: LoadedModel, shapes: Mapping[str, tuple[int, ...]]) -> Prepared:
        """The model folded and measured at these input shapes.

        Raises:
            ModelError: See `find_layers`.
        """
        key = (model.sha256, *sorted(shapes.items()))
        if self._prepared is None or key != self._key:
            self._kernels.forget_stages()
            self._cuts.clear()
            self._segments = None
            self._prepared, self._key = find_layers(model, resolve_input_shapes(model, shapes)), key
        return self._prepared

    def segments(self) -> tuple[Segment, ...]:
        """Everything in the prepared model that agents can compute tile by tile."""
        assert self._prepared is not None  # noqa: S101 - `prepare` comes first
        if self._segments is None:
            self._segments = find_segments(self._prepared)
        return self._segments

    def cut(self, plan: Plan) -> Cut:
        """The prepared model cut by a plan, the sessions of its local stages open.

        Raises:
            UnknownSegmentError: The plan has a segment that the model has not.
            UsageError: See `stages.cut`.
        """
        assert self._prepared is not None  # noqa: S101 - `prepare` comes first
        found = self._cuts.pop(plan, None)
        if found is None:
            fused = [self._fuse(self._prepared, segment) for segment in plan.segments]
            network = self._shared(cut(self._prepared, plan.distributed, fused))
            found = Cut(network, loading_of(network, plan))
        self._cuts[plan] = found  # the latest last
        while len(self._cuts) > MOST_CUTS:
            self._drop(next(iter(self._cuts)))
        for stage in _local(found.network):
            self._kernels.open_stage(stage)
        return found

    def _drop(self, plan: Plan) -> None:
        """Let go of a cut, and of the sessions of local stages that no other has."""
        gone = self._cuts.pop(plan)
        kept = {stage.model for cut in self._cuts.values() for stage in _local(cut.network)}
        for stage in _local(gone.network):
            if stage.model not in kept:
                self._kernels.forget_stage(stage)

    def _shared(self, network: Network) -> Network:
        """The same network; local stages that another plan has too are one object.

        Kernels find sessions by these bytes. Equal ones that are not the same are compared to the last at every look:
        half a gigabyte, 88 ms of each inference of VGG16 where a second plan ends with the same dense layers.
        """
        known = {stage.model: stage.model for cut in self._cuts.values() for stage in _local(cut.network)}
        return replace(
            network,
            stages=tuple(
                replace(stage, model=known.get(stage.model, stage.model)) if isinstance(stage, LocalStage) else stage
                for stage in network.stages
            ),
        )

    def _fuse(self, prepared: Prepared, plan: SegmentPlan) -> FusedStage:
        for segment in self.segments():
            if (segment.layers, segment.input, segment.output) == (plan.layers, plan.input, plan.output):
                return fuse(prepared, segment, plan.tiles, plan.transport, plan.answers)
        raise UnknownSegmentError(plan.name, prepared.model.name)


def _local(network: Network) -> list[LocalStage]:
    return [stage for stage in network.stages if isinstance(stage, LocalStage)]
