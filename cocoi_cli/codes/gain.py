"""Noise gain: how much decoding enlarges rounding error, for one set of answers or the worst.

Noise gain is how many times larger the rounding error of the worst decoded piece is
than that of a plainly computed one. An answer's own error grows with the norm of its
row of the generator, so each answer is weighed by that norm; the figure therefore does
not change when rows are scaled. A piece that arrived as a data share is copied: gain 1.

Notation: `G` (n x k) the generator, `D` (k x a) the decoding matrix for the answers to
`a` rows, `s_i` norm of row i of `G`; gain = max over pieces j of sqrt(sum_i (D_ji s_i)^2).

Source: docs/methods.md, noise gain.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache, wraps
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Matrix = NDArray[np.float64]
Subsets = NDArray[np.intp]

EXHAUSTIVE_UP_TO = 5000  # subsets: all of (20,16), a fraction of a second
SAMPLES = 1000
SWAP_STARTS = 4  # worst sets found so far from which the local search begins
SWAP_ROUNDS = 8  # rounds of the local search; it stops earlier where no swap helps
BATCH_BYTES = 16 << 20


def decoding_matrix(generator: Matrix, rows: Sequence[int]) -> Matrix:
    """The least-squares decoder of the answers to `rows`.

    Answers are weighed by one over the norm of their row, which is the best linear
    estimate when errors grow with that norm; with exactly k answers it is the inverse.
    Further answers never raise the gain.

    Args:
        generator: `(n, k)` float64; no row is zero.
        rows: At least k distinct share indices.

    Returns:
        `(k, len(rows))` float64. Infinite entries where the rows are dependent.
    """
    chosen = generator[list(rows)]
    scale = 1 / np.linalg.norm(chosen, axis=1)
    orthogonal, triangle = np.linalg.qr(chosen * scale[:, None])
    try:
        decoder: Matrix = np.linalg.solve(triangle, orthogonal.T) * scale
    except np.linalg.LinAlgError:
        return np.full((generator.shape[1], len(rows)), np.inf)
    return decoder


def noise_gain(generator: Matrix, rows: Sequence[int]) -> float:
    """Noise gain of decoding from the answers to `rows`.

    Args:
        generator: `(n, k)` float64 generator.
        rows: Distinct share indices.

    Returns:
        At least 1.0; infinite where `rows` are too few or dependent.
    """
    if len(rows) < generator.shape[1]:
        return math.inf
    norms = np.linalg.norm(generator[list(rows)], axis=1)
    missing = missing_pieces(generator, rows)
    if not missing:
        return 1.0
    return max(1.0, float(np.linalg.norm(decoding_matrix(generator, rows)[missing] * norms, axis=1).max()))


def missing_pieces(generator: Matrix, rows: Sequence[int]) -> list[int]:
    """The pieces of which no answer in `rows` is a copy."""
    chosen = generator[list(rows)]
    plain = chosen[np.count_nonzero(chosen, axis=1) == 1]
    have = set(np.nonzero(plain == 1.0)[1].tolist())
    return [piece for piece in range(generator.shape[1]) if piece not in have]


def subset_gains(generator: Matrix, subsets: Subsets) -> Matrix:
    """Noise gain of many sets of exactly k answers.

    Args:
        generator: `(n, k)` float64 generator.
        subsets: `(count, k)` share indices, distinct in each row.

    Returns:
        `(count,)` float64, infinite where rows are dependent.
    """
    k = generator.shape[1]
    step = max(1, BATCH_BYTES // (8 * k * k))
    parts = [_batch_gains(generator, subsets[at : at + step]) for at in range(0, len(subsets), step)]
    return np.concatenate(parts)


def sampled_subsets(n: int, k: int, samples: int = SAMPLES) -> Subsets:
    """All k-subsets where they are few, else a fixed random choice of them.

    Returns:
        `(count, k)` sorted indices.
    """
    if math.comb(n, k) <= EXHAUSTIVE_UP_TO:
        return np.array(list(itertools.combinations(range(n), k)), dtype=np.intp)
    order = np.random.default_rng((n, k)).random((samples, n)).argsort(axis=1)
    return np.sort(order[:, :k], axis=1)


def _remembered(measure: Callable[[Matrix], float]) -> Callable[[Matrix], float]:
    """By the entries of the generator: planning asks for the same ones again and again."""

    @lru_cache(maxsize=512)
    def known(entries: bytes, columns: int) -> float:
        return measure(np.frombuffer(entries).reshape(-1, columns))

    @wraps(measure)
    def ask(generator: Matrix) -> float:
        return known(generator.tobytes(), generator.shape[1])

    return ask


@_remembered
def median_gain(generator: Matrix) -> float:
    """Median noise gain over the (sampled) k-subsets."""
    return float(np.median(subset_gains(generator, sampled_subsets(*generator.shape))))


@_remembered
def worst_gain(generator: Matrix) -> float:
    """Largest noise gain over the k-subsets.

    Exact where there are at most `EXHAUSTIVE_UP_TO` of them. Above, a lower bound:
    random subsets, contiguous and strided erasures, then swaps of one row from the
    worst few, as long as they make it worse. Deterministic.
    """
    n, k = generator.shape
    subsets = sampled_subsets(n, k)
    gains = subset_gains(generator, subsets)
    if math.comb(n, k) <= EXHAUSTIVE_UP_TO:
        return float(gains.max())
    subsets = np.vstack([subsets, _patterned_subsets(n, k)])
    gains = subset_gains(generator, subsets)
    starts = subsets[np.argsort(gains)[-SWAP_STARTS:]]
    return max(_climb(generator, subset, float(gains.max())) for subset in starts)


def _climb(generator: Matrix, subset: Subsets, worst: float) -> float:
    """The worst gain met by swapping one row at a time, from `subset` on."""
    reached = 0.0
    for _ in range(SWAP_ROUNDS):
        neighbours = _swapped(subset, len(generator))
        gains = subset_gains(generator, neighbours)
        if gains.max() <= reached:
            break
        reached, subset = float(gains.max()), neighbours[gains.argmax()]
    return max(worst, reached)


def _batch_gains(generator: Matrix, subsets: Subsets) -> Matrix:
    chosen = generator[subsets]
    norms = np.linalg.norm(chosen, axis=2)
    try:
        inverses = np.linalg.inv(chosen)
    except np.linalg.LinAlgError:  # one is singular, and numpy does not say which
        return np.array([noise_gain(generator, rows) for rows in subsets.tolist()])
    # A row of the inverse that copies has norm 1 exactly, so copied pieces need no exception.
    gains: Matrix = np.linalg.norm(inverses * norms[:, None, :], axis=2).max(axis=1)
    return np.maximum(gains, 1.0)


def _patterned_subsets(n: int, k: int) -> Subsets:
    """Survivors of erasures that are contiguous or evenly strided, which random draws rarely hit."""
    survivors = set()
    for stride in range(1, n // (n - k) + 1):
        for start in range(n):
            lost = {(start + stride * i) % n for i in range(n - k)}
            if len(lost) == n - k:
                survivors.add(tuple(i for i in range(n) if i not in lost))
    return np.array(sorted(survivors), dtype=np.intp)


def _swapped(subset: Subsets, n: int) -> Subsets:
    """Every subset that differs from `subset` in one index."""
    outside = np.setdiff1d(np.arange(n), subset)
    places = np.arange(len(subset))
    neighbours = np.tile(subset, (len(outside) * len(subset), 1))
    neighbours[np.arange(len(neighbours)), np.tile(places, len(outside))] = np.repeat(outside, len(subset))
    return neighbours
