"""The plan: the frozen, readable decision for every stage."""

from __future__ import annotations

from dataclasses import dataclass, replace


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

    def in_float32(self, note: str) -> Plan:
        """The same plan with float32 on the wire; `note` is added to each distributed layer's reason."""
        layers = tuple(
            replace(layer, transport="f32", reason=f"{layer.reason}; {note}") if layer.distributed else layer
            for layer in self.layers
        )
        return replace(self, transport="f32", layers=layers)

    def all_local(self, note: str) -> Plan:
        """Nothing distributed; `note` becomes the reason of each layer that was."""
        layers = tuple(
            ConvPlan(layer.layer, "local", 0, 0, 0, 0, layer.transport, note) if layer.distributed else layer
            for layer in self.layers
        )
        return replace(self, layers=layers)
