"""From measured durations to a phase: shift-exponential, with its goodness of fit. Pure.

The paper's estimate takes the shift from the shortest duration. One burst (a device under a CPU quota computes
what it has saved up at full speed) makes that useless: the shift falls to the burst and the rest becomes noise
that is not there. So a second estimate from mean and deviation is made too, and the one whose distribution is
nearer to the samples is taken. Both have the mean of the samples, which no burst can bend.

Notation: `theta` the shift and `1/mu` the excess per unit of size, as in the paper; `D` the Kolmogorov-Smirnov
distance.

Source: CoCoI (arXiv 2501.06856), docs/methods.md, the latency model; the bound on D for an exponential with
estimated mean: Stephens, in D'Agostino and Stephens, Goodness-of-fit techniques (1986), and by simulation in the tests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from cocoi_cli.planning.distributions import Array, ShiftExponential
from cocoi_cli.planning.fleet_model import Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

Method = Literal["least", "moments", "none"]

FEW: Final = 5
"""Below so many durations no fit is judged: every one of them would pass."""

_LIMIT: Final = 1.094  # 5 % point of Stephens' modified D
_SAME: Final = 1e-9  # relative spread of durations that are called constant


@dataclass(frozen=True, slots=True)
class Fit:
    """A shift-exponential phase and how well it describes what was measured.

    Attributes:
        phase: Seconds per unit of size; its mean is the mean of the samples.
        ks_distance: Largest difference of the two distribution functions; 0 for constant samples, 1 without any.
        n: Number of samples.
        acceptable: Whether samples of such a phase would be as far off in one of 20 cases or more; True for
            constant samples, False where there are fewer than `FEW`.
        limit: The largest distance that is acceptable; 0 where nothing was judged.
        method: `least`, the paper's; `moments`, from mean and deviation; `none` without samples.
    """

    phase: Phase
    ks_distance: float
    n: int
    acceptable: bool
    limit: float = 0.0
    method: Method = "least"


def fit_rates(values: Sequence[float]) -> Fit:
    """Fit a phase to durations that are divided by their sizes.

    Args:
        values: Seconds per unit, at least 0, in any order and number; without any, the phase takes no time and is not
            acceptable.
    """
    if not values:
        return Fit(Phase(0.0, 0.0), 1.0, 0, acceptable=False, method="none")
    ordered = np.sort(np.asarray(values, np.float64))
    mean, least = math.fsum(values) / len(values), float(ordered[0])
    if ordered[-1] - least <= _SAME * mean:
        return Fit(Phase(mean, 0.0), 0.0, len(values), acceptable=len(values) >= FEW)
    deviation = min(float(ordered.std()), mean)
    phases: dict[Method, Phase] = {
        "least": Phase(min(least, mean), max(mean - least, 0.0)),
        "moments": Phase(mean - deviation, deviation),
    }
    distances = {method: ks_distance(ordered, phase) for method, phase in phases.items()}
    limit = ks_limit(len(values))
    best: Method = "least" if distances["least"] <= max(limit, distances["moments"]) else "moments"
    acceptable = len(values) >= FEW and distances[best] <= limit
    return Fit(phases[best], distances[best], len(values), acceptable, limit, best)


def ks_distance(ordered: Array, phase: Phase) -> float:
    """Largest difference between the distribution function of ascending values and that of a phase of size 1."""
    expected = ShiftExponential(phase.shift_s, phase.excess_s).cdf(ordered)
    steps = np.arange(ordered.size + 1) / ordered.size
    return float(max(np.max(steps[1:] - expected), np.max(expected - steps[:-1])))


def ks_limit(n: int) -> float:
    """The distance that samples of a shift-exponential exceed in one of 20 cases, shift and mean being estimated.

    Beyond its least value the sample is one of n - 1 plain exponential times, for which Stephens' bound holds.
    It is a little generous to small samples: 3 % instead of 5 % are beyond it at n = 5, 4.5 % at n = 100.
    """
    m = max(n - 1, 1)
    root = math.sqrt(m)
    return min(_LIMIT / (root + 0.26 + 0.5 / root) + 0.2 / m, 1.0)
