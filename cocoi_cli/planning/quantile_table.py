"""The distribution of measured durations, as they are: no shape is assumed. Pure.

Source: docs/methods.md, the latency model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.planning.distributions import Array, Hypoexponential, Mixture, check_order

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_TABLE: Final = 256
"""Values that a table of measured durations keeps; more are averaged, neighbour with neighbour."""

ATOMS: Final = 32  # that stand for a table of measured durations in a sum


@dataclass(frozen=True, slots=True)
class Empirical:
    """Measured durations as a table of quantiles, linear between neighbours.

    Attributes:
        values: Ascending, at least one; value j of m is the quantile of order (j + 1/2) / m, and the ends are
            flat, so that the mean of the distribution is the mean of the values.

    Raises:
        ValueError: If there is no value, or they do not ascend from at least 0.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or self.values[0] < 0 or any(np.diff(self.values) < 0):
            raise ValueError("a table of durations has at least one, and ascends from 0 or more")

    @classmethod
    def of(cls, durations: Sequence[float], largest: int = LARGEST_TABLE) -> Empirical:
        """The table of some durations, in any order; its mean is theirs.

        Raises:
            ValueError: Without any.
        """
        ordered = np.sort(np.asarray(durations, np.float64))
        if ordered.size > largest:
            sums = np.concatenate([[0.0], np.cumsum(ordered)])
            ends = np.linspace(0.0, ordered.size, largest + 1)
            ordered = np.diff(np.interp(ends, np.arange(ordered.size + 1), sums)) * largest / ordered.size
            ordered = np.maximum.accumulate(ordered)  # what rounding may have put out of order
        return cls(tuple(ordered.tolist()))

    @property
    def mean(self) -> float:
        """Mean in seconds."""
        return math.fsum(self.values) / len(self.values)

    @property
    def start(self) -> float:
        """The least duration."""
        return self.values[0]

    @property
    def kinks(self) -> tuple[float, ...]:
        """Every value."""
        return self.values

    def cdf(self, times: Array) -> Array:
        """P(T ≤ t)."""
        values, orders = self._table()
        return np.interp(times, values, orders, left=0.0)

    def quantile(self, q: float) -> float:
        """The inverse of `cdf`."""
        check_order(q)
        place = q * len(self.values) - 0.5
        if place <= 0:
            return self.values[0]
        low = int(place)
        if low + 1 >= len(self.values):
            return self.values[-1]
        return self.values[low] + (place - low) * (self.values[low + 1] - self.values[low])

    def bound(self, doubt: float) -> float:
        """The quantile."""
        return self.quantile(1 - doubt) if doubt < 1 else self.start

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        """`count` independent draws."""
        values, orders = self._table()
        return np.interp(rng.random(count), orders, values)

    def plus(self, other: Hypoexponential) -> Mixture:
        """The sum with a time that is independent of it; the table is stood for by a few atoms of its mean."""
        atoms = Empirical.of(self.values, ATOMS).values
        parts = tuple(Hypoexponential(other.shift + atom, other.excesses) for atom in atoms)
        return Mixture((1 / len(parts),) * len(parts), parts)

    def _table(self) -> tuple[Array, Array]:
        count = len(self.values)
        values = np.array((self.values[0], *self.values, self.values[-1]))
        return values, np.concatenate([[0.0], (np.arange(count) + 0.5) / count, [1.0]])
