"""How well measured durations are described by the planner's distribution: sentences, and a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.planning.goodness import fits, misfits

if TYPE_CHECKING:
    from cocoi_cli.planning.profile import DeviceProfile

_WORDS: Final = {"compute": "computing", "up": "the link up", "down": "the link down"}


def fit_remarks(name: str, measured: DeviceProfile) -> list[str]:
    """A sentence on what of a device is not shift-exponential; none where everything may well be."""
    found = [f"{_WORDS[part]} {fit.ks_distance:.2f} off" for part, fit in misfits(measured).items()]
    return [f"{name}: not shift-exponential: {', '.join(found)}"] if found else []


def fits_document(measured: DeviceProfile) -> dict[str, dict[str, Any]]:
    """Every fit of a device as JSON has it, by `compute`, `up` and `down`.

    Seconds are those of a piece of work that takes one second on average, and of a byte on a link.
    """
    return {
        part: {
            "shift_s": fit.phase.shift_s,
            "excess_s": fit.phase.excess_s,
            "samples": fit.n,
            "method": fit.method,
            "ks_distance": fit.ks_distance,
            "ks_limit": fit.limit,
            "acceptable": fit.acceptable,
        }
        for part, fit in fits(measured).items()
    }
