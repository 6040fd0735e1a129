"""When the k-th of n answers arrives, exactly, for devices that differ. Pure.

Answers are independent; that of device i is there by time t with probability F_i(t). The number that are there
follows the Poisson-binomial recursion over the devices, and

    E[T_k] = ∫ P(fewer than k are there by t) dt

by adaptive quadrature between the kinks of the F_i. No two devices need be alike, and a device that is a
thousand times slower than another costs no accuracy. Uncoded distribution is k = n; with replication the first
of each group counts, and the last group decides.

Notation: `k` of `n` as in the codes; `F` distribution functions, one row per device.

Source: docs/methods.md, the latency model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.planning.arrival_table import ArrivalTable
from cocoi_cli.planning.distributions import invert
from cocoi_cli.planning.quadrature import integrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.planning.distributions import Array, Distribution

TOLERANCE: Final = 1e-4
"""Of an expectation, relative, as the rule estimates its error; the true one is about a hundredth of that."""

DOUBT: Final = 1e-7  # probability of what lies beyond the end of an integral
_MOST_KINKS: Final = 12  # that panels end at; more lie so dense that the quadrature finds what it needs
_MOST_EDGES: Final = 48
_FIRST_PANELS: Final = np.array([0.0, 1 / 16, 1 / 4, 1.0])  # of the whole length, behind the last kink


@dataclass(frozen=True, slots=True)
class Moments:
    """Mean and variance of a time, in seconds and their square."""

    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class _Event:
    """Something that happens at a random time.

    Attributes:
        start: It does not happen before.
        end: It has happened by then, but for `DOUBT`.
        kinks: Where `late` is not smooth.
        late: P(it has not happened by t) at some times.
    """

    start: float
    end: float
    kinks: tuple[float, ...]
    late: Callable[[Array], Array]


def kth_arrival(times: Sequence[Distribution], k: int) -> float:
    """Mean time of the k-th of n arrivals.

    Cost: for ten devices of three phases about 0.3 ms; grows as n * min(k, n - k + 1).

    Args:
        times: Of each arrival; n = len(times).
        k: 1 … n.

    Raises:
        ValueError: If k is outside.
    """
    return _mean(_kth(times, k))


def kth_moments(times: Sequence[Distribution], k: int) -> Moments:
    """Mean and variance of the time of the k-th arrival; stages in a row add up in both.

    Raises:
        ValueError: If k is not in 1 … n.
    """
    return _moments(_kth(times, k))


def kth_cdf(times: Sequence[Distribution], k: int, at: Array) -> Array:
    """P(k are there by t) for each t of `at`.

    Raises:
        ValueError: If k is not in 1 … n.
    """
    return 1 - _kth(times, k).late(at)


def kth_quantile(times: Sequence[Distribution], k: int, q: float) -> float:
    """The q-quantile of the time of the k-th arrival, for 0 ≤ q < 1, to 1e-6.

    Raises:
        ValueError: If k is not in 1 … n, or for another q.
    """
    return _quantile(_kth(times, k), q)


def every_arrival(times: Sequence[Distribution]) -> Array:
    """Mean times of the 1st … n-th arrival, shape `(n,)`: one recursion for all."""
    table, n = ArrivalTable(times), len(times)
    starts = sorted(each.start for each in times)
    ends = sorted(each.bound(DOUBT / n) for each in times)
    # The quickest may be done before the slowest begin: every arrival has its own panels.
    own = [start + (end - start) * part for start, end in zip(starts, ends, strict=True) for part in _FIRST_PANELS]
    edges = np.array(_thinned(sorted({*own, *(kink for each in times for kink in each.kinks)}), _MOST_EDGES))
    return starts[0] + integrate(table.fewer_than_each, edges, TOLERANCE)


def replicated_arrival(groups: Sequence[Sequence[Distribution]]) -> float:
    """Mean time until one of each group has arrived.

    Args:
        groups: At least one, none empty: the arrivals of which the first counts.

    Raises:
        ValueError: Without a group, or with an empty one.
    """
    return _mean(_replicated(groups))


def replicated_moments(groups: Sequence[Sequence[Distribution]]) -> Moments:
    """Mean and variance of the time until one of each group has arrived.

    Raises:
        ValueError: Without a group, or with an empty one.
    """
    return _moments(_replicated(groups))


def replicated_quantile(groups: Sequence[Sequence[Distribution]], q: float) -> float:
    """The q-quantile of the time until one of each group has arrived, for 0 ≤ q < 1.

    Raises:
        ValueError: Without a group, with an empty one, or for another q.
    """
    return _quantile(_replicated(groups), q)


def _kth(times: Sequence[Distribution], k: int) -> _Event:
    n = len(times)
    if not 1 <= k <= n:
        raise ValueError(f"k is in 1 … {n}, not {k}")
    table = ArrivalTable(times)
    # k of them are there once the k quickest are: what the slower ones do is beyond the end, however slow.
    start = sorted(each.start for each in times)[k - 1]
    end = sorted(each.bound(DOUBT / n) for each in times)[k - 1]
    kinks = tuple(kink for each in times for kink in each.kinks)
    return _Event(start, end, kinks, lambda at: table.fewer_than(k, at))


def _replicated(groups: Sequence[Sequence[Distribution]]) -> _Event:
    if not groups or not all(groups):
        raise ValueError("replication needs at least one group, and each at least one device")
    tables = [ArrivalTable(group) for group in groups]
    doubt = DOUBT / len(groups)
    start = max(min(each.start for each in group) for group in groups)
    end = max(min(each.bound(doubt) for each in group) for group in groups)
    kinks = tuple(kink for group in groups for each in group for kink in each.kinks)

    def late(at: Array) -> Array:
        there = np.ones_like(at)
        for table in tables:
            there *= 1 - table.fewer_than(1, at)
        return 1 - there

    return _Event(start, end, kinks, late)


def _mean(event: _Event) -> float:
    if event.end <= event.start:
        return event.start
    edges = _edges(event.start, event.end, event.kinks)
    return event.start + float(integrate(lambda at: event.late(at)[None], edges, TOLERANCE)[0])


def _moments(event: _Event) -> Moments:
    if event.end <= event.start:
        return Moments(event.start, 0.0)

    def both(at: Array) -> Array:
        late = event.late(at)
        return np.stack([late, 2 * (at - event.start) * late])

    first, second = integrate(both, _edges(event.start, event.end, event.kinks), TOLERANCE).tolist()
    return Moments(event.start + first, max(second - first * first, 0.0))


def _quantile(event: _Event, q: float) -> float:
    if not 0 <= q < 1:
        raise ValueError(f"the order of a quantile is in [0, 1), not {q}")
    end = event.end
    while end > event.start and event.late(np.array([end]))[0] > 1 - q:  # an order closer to 1 than the doubt
        end += end - event.start
    return invert(lambda at: 1 - event.late(at), q, event.start, end)


def _edges(start: float, end: float, kinks: Sequence[float]) -> Array:
    """Panels that end at kinks, and then grow: distributions are steep where they begin and flat at their end."""
    inside = _thinned(sorted({kink for kink in kinks if start < kink < end}), _MOST_KINKS)
    last = inside[-1] if inside else start
    return np.unique(np.concatenate([[start], inside, last + (end - last) * _FIRST_PANELS]))


def _thinned(values: Sequence[float], most: int) -> list[float]:
    """At most so many of them, evenly by rank, both ends among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]
