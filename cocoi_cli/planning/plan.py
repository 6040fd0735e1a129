"""The plan: the frozen, readable decision for every stage."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConvPlan:
    """The decision for one conv layer.

    Attributes:
        layer: Name of the layer (`ConvLayer.name`).
        scheme: `local`, or the name of a code family (`coded`, `uncoded`, `replication`, ...).
        n: Shares per codeword; 0 where the layer stays local.
        k: Pieces; 0 where the layer stays local.
        axis: Axis of the activation that is cut (2 is height); 0 where local.
        strips: Strips per piece, each its own codeword; 0 where local.
        transport: `f16` or `f32`.
        reason: Why, in words a user reads in the stage table.
    """

    layer: str
    scheme: str
    n: int
    k: int
    axis: int
    strips: int
    transport: str
    reason: str

    @property
    def distributed(self) -> bool:
        """Whether agents compute this layer."""
        return self.scheme != "local"


@dataclass(frozen=True, slots=True)
class Plan:
    """One decision per conv layer, in the order of the graph.

    `n` and `k` are the request for the whole network; single layers may differ.
    """

    scheme: str
    n: int
    k: int
    transport: str
    layers: tuple[ConvPlan, ...]

    @property
    def distributed(self) -> frozenset[str]:
        """Names of the layers that agents compute."""
        return frozenset(layer.layer for layer in self.layers if layer.distributed)
