"""Why a layer is computed as it is, in words that fit a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.planning.defaults import SMALLEST_MACS
from cocoi_cli.planning.estimates import COMPUTE
from cocoi_cli.planning.plan import FUSED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.planning.options import Option


def stage_reason(option: Option, host_s: float) -> str:
    """Why agents compute it: how much quicker than the host they are, and what decides the time."""
    limit = COMPUTE if option.estimate is None else option.estimate.limit
    decided = f"{limit} decides"
    if option.mean <= 0:
        return decided
    return f"{host_s / option.mean:.1f} x quicker; {decided}"


def kept_reason(layer: ConvLayer, others: Sequence[Option]) -> str:
    """Why the host keeps a layer: what stands in the way, or what agents would take."""
    if layer.obstacle is not None:
        return layer.obstacle
    if layer.spec is None or not layer.output_shape:
        return "unknown shape"
    if layer.macs < SMALLEST_MACS:
        return f"{layer.macs / 1e6:.2f} MMAC: too small to cut"
    best = next((each for each in others if each.candidate is not None), None)
    if best is None:
        return "no code, and no device's memory, fits"
    limit = COMPUTE if best.estimate is None else best.estimate.limit
    return f"agents would take {milliseconds(best.mean)}; {limit} decides"


def option_words(option: Option) -> str:
    """An option and its time: `coded (10,8), 4 strips, f16: 81 ms`."""
    chosen = option.candidate
    if chosen is None:
        return f"this machine: {milliseconds(option.mean)}"
    if chosen.scheme in {FUSED, "hedged"}:
        what = f"{chosen.scheme}, {chosen.strips} tiles on {chosen.n}"
    else:
        strips = "" if chosen.strips == 1 else f", {chosen.strips} strips"
        what = f"{chosen.scheme} ({chosen.n},{chosen.k}){strips}"
    types = chosen.transport if chosen.transport == chosen.reply else f"{chosen.transport}/{chosen.reply}"
    host = " with this machine" if chosen.host else ""
    return f"{what}, {types}{host}: {milliseconds(option.mean)}"


def milliseconds(seconds: float) -> str:
    """`0.8 ms`, `81 ms`, `2.4 s`."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
