"""How many of several independent arrivals are there by a time. Pure.

Notation: `F` distribution functions, one row per kind of device; `p` probabilities of counts, one row per count.

Source: docs/methods.md, the latency model: the Poisson-binomial recursion.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.planning.distributions import Array, Distribution, Hypoexponential, Mixture, ShiftExponential

if TYPE_CHECKING:
    from collections.abc import Sequence


class ArrivalTable:
    """The distribution functions of n arrivals, evaluated together.

    Arrivals that are equally distributed are evaluated once. Sums of exponential times are evaluated by their
    partial fractions, all devices in one array operation; others one by one.
    """

    def __init__(self, times: Sequence[Distribution]) -> None:
        kinds: dict[Distribution, int] = {}
        self._kind_of = [kinds.setdefault(each, len(kinds)) for each in times]
        self._kinds = tuple(kinds)
        self._fast = _Fractions(self._kinds)

    def cdf(self, at: Array) -> Array:
        """P(arrived by t): one row per kind, `(kinds, len(at))`."""
        rows = self._fast.cdf(at)
        for index in self._fast.others:
            rows[index] = self._kinds[index].cdf(at)
        return rows

    def fewer_than(self, k: int, at: Array) -> Array:
        """P(fewer than k are there by t), for 1 ≤ k ≤ n; shape of `at`."""
        rows, n = self.cdf(at), len(self._kind_of)
        if k <= n - k + 1:
            fewer: Array = self._counts(rows, k).sum(axis=0)
            return fewer
        # Fewer counts to keep: k are there where at most n - k are missing.
        missing = 1 - rows
        few_missing: Array = self._counts(missing, n - k + 1).sum(axis=0)
        return np.maximum(1 - few_missing, 0.0)

    def fewer_than_each(self, at: Array) -> Array:
        """The same for every k from 1 to n, `(n, len(at))`."""
        counts = self._counts(self.cdf(at), len(self._kind_of))
        return np.cumsum(counts, axis=0, out=counts)

    def _counts(self, rows: Array, most: int) -> Array:
        """P(exactly j happened) for j < most, of independent events with these probabilities by kind."""
        p = np.zeros((most, rows.shape[1]))
        p[0] = 1.0
        for done, kind in enumerate(self._kind_of):
            chance = rows[kind]
            top = min(done + 2, most)  # so many counts are possible by now
            p[1:top] += (p[: top - 1] - p[1:top]) * chance
            p[0] *= 1 - chance
        return p


class _Fractions:
    """Sums of exponential times, and mixtures of them, as one array of terms."""

    def __init__(self, kinds: Sequence[Distribution]) -> None:
        self.others: list[int] = []
        shifts: list[float] = []
        terms: list[tuple[tuple[float, ...], tuple[float, ...]]] = []
        weights: list[float] = []
        owners: list[int] = []
        for index, kind in enumerate(kinds):
            parts = _parts(kind)
            found = [part.terms() for _, part in parts]
            if not parts or None in found:
                self.others.append(index)
                continue
            for (weight, part), each in zip(parts, found, strict=True):
                if each is not None:
                    shifts.append(part.shift)
                    terms.append(each)
                    weights.append(weight)
                    owners.append(index)
        width = max((len(coefficients) for coefficients, _ in terms), default=0)
        self._shifts = np.array(shifts)[:, None]
        self._coefficients = _padded([each[0] for each in terms], width)
        self._rates = _padded([each[1] for each in terms], width)
        self._weights = np.array(weights)[:, None]
        self._owners = np.array(owners, np.intp)
        self._count = len(kinds)
        self._plain = owners == list(range(len(kinds)))

    def cdf(self, at: Array) -> Array:
        """One row per kind; rows of `others` are 0."""
        since = at - self._shifts
        begun = since >= 0
        np.maximum(since, 0.0, out=since)
        rows: Array = np.ones_like(since)
        for coefficients, rates in zip(self._coefficients.T, self._rates.T, strict=True):
            rows -= coefficients[:, None] * np.exp(-rates[:, None] * since)
        np.clip(rows, 0.0, 1.0, out=rows)
        rows *= begun
        if self._plain:
            return rows
        merged = np.zeros((self._count, at.size))
        np.add.at(merged, self._owners, self._weights * rows)
        return merged


def _parts(kind: Distribution) -> tuple[tuple[float, Hypoexponential], ...]:
    if isinstance(kind, Hypoexponential):
        return ((1.0, kind),)
    if isinstance(kind, ShiftExponential):
        return ((1.0, Hypoexponential(kind.shift, (kind.mean_excess,))),)
    if isinstance(kind, Mixture):
        return tuple(zip(kind.weights, kind.parts, strict=True))
    return ()


def _padded(rows: Sequence[tuple[float, ...]], width: int) -> Array:
    return np.array([row + (0.0,) * (width - len(row)) for row in rows]).reshape(len(rows), width)
