"""The number of pieces that CoCoI would choose for a layer, and the one that is best by the exact model. Pure.

Both are of the paper's own scheme: whole tensors, n shares sent at once, decoded from the first k. They stand
beside the planner's choice so that they can be compared; nothing is decided by them.

Source: CoCoI (arXiv 2501.06856); docs/methods.md, the latency model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cocoi_cli.model.weights import FLOAT
from cocoi_cli.planning.estimates import compute_phase
from cocoi_cli.planning.fleet_model import Phase
from cocoi_cli.planning.loads import whole
from cocoi_cli.planning.surrogate import Geometry, Phases, best_by_surrogate, best_exact

if TYPE_CHECKING:
    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.planning.fleet_model import DeviceModel, FleetModel

ROWS_AXIS = 2


@dataclass(frozen=True, slots=True)
class BestK:
    """Two choices of k for the paper's scheme.

    Attributes:
        n: Shares.
        exact: k*, least expected latency by the exact order statistics of devices that differ.
        surrogate: k°, least by the paper's convex surrogate, for devices alike that are as these are on average.
    """

    n: int
    exact: int
    surrogate: int


def best_k(layer: ConvLayer, fleet: FleetModel) -> BestK | None:
    """The choices for a layer with all devices of a fleet; None where it cannot be cut or there is no device."""
    if layer.obstacle is not None or not fleet.devices:
        return None
    try:
        geometry = Geometry.of(layer, ROWS_AXIS)
    except ValueError:
        return None
    each = [_phases(layer, device, fleet) for device in fleet.devices]
    n = len(each)
    usual = Phases(
        each[0].code,
        _average([one.send for one in each]),
        _average([one.compute for one in each]),
        _average([one.receive for one in each]),
    )
    return BestK(
        n, best_exact(geometry, each if len(set(each)) > 1 else usual, n), best_by_surrogate(geometry, usual, n)
    )


def _phases(layer: ConvLayer, device: DeviceModel, fleet: FleetModel) -> Phases:
    """Of one device: n answers share the host's network card, so none is quicker than its part of it."""
    shift, excess = compute_phase(device, whole(layer))
    host, n = fleet.host, len(fleet.devices)
    return Phases(
        code=Phase(FLOAT / host.pass_bytes_per_s, 0.0),
        send=_at_least(device.send, n / host.nic_up),
        compute=Phase(shift, excess).scaled(1 / max(layer.macs, 1)),
        receive=_at_least(device.receive, n / host.nic_down),
    )


def _at_least(phase: Phase, seconds: float) -> Phase:
    return Phase(max(phase.shift_s, seconds), phase.excess_s)


def _average(phases: list[Phase]) -> Phase:
    count = len(phases)
    return Phase(sum(each.shift_s for each in phases) / count, sum(each.excess_s for each in phases) / count)
