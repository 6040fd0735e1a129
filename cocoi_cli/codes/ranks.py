"""The rank of sets of rows that grow one by one, each step in microseconds.

A session asks again and again about sets that differ by one answer. For each set seen, an
orthonormal basis of its rows is kept; a new set takes the basis of a known one that lacks
a single row and adds that row. Sets are keyed by integers with one bit per row.

Notation: `k` columns, `Q` (rank x k) a basis with orthonormal rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Matrix = NDArray[np.float64]

KEPT = 2048  # sets; some megabytes at 20 columns
INDEPENDENT = 1e-9  # of the norm: what is left of a row of small integers outside a space is far above, or rounding


class Ranks:
    """Bases of the row spaces of sets, remembered; any thread may ask.

    Rows are numbered from zero, and what `row_of` returns for a number never changes.
    """

    def __init__(self, columns: int, row_of: Callable[[int], Matrix]) -> None:
        """Begin with the empty set.

        Args:
            columns: Length of a row, k.
            row_of: Makes a row, `(k,)` float64, not zero; it may be called often.
        """
        self._row_of = row_of
        self._nothing: Matrix = np.empty((0, columns))
        self._bases: dict[int, Matrix] = {}

    def rank(self, rows: Iterable[int]) -> int:
        """Number of independent rows among these."""
        return len(self._basis(_key(rows)))

    def adds(self, row: int, rows: Iterable[int]) -> bool:
        """Whether `row` is independent of `rows`."""
        return self._residual(self._basis(_key(rows)), row) is not None

    def _basis(self, key: int) -> Matrix:
        if not key:
            return self._nothing
        found = self._bases.get(key)
        return self._grow(key) if found is None else found

    def _grow(self, key: int) -> Matrix:
        """Add to a known set what it lacks: one row if there is such a set, else from the lowest rows on."""
        rows = _rows(key)
        for row in rows:
            known = self._bases.get(key ^ (1 << row))
            if known is not None:
                return self._remember(key, self._with(known, row))
        basis, done = self._nothing, 0
        for row in rows:
            done |= 1 << row
            known = self._bases.get(done)
            basis = self._remember(done, self._with(basis, row)) if known is None else known
        return basis

    def _remember(self, key: int, basis: Matrix) -> Matrix:
        if len(self._bases) >= KEPT:
            self._bases = {}  # a new one, since another thread may read the old one
        self._bases[key] = basis
        return basis

    def _with(self, basis: Matrix, row: int) -> Matrix:
        residual = self._residual(basis, row)
        return basis if residual is None else np.vstack([basis, residual])

    def _residual(self, basis: Matrix, row: int) -> Matrix | None:
        """The unit vector that a row adds to a space, or None where it lies in it."""
        if len(basis) == basis.shape[1]:
            return None
        given = self._row_of(row)
        rest = given - (basis @ given) @ basis
        rest -= (basis @ rest) @ basis  # once more: the first time leaves rounding of the size of the row
        size = float(rest @ rest) ** 0.5
        return rest / size if size > INDEPENDENT * float(given @ given) ** 0.5 else None


def _key(rows: Iterable[int]) -> int:
    key = 0
    for row in rows:
        key |= 1 << row
    return key


def _rows(key: int) -> list[int]:
    """The numbers of the bits that are set, ascending."""
    found = []
    while key:
        lowest = key & -key
        found.append(lowest.bit_length() - 1)
        key ^= lowest
    return found
