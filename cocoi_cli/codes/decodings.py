"""How the pieces follow from one set of answers of a linear code, ready to be applied.

Notation: `G` (rows x k) the generator, `D` the decoding matrix of some of its rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.code import Decoded
from cocoi_cli.codes.gain import Matrix, decoding_matrix, missing_pieces
from cocoi_cli.codes.mixing import mix

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
    missing = missing_pieces(generator, rows)
    weights = np.zeros((generator.shape[1], len(rows)))
    if len(rows) < generator.shape[1]:
        return without_copies(weights, chosen, math.inf)
    if missing:
        weights = decoding_matrix(generator, rows)
    gains = np.linalg.norm(weights[missing] * np.linalg.norm(chosen, axis=1), axis=1)  # as `noise_gain` has it
    return without_copies(weights, chosen, float(gains.max(initial=1.0)))


def without_copies(decoder: Matrix, rows: Matrix, gain: float) -> Decoding:
    """What is left to do of a decoding where answers that are pieces are taken as they are.

    Args:
        decoder: `(k, len(rows))` float64; what it says of pieces of which a row is a copy is left out.
        rows: `(count, k)` float64, what was answered.
        gain: Noise gain of the whole.
    """
    copied: dict[int, int] = {}
    for place in np.flatnonzero((np.count_nonzero(rows, axis=1) == 1) & (rows.max(axis=1, initial=0.0) == 1.0)):
        copied.setdefault(int(rows[place].argmax()), int(place))
    missing = tuple(piece for piece in range(rows.shape[1]) if piece not in copied)
    with np.errstate(over="ignore"):  # of a set that does not decode
        # float64 up to here: the inverse loses digits that float32 cannot spare.
        return Decoding(missing, copied, decoder[list(missing)].astype(np.float32), gain)


def recover(decoding: Decoding, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
    """The pieces: those of which an answer is a copy as views of `answers`, the others computed.

    Cost: one multiply-add per row, element and missing piece; each row is read once.

    Args:
        decoding: Of the set of `arrived`, its rows by ascending share.
        arrived: Distinct share indices in the order of `answers`, at least one.
        answers: `(len(arrived), *shape)` float32, C-contiguous; `(len(arrived), l, *shape)` where the decoding has l
            rows per share. Borrowed, and lent on.
        out: Memory for the missing pieces, as `Code.decode` says.
    """
    each = decoding.weights.shape[1] // len(arrived)
    flat = answers if each == 1 else answers.reshape(-1, *answers.shape[2:])
    ascending = sorted(range(len(arrived)), key=arrived.__getitem__)
    rows = [place * each + row for place in ascending for row in range(each)]
    weights = np.empty_like(decoding.weights)
    weights[:, rows] = decoding.weights
    fresh = dict(zip(decoding.missing, mix(weights, flat, out), strict=True))
    pieces = tuple(
        fresh[piece] if piece in fresh else flat[rows[decoding.copied[piece]]]
        for piece in range(len(decoding.missing) + len(decoding.copied))
    )
    return Decoded(pieces=pieces, exact=True, gain=decoding.gain)
