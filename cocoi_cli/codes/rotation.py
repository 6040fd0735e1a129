"""Circular rotation matrix embedding (CRME): coding both operands of a bilinear map at once.

The input is cut into k_A row pieces and the filters into k_B channel pieces. Share i holds two mixtures of each (one
where there is only one piece), made with powers of a rotation by i times 2 pi / q, and computes all products of the
two. Each product is a mixture of the k_A k_B blocks of the output. Products of rotations are rotations by sums of
angles, so the blocks of any `delta` shares are independent, where delta shares have just as many as there are blocks.
The published bound takes an odd q >= n; q = n is better conditioned in every case tried, for even n too.

Notation: `n` shares; `k_A` (1 or even) and `k_B` (1 or even) pieces; `l = 2` mixtures of an operand where its k is
above 1, else 1; `M_A` (k_A x l_A) and `M_B` (k_B x l_B) of a share; `delta = k_A k_B / (l_A l_B)`.

Source: docs/methods.md, FCDCC; Tan et al., arXiv 2411.01579, after Ramamoorthy and Tang, arXiv 1910.06515.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def mixtures(pieces: int) -> int:
    """How many mixtures of an operand in so many pieces a share holds: l."""
    return 2 if pieces > 1 else 1


def row_weights(share: int, q: int, k_a: int) -> Matrix:
    """How share `i` mixes the row pieces: `(l_A, k_A)` float64, its rows the columns of `M_A`."""
    return _rotations(share, q, k_a, 1)


def filter_weights(share: int, q: int, k_a: int, k_b: int) -> Matrix:
    """How share `i` mixes the filter pieces: `(l_B, k_B)` float64; steps of `k_A / l_A` tell them from row pieces."""
    return _rotations(share, q, k_b, k_a // mixtures(k_a))


def crme_generator(n: int, k_a: int, k_b: int, q: int) -> NDArray[np.float64]:
    """Every share's blocks as mixtures of the output's blocks.

    Returns:
        `(n, l_A * l_B, k_A * k_B)` float64; block `a * k_B + b` is row piece a convolved with filter piece b.
    """
    return np.stack([np.kron(row_weights(i, q, k_a), filter_weights(i, q, k_a, k_b)) for i in range(n)])


def filter_groups(k: int) -> tuple[int, ...]:
    """Every number of filter groups k_B that goes with `k`, ascending: 1 and twice the divisors of `k`."""
    return (1, *(2 * divisor for divisor in range(1, k + 1) if k % divisor == 0))


def row_pieces(k: int, filters: int) -> int:
    """The k_A that goes with `k` and k_B: with a single group 2k, with 2k groups 1, else 4k / k_B."""
    if filters == 1:
        return 2 * k
    return 1 if filters == 2 * k else 4 * k // filters


@lru_cache(maxsize=64)
def filter_generator(n: int, k: int, filters: int) -> Matrix:
    """Blocks of every share, then of the plain ones, as mixtures of the output's blocks.

    Returns:
        `((n + k) * l_A * l_B, k_A * k_B)` float64, products of float32 entries; shared and read-only.
    """
    k_a = row_pieces(k, filters)
    l_a, l_b = mixtures(k_a), mixtures(filters)
    coded = [np.kron(_as_used(row_weights(i, n, k_a)), _as_used(filter_weights(i, n, k_a, filters))) for i in range(n)]
    plain = [
        np.kron(np.eye(k_a)[l_a * a : l_a * (a + 1)], np.eye(filters)[l_b * b : l_b * (b + 1)])
        for a in range(k_a // l_a)
        for b in range(filters // l_b)
    ]
    generator: Matrix = np.concatenate([*coded, *plain])
    generator.flags.writeable = False
    return generator


def _as_used(weights: Matrix) -> Matrix:
    """Rounded to float32, so that what encodes in float32 is exactly what decoding inverts."""
    return weights.astype(np.float32).astype(np.float64)


def _rotations(share: int, q: int, pieces: int, step: int) -> Matrix:
    if pieces == 1:
        return np.ones((1, 1))
    angle = 2 * np.pi / q * ((share * step * np.arange(pieces // 2)) % q)
    cosine, sine = np.cos(angle), np.sin(angle)
    weights = np.empty((2, pieces))
    weights[0, 0::2], weights[0, 1::2] = cosine, sine
    weights[1, 0::2], weights[1, 1::2] = -sine, cosine
    return weights
