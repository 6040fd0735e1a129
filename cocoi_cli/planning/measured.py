"""Devices whose times are drawn as they were measured: the alternative to shift-exponential phases. Pure.

Means stay those of the model; only how durations spread about them is the samples' own.

Source: docs/simulation.md, "What is modelled".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cocoi_cli.planning.fleet_fit import compute_ratios, link_seconds
from cocoi_cli.planning.fleet_model import Spreads
from cocoi_cli.planning.quantile_table import Empirical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.planning.fleet_model import DeviceModel
    from cocoi_cli.planning.profile import DeviceProfile


def as_measured(model: DeviceModel, profile: DeviceProfile) -> DeviceModel:
    """The same device, drawn from the samples that its model was fitted to.

    Args:
        model: From `fleet_fit.device_model` of this profile.
        profile: With computing and a link.
    """
    if profile.compute is None or profile.link is None:
        return model
    link = profile.link
    compute, send, receive = compute_ratios(profile.compute), link_seconds(link, "up"), link_seconds(link, "down")
    return replace(model, spreads=Spreads(_spread(compute), _spread(send), _spread(receive)))


def _spread(durations: Sequence[float]) -> Empirical:
    """Durations by their mean; constant where there is none."""
    table = Empirical.of(durations or [1.0])
    return Empirical(tuple(value / table.mean for value in table.values))
