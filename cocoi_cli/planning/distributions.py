"""Distributions of times: of one phase, of a share with all its phases. Pure.

All are frozen records that can be compared and hashed. Randomness is an argument.

Source: CoCoI (arXiv 2501.06856), the shift-exponential phase; docs/methods.md, the latency model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from cocoi_cli.planning.exponential_sums import cdf_of_sum, partial_fractions

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.planning.fleet_model import DeviceModel, Phase

Array = NDArray[np.float64]

_POINTS: Final = 65  # of a bracket that is looked at at once
_ROUNDS: Final = 4  # 64 ** -4 of the first bracket: 6e-8


class Distribution(Protocol):
    """A non-negative time."""

    @property
    def mean(self) -> float:
        """Mean in seconds."""
        ...

    @property
    def start(self) -> float:
        """No time is shorter."""
        ...

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where the distribution function is not smooth, ascending."""
        ...

    def cdf(self, times: Array) -> Array:
        """P(T ≤ t) for each of some times; borrows them, and the answer is the caller's."""
        ...

    def quantile(self, q: float) -> float:
        """The least time t with P(T ≤ t) ≥ q, for 0 ≤ q < 1.

        Raises:
            ValueError: For another q.
        """
        ...

    def bound(self, doubt: float) -> float:
        """A time, not far from the least, that is exceeded with at most this probability, in (0, 1)."""
        ...

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        """`count` independent draws."""
        ...


@dataclass(frozen=True, slots=True)
class ShiftExponential:
    """A least time, and an exponential one on top.

    Attributes:
        shift: Least, at least 0.
        mean_excess: Mean of what comes on top, at least 0.
    """

    shift: float
    mean_excess: float

    @classmethod
    def of(cls, phase: Phase, size: float) -> ShiftExponential:
        """A phase of some size."""
        return cls(phase.shift_s * size, phase.excess_s * size)

    @property
    def mean(self) -> float:
        """Mean in seconds."""
        return self.shift + self.mean_excess

    @property
    def start(self) -> float:
        """The least time."""
        return self.shift

    @property
    def kinks(self) -> tuple[float, ...]:
        """The least time."""
        return (self.shift,)

    def cdf(self, times: Array) -> Array:
        """P(T ≤ t)."""
        if not self.mean_excess:
            return np.asarray(times >= self.shift, np.float64)
        return -np.expm1(-np.maximum(times - self.shift, 0.0) / self.mean_excess)

    def quantile(self, q: float) -> float:
        """The inverse of `cdf`."""
        check_order(q)
        return self.shift - self.mean_excess * math.log1p(-q)

    def bound(self, doubt: float) -> float:
        """Exact: the quantile."""
        return self.shift - self.mean_excess * math.log(doubt)

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        """`count` independent draws."""
        return self.shift + self.mean_excess * rng.standard_exponential(count)


