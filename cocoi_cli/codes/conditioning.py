"""How generators compare: condition numbers and noise gains over sets of answers, for tables.

Planning and decoding use `gain.py`. This is what the comparison of codes in the documentation is made with, and what
its tests repeat.

Notation: `n` shares, `k` pieces, `G` (n x k), or (n x l x K) where a share holds l blocks; `D` the inverse of the
rows of k answers.

Source: docs/methods.md, conditioning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cocoi_cli.codes.gain import sampled_subsets, subset_gains
from cocoi_cli.codes.generator import gaussian_parity, harmonic_frame, harmonic_parity, systematic_generator
from cocoi_cli.codes.rotation import crme_generator
from cocoi_cli.codes.vandermonde import chebyshev_points, equispaced_points, integer_points, vandermonde

Matrix = NDArray[np.float64]

BATCH_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Spread:
    """Worst and median over sets of k answers: all of them where they are few, else a fixed sample."""

    worst: float
    median: float


def generators(n: int, k: int) -> dict[str, Matrix]:
    """The generators that are compared, `(n, k)` each, by a short name."""
    table = {
        "integers": vandermonde(integer_points(n), k),
        "equispaced": vandermonde(equispaced_points(n), k),
        "chebyshev": vandermonde(chebyshev_points(n), k),
        "chebyshev polynomials": chebyshev_polynomials(n, k),
        "harmonic": harmonic_frame(n, k),
        "cocoi": systematic_generator(n, k),
    }
    if n > k:
        table["systematic harmonic"] = np.vstack([np.eye(k), harmonic_parity(n, k)])
        table["systematic gaussian"] = np.vstack([np.eye(k), gaussian_parity(n, k)])
    return table


def chebyshev_polynomials(n: int, k: int) -> Matrix:
    """Chebyshev polynomials 0 to k - 1 at the n Chebyshev points, instead of powers: `(n, k)` float64.

    Over the reals this is what Fahim and Cadambe call a Chebyshev-Vandermonde code.
    """
    waves: Matrix = np.cos(np.outer((2 * np.arange(n) + 1) * np.pi / (2 * n), np.arange(k)))
    return waves


def condition(generator: Matrix, *, normalised: bool = False) -> Spread:
    """Condition numbers of the square systems that sets of answers give.

    Args:
        generator: `(n, k)`, or `(n, l, K)` for l blocks per share, of which K / l answers make a set.
        normalised: Whether rows are scaled to norm 1 first, as suits errors in proportion to them.
    """
    blocks = generator[:, None] if generator.ndim == 2 else generator
    if normalised:
        blocks = blocks / np.linalg.norm(blocks, axis=2, keepdims=True)
    n, each, size = blocks.shape
    subsets = sampled_subsets(n, size // each)
    step = max(1, BATCH_BYTES // (8 * size * size))
    parts = [
        np.linalg.cond(blocks[subsets[at : at + step]].reshape(-1, size, size)) for at in range(0, len(subsets), step)
    ]
    return _spread(np.concatenate(parts))


def worst_piece_gain(generator: Matrix) -> Spread:
    """Noise gain as `gain.py` has it: of the worst piece, whatever the scale of the rows."""
    return _spread(subset_gains(generator, sampled_subsets(*generator.shape)))


def mean_gain(generator: Matrix) -> Spread:
    """Root mean square over the pieces instead of the worst, errors of the same size on all answers."""
    n, k = generator.shape
    inverses = np.linalg.inv(generator[sampled_subsets(n, k)])
    scale = np.sqrt(np.mean(np.square(np.linalg.norm(generator, axis=1))))
    return _spread(np.linalg.norm(inverses, axis=(1, 2)) / np.sqrt(k) * scale)


def crme_condition(n: int, k_a: int, k_b: int, q: int) -> Spread:
    """Condition numbers of rotation-matrix codes on input and filters; `q` points on the circle."""
    return condition(crme_generator(n, k_a, k_b, q))


def _spread(values: Matrix) -> Spread:
    return Spread(float(np.max(values)), float(np.median(values)))
