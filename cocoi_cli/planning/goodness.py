"""How well a shift-exponential phase describes each thing that was measured of a device. Pure.

Source: docs/methods.md, "Fitting".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.planning.fitting import FEW
from cocoi_cli.planning.fleet_fit import compute_fit, link_fit

if TYPE_CHECKING:
    from cocoi_cli.planning.fitting import Fit
    from cocoi_cli.planning.profile import DeviceProfile


def fits(measured: DeviceProfile) -> dict[str, Fit]:
    """The fit of each phase that was measured: `compute`, `up` (to the device) and `down`.

    The phase of computing is that of a piece of work which takes a second on average; those of a link are per byte.
    """
    found: dict[str, Fit] = {}
    if measured.compute is not None and any(each.samples.seconds for each in measured.compute.convolutions):
        found["compute"] = compute_fit(measured.compute)
    if measured.link is not None:
        found |= {way: link_fit(measured.link, way) for way in ("up", "down")}
    return {name: fit for name, fit in found.items() if fit.n}


def misfits(measured: DeviceProfile) -> dict[str, Fit]:
    """Those of `fits` that samples of their phase would hardly be so far from; too few samples prove nothing."""
    return {name: fit for name, fit in fits(measured).items() if fit.n >= FEW and not fit.acceptable}
