"""The generator of cocoi's systematic code: which linear combinations are sent.

The first k rows of `G` are the identity (data shares are pieces), the other r are
parity rows. Which parity: all ones for r = 1 (and for k = 1, copies); an optimised table where there is
one; a real harmonic frame brought to systematic form for r up to 4; independent
Gaussians for r of 8 and more; between the two whichever has the smaller worst gain.
Structured rows collapse for many parities (noise gain 1e11 at (64,48)), random ones
lose to structured ones for few, and powers of integers lose everything at n = 10.

Notation: `n` shares, `k` pieces, `r = n - k` parity shares, `G` (n x k) generator.

Source: docs/methods.md, generators.
"""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from cocoi_cli.codes.gain import worst_gain

Matrix = NDArray[np.float64]

STRUCTURED_UP_TO = 4  # parities: within 1.7 times of the best known gain
RANDOM_FROM = 8  # parities: the structured rows are worse by orders of magnitude
GAUSSIAN_SEED = 20250112  # any fixed number: the same (n, k) must give the same G on every host


@lru_cache(maxsize=256)
def systematic_generator(n: int, k: int) -> Matrix:
    """Make the generator of the (n, k) code.

    Cost: microseconds, but for r = 5 to 7 outside the table, where two candidates
    are searched for their worst gain (a second at most, once per process).

    Args:
        n: Shares, at least `k`.
        k: Pieces, at least 1.

    Returns:
        `(n, k)` float64, rows are shares, the first k rows the identity, every
        entry exact in float32; shared and read-only.

    Raises:
        ValueError: If not 1 <= k <= n.
    """
    if not 1 <= k <= n:
        message = f"no generator has n = {n} and k = {k}"
        raise ValueError(message)
    # Rounded to float32 here, so that encoding in float32 uses exactly what decoding inverts.
    generator = np.vstack([np.eye(k), _parity(n, k)]).astype(np.float32).astype(np.float64)
    generator.flags.writeable = False
    return generator


def harmonic_parity(n: int, k: int) -> Matrix:
    """Parity rows from the real harmonic frame, any n > k.

    Rows of the frame at evenly spread positions become the parity; dividing by the
    other rows makes those the identity. Every k rows of the frame are independent,
    hence of this code too. Even spacing is the best choice of positions: confirmed by
    trying all of them for sizes up to n = 20.

    Returns:
        `(n - k, k)` float64.

    Source: docs/methods.md, real harmonic frame in systematic form.
    """
    frame = harmonic_frame(n, k)
    spread = [i * n // (n - k) for i in range(n - k)]
    others = [i for i in range(n) if i not in spread]
    # parity = frame[spread] @ inv(frame[others]), as one solve
    return np.linalg.solve(frame[others].T, frame[spread].T).T.astype(np.float64)


def gaussian_parity(n: int, k: int) -> Matrix:
    """Parity rows of independent normal numbers with a fixed seed, `(n - k, k)` float64."""
    return np.random.default_rng((GAUSSIAN_SEED, n, k)).standard_normal((n - k, k))


@lru_cache(maxsize=1)
def parity_tables() -> dict[tuple[int, int], Matrix]:
    """The optimised parity rows by (n, k), read once.

    `parity_tables.json` was found by minimising the worst noise gain over all
    k-subsets numerically (L-BFGS on a soft maximum over all minors of the parity
    block, exponent raised step by step, many starts). For two parities the optimum
    is the harmonic frame up to signs and order; for three and four it is up to
    1.7 times better.
    """
    text = files("cocoi_cli.codes").joinpath("parity_tables.json").read_text(encoding="utf-8")
    tables: dict[tuple[int, int], Matrix] = {}
    for size, rows in json.loads(text).items():
        n, k = map(int, size.split(","))
        tables[n, k] = np.array(rows, dtype=np.float64)
    return tables


def _parity(n: int, k: int) -> Matrix:
    r = n - k
    if r == 0:
        return np.empty((0, k))
    if 1 in {r, k}:  # the sum of the pieces; of a single piece, copies
        return np.ones((r, k))
    table = parity_tables().get((n, k))
    if table is not None:
        return table
    if r <= STRUCTURED_UP_TO:
        return harmonic_parity(n, k)
    if r >= RANDOM_FROM:
        return gaussian_parity(n, k)
    candidates = harmonic_parity(n, k), gaussian_parity(n, k)
    return min(candidates, key=lambda parity: worst_gain(np.vstack([np.eye(k), parity])))


def harmonic_frame(n: int, k: int) -> Matrix:
    """The tight frame of k real harmonics at n points of the circle, `(n, k)`."""
    angle = 2 * np.pi * np.arange(n) / n
    half = 0.0 if k % 2 else 0.5
    first = 1 if k % 2 else 0
    columns = [wave((m + half) * angle) for m in range(first, first + k // 2) for wave in (np.cos, np.sin)]
    if k % 2:
        columns.insert(0, np.full(n, np.sqrt(0.5)))
    frame: Matrix = np.sqrt(2 / n) * np.stack(columns, axis=1)
    return frame
