"""How the pieces follow from one set of answers of a linear code, ready to be applied.

Notation: `G` (rows x k) the generator, `D` the decoding matrix of some of its rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.gain import Matrix, decoding_matrix, missing_pieces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.codes.code import Array


@dataclass(frozen=True, slots=True)
class Decoding:
    """The small matrix for one set of rows.

    Attributes:
        missing: Pieces of which no row is a copy, ascending.
        copied: Piece to the place, in the set, of the row that is a copy of it.
        weights: `(len(missing), len(rows))` float32; columns in the order of the set.
        gain: Noise gain of the set; infinite where it does not decode.
    """

    missing: tuple[int, ...]
    copied: dict[int, int]
    weights: Array
    gain: float


def make_decoding(generator: Matrix, rows: Sequence[int]) -> Decoding:
    """Solve for the pieces of which `rows` of the generator hold no copy, in float64.

    Args:
        generator: `(rows, k)` float64; no row is zero.
        rows: Distinct indices of rows, any number.
    """
    chosen = generator[list(rows)]
    missing = tuple(missing_pieces(generator, rows))
    copied: dict[int, int] = {}
    for place in np.flatnonzero((np.count_nonzero(chosen, axis=1) == 1) & (chosen.max(axis=1, initial=0.0) == 1.0)):
        copied.setdefault(int(chosen[place].argmax()), int(place))
    weights = np.zeros((len(missing), len(rows)))
    if len(rows) < generator.shape[1]:
        return Decoding(missing, copied, weights.astype(np.float32), math.inf)
    if missing:
        # float64 up to here: the inverse loses digits that float32 cannot spare.
        weights = decoding_matrix(generator, rows)[list(missing)]
    gains = np.linalg.norm(weights * np.linalg.norm(chosen, axis=1), axis=1)  # as `noise_gain` has it
    with np.errstate(over="ignore"):  # of a set that does not decode
        return Decoding(missing, copied, weights.astype(np.float32), float(gains.max(initial=1.0)))
