"""Figures of a cell of the benchmark: quantiles, and ratios with an interval. Pure.

A cell holds few and skewed latencies, so nothing here assumes a distribution. A ratio compares
two rows that were measured in turns: the bootstrap draws whole repetitions, so that a slow minute
of the machine, which hits both, does not count as a difference.

Source: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, ch. 13 (percentile interval).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95
FEWEST_PAIRS: Final = 5  # with fewer, resampling says more about chance than about the rows
FEWEST_FOR_P95: Final = 20  # below, the quantile is the largest value
FEWEST_FOR_P99: Final = 500  # five values lie beyond it


@dataclass(frozen=True, slots=True)
class Ratio:
    """One row's quantile over the baseline's.

    Attributes:
        value: Of all pairs.
        low, high: Ends of the 95 % interval; None where the pairs are too few for one.
        pairs: Repetitions in which both rows answered.
    """

    value: float
    low: float | None
    high: float | None
    pairs: int

    @property
    def is_certain(self) -> bool:
        """Whether the interval lies wholly on one side of 1."""
        return self.low is not None and self.high is not None and (self.high < 1 or self.low > 1)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which `share` of the values lie, interpolated; None of no values."""
    return float(np.quantile(values, share)) if len(values) else None


def median(values: Sequence[float]) -> float | None:
    """The middle value; None of no values."""
    return quantile(values, 0.5)


def tail(values: Sequence[float], share: float) -> float | None:
    """A quantile beyond the median, where there are enough values for it; else None.

    Args:
        values: Latencies in seconds.
        share: 0.95 or 0.99.
    """
    needed = FEWEST_FOR_P95 if share <= 0.95 else FEWEST_FOR_P99
    return quantile(values, share) if len(values) >= needed else None


def paired_ratio(
    values: Sequence[float | None],
    baseline: Sequence[float | None],
    *,
    seed: int,
    share: float = 0.5,
    resamples: int = RESAMPLES,
) -> Ratio | None:
    """Quantile of `values` over the same quantile of `baseline`, both measured in the same repetitions.

    Args:
        values: One per repetition, seconds; None where the row gave no answer.
        baseline: Likewise and as long.
        seed: Of the resampling: equal figures give an equal interval.
        share: Which quantile; 0.5 is the median.
        resamples: How often repetitions are drawn anew, with replacement.

    Returns:
        None where no repetition has both.
    """
    pairs = [(a, b) for a, b in zip(values, baseline, strict=True) if a is not None and b is not None and b > 0]
    if not pairs:
        return None
    ours, theirs = (np.array(side, dtype=np.float64) for side in zip(*pairs, strict=True))
    value = float(np.quantile(ours, share) / np.quantile(theirs, share))
    if len(pairs) < FEWEST_PAIRS:
        return Ratio(value, None, None, len(pairs))
    low, high = _interval(ours, theirs, seed, share, resamples)
    return Ratio(value, low, high, len(pairs))


def _interval(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], seed: int, share: float, resamples: int
) -> tuple[float, float]:
    drawn = np.random.default_rng(seed).integers(0, len(ours), (resamples, len(ours)))
    ratios = np.quantile(ours[drawn], share, axis=1) / np.quantile(theirs[drawn], share, axis=1)
    rest = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, (rest, 1 - rest))
    return float(low), float(high)
