"""The plan: the frozen, readable decision for every stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

AUTO: Final = "auto"
"""Asked for in place of a scheme: the planner decides."""

LOCAL: Final = "local"
FUSED: Final = "fused"
"""Scheme of a layer that is computed inside a segment."""


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """The decision for one conv layer.

    Attributes:
        layer: Name of the layer (`ConvLayer.name`).
        scheme: `local`, `fused` (it is computed inside a segment), or the name of a code family.
        n: Shares per codeword, those of the host included; 0 where the layer is not a stage of its own.
        k: Pieces, or answers that suffice, as the code family means it; 0 likewise.
        axis: Axis of the activation that is cut (2 is height); 0 likewise.
        strips: Strips per piece, each its own codeword; 0 likewise.
        transport: What shares travel as, `f16` or `f32`.
        reason: Why, in words a user reads in the stage table.
        reply: What answers travel as, `f16` or `f32`; empty: as shares do.
        host: Whether the host computes a share too: the last of the n.
        filters: Groups of output channels that the code mixes (`fcdcc`: k_B); 1 for codes on the input alone.
        segment: Name of the segment that computes the layer; empty where none does.
        seconds: Predicted latency; None where nothing was predicted.
        runner_up: The next best decision and its prediction, in words; empty where there is none.
    """

    layer: str
    scheme: str
    n: int
    k: int
    axis: int
    strips: int
    transport: str
    reason: str
    reply: str = ""
    host: bool = False
    filters: int = 1
    segment: str = ""
    seconds: float | None = None
    runner_up: str = ""

    @property
    def distributed(self) -> bool:
        """Whether the layer is a stage of its own that agents compute."""
        return self.scheme not in (LOCAL, FUSED)

    @property
    def answers(self) -> str:
        """What answers travel as."""
        return self.reply or self.transport


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """The decision for a run of layers that agents compute as one, tile by tile, without a code.

    A tile is a run of rows of the segment's output with all that it needs of the input. Tiles are pulled from
    a queue, and those of late holders are given out again.

    Attributes:
        name: Unique in the plan: its first and last layer.
        layers: The conv layers inside, in the order of the graph.
        input: Tensor that is cut.
        output: Tensor that the tiles are joined to.
        tiles: How many.
        n: Agents that may take tiles, the host included.
        transport: What tiles travel as, `f16` or `f32`.
        reason: Why, in words a user reads in the stage table.
        reply: What answers travel as; empty: as tiles do.
        host: Whether the host takes tiles too.
        seconds: Predicted latency; None where nothing was predicted.
        runner_up: The next best decision and its prediction, in words; empty where there is none.
    """

    name: str
    layers: tuple[str, ...]
    input: str
    output: str
    tiles: int
    n: int
    transport: str
    reason: str
    reply: str = ""
    host: bool = False
    seconds: float | None = None
    runner_up: str = ""

    @property
    def answers(self) -> str:
        """What answers travel as."""
        return self.reply or self.transport


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a planner expects, in seconds.

    Attributes:
        objective: What is predicted: `mean`, or a quantile such as `p95`.
        latency_s: Of one inference by the plan.
        local_s: Of the unmodified model on the host alone.
        device: The fastest device for the whole model.
        device_s: Of the unmodified model on it, picture and answer travelling; None where none can hold it.
        round_robin_s: Seconds per picture when whole pictures go to all devices in turn; None likewise.
    """

    objective: str
    latency_s: float
    local_s: float
    device: str
    device_s: float | None
    round_robin_s: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision per conv layer, in the order of the graph, and the segments that some of them are part of.

    `n` and `k` are the request for the whole network; single layers may differ. `agents` are the names of those
    that are given shares first, in order; empty: all, in the order of the fleet.
    """

    scheme: str
    n: int
    k: int
    transport: str
    layers: tuple[ConvPlan, ...]
    segments: tuple[SegmentPlan, ...] = ()
    agents: tuple[str, ...] = ()
    prediction: Prediction | None = None

    @property
    def distributed(self) -> frozenset[str]:
        """Names of the layers that are stages of their own, computed by agents."""
        return frozenset(layer.layer for layer in self.layers if layer.distributed)

    @property
    def uses_host(self) -> bool:
        """Whether the host computes shares beside the agents."""
        return any(layer.host for layer in self.layers) or any(segment.host for segment in self.segments)

    @property
    def is_local(self) -> bool:
        """Whether agents have no part in it: then the unmodified model runs on the host."""
        return not self.segments and not self.distributed

    def in_float32(self, note: str) -> Plan:
        """The same plan with float32 on the wire; `note` is added to the reason of each stage that agents compute."""
        layers = tuple(
            replace(layer, transport="f32", reply="", reason=f"{layer.reason}; {note}") if layer.distributed else layer
            for layer in self.layers
        )
        segments = tuple(
            replace(segment, transport="f32", reply="", reason=f"{segment.reason}; {note}") for segment in self.segments
        )
        return replace(self, transport="f32", layers=layers, segments=segments)

    def all_local(self, note: str) -> Plan:
        """Nothing distributed; `note` becomes the reason of each layer that was."""
        layers = tuple(
            layer if layer.scheme == LOCAL else ConvPlan(layer.layer, LOCAL, 0, 0, 0, 0, layer.transport, note)
            for layer in self.layers
        )
        return replace(self, layers=layers, segments=())
