"""Vandermonde generators at real points: the code of the paper, as far as rounding lets it be one.

Share i is the polynomial with the pieces as coefficients, at point `x_i`. Over a finite field any distinct points
will do; over the reals they decide everything. The integers 1 … n grow until float32 has no digit left. Chebyshev's
points, the projections of equally spaced ones on a circle, are the best known real choice; stretched by a third they
lose half as much again.

Notation: `n` shares, `k` pieces, `x` the n points, `G[i, j] = x_i ** j`.

Source: docs/methods.md, CoCoI's code; Chebyshev points for coded computing: Fahim and Cadambe.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

STRETCH = 4 / 3  # halves the worst gain at (10,8) against points in [-1, 1]; best within a tenth for n from 5 to 12


def vandermonde(points: Matrix, k: int) -> Matrix:
    """Powers 0 to k - 1 of each point: `(len(points), k)` float64."""
    return np.vander(points, k, increasing=True)


def integer_points(n: int) -> Matrix:
    """The integers from 1 to n, float64."""
    return np.arange(1.0, n + 1)


def equispaced_points(n: int) -> Matrix:
    """Points at equal distances from -1 to 1, both included where there are two, float64."""
    return np.linspace(-1.0, 1.0, n) if n > 1 else np.zeros(1)


def chebyshev_points(n: int, stretch: float = 1.0) -> Matrix:
    """The roots of the n-th Chebyshev polynomial times `stretch`, descending, float64."""
    return stretch * np.cos((2 * np.arange(n) + 1) * np.pi / (2 * n))