@dataclass(frozen=True, slots=True)
class Hypoexponential:
    """The sum of shift-exponential phases: a least time and several exponential ones.

    Attributes:
        shift: Sum of the least times, at least 0.
        excesses: Means of the exponential parts; those that are 0 are left out.
    """

    shift: float
    excesses: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(self.excesses):
            object.__setattr__(self, "excesses", tuple(excess for excess in self.excesses if excess))

    @classmethod
    def of(cls, *parts: ShiftExponential) -> Hypoexponential:
        """The sum of independent phases."""
        return cls(sum(part.shift for part in parts), tuple(part.mean_excess for part in parts))

    @property
    def mean(self) -> float:
        """Mean in seconds."""
        return self.shift + sum(self.excesses)

    @property
    def start(self) -> float:
        """The least time."""
        return self.shift

    @property
    def kinks(self) -> tuple[float, ...]:
        """The least time."""
        return (self.shift,)

    @property
    def rates(self) -> tuple[float, ...]:
        """Rates of the exponential parts."""
        return tuple(1 / excess for excess in self.excesses)

    def cdf(self, times: Array) -> Array:
        """P(T ≤ t); exact, equal phases included."""
        return cdf_of_sum(self.rates, times - self.shift)

    def terms(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Coefficients and rates with P(T > shift + t) = Σ c exp(-l t); None where two phases are too alike."""
        rates = self.rates
        coefficients = partial_fractions(rates)
        return None if coefficients is None else (coefficients, rates)

    def quantile(self, q: float) -> float:
        """The inverse of `cdf`, to 1e-7 of the tail's length."""
        check_order(q)
        return invert(self.cdf, q, self.shift, self.bound((1 - q) / 2))

    def bound(self, doubt: float) -> float:
        """The sum is longer only if one of the parts is, each at its share of the doubt."""
        return self.shift + sum(self.excesses) * math.log(max(len(self.excesses), 1) / doubt)

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        """`count` independent draws."""
        draws = rng.standard_exponential((count, len(self.excesses)))
        return self.shift + draws @ np.asarray(self.excesses, np.float64)


@dataclass(frozen=True, slots=True)
class Mixture:
    """One of several distributions, drawn anew each time: a table of slowdowns.

    Attributes:
        weights: Their probabilities; they sum to 1.
        parts: As many.
    """

    weights: tuple[float, ...]
    parts: tuple[Hypoexponential, ...]

    @property
    def mean(self) -> float:
        """Mean in seconds."""
        return sum(weight * part.mean for weight, part in zip(self.weights, self.parts, strict=True))

    @property
    def start(self) -> float:
        """The least of all parts."""
        return min(part.start for part in self.parts)

    @property
    def kinks(self) -> tuple[float, ...]:
        """Where each part begins."""
        return tuple(sorted({part.start for part in self.parts}))

    def cdf(self, times: Array) -> Array:
        """P(T ≤ t)."""
        total = np.zeros_like(times)
        for weight, part in zip(self.weights, self.parts, strict=True):
            total += weight * part.cdf(times)
        return total

    def quantile(self, q: float) -> float:
        """The inverse of `cdf`, to 1e-7 of the tail's length."""
        check_order(q)
        return invert(self.cdf, q, self.start, self.bound((1 - q) / 2))

    def bound(self, doubt: float) -> float:
        """The largest bound of the parts that are likely enough to matter, each at half the doubt."""
        likely = [
            part for weight, part in zip(self.weights, self.parts, strict=True) if weight > doubt / 2 / len(self.parts)
        ]
        return max(part.bound(doubt / 2) for part in likely)

    def sample(self, rng: np.random.Generator, count: int) -> Array:
        """`count` independent draws."""
        chosen = rng.choice(len(self.parts), count, p=self.weights)
        drawn = np.empty(count)
        for index, part in enumerate(self.parts):
            mine = chosen == index
            drawn[mine] = part.sample(rng, int(mine.sum()))
        return drawn


def share_time(device: DeviceModel, *, up_bytes: float, down_bytes: float, compute: Phase) -> Hypoexponential | Mixture:
    """How long one share takes on a device that is free, from the first byte sent to the last one received.

    Args:
        device: Whose phases, round trip, fixed cost and slowdown are meant.
        up_bytes: Host to device.
        down_bytes: Device to host.
        compute: Its convolution, of size 1, as `DeviceModel.compute` gives it.
    """
    least = up_bytes * device.send.shift_s + down_bytes * device.receive.shift_s
    excess = up_bytes * device.send.excess_s, down_bytes * device.receive.excess_s

    def slowed(factor: float) -> Hypoexponential:
        wire = 1 + device.carrying * (factor - 1)
        shift = device.rtt_s + wire * least + factor * (device.task_s + compute.shift_s)
        return Hypoexponential(shift, (wire * excess[0], factor * compute.excess_s, wire * excess[1]))

    parts = tuple(slowed(factor) for _, factor in device.slowdown)
    return parts[0] if len(parts) == 1 else Mixture(tuple(p for p, _ in device.slowdown), parts)


def invert(cdf: Callable[[Array], Array], q: float, low: float, high: float) -> float:
    """The least t in [low, high] with cdf(t) ≥ q, for a function that ascends and gets there.

    Cost: four calls of 65 points each; the error is 6e-8 of `high - low`.
    """
    for _ in range(_ROUNDS):
        times = np.linspace(low, high, _POINTS)
        reached = int(np.searchsorted(np.maximum.accumulate(cdf(times)), q))
        if reached == 0:
            return low
        low, high = float(times[reached - 1]), float(times[min(reached, _POINTS - 1)])
    return high


def check_order(q: float) -> None:
    """Refuse what is no order of a quantile.

    Raises:
        ValueError: Unless 0 ≤ q < 1.
    """
    if not 0 <= q < 1:
        raise ValueError(f"the order of a quantile is in [0, 1), not {q}")
