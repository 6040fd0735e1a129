"""Whether answers agree with each other, and which share does not: the parity syndrome.

More answers than a code needs obey linear equations whatever the input is. Their left-hand sides, the *syndrome*, are
rounding where all answers are right. A wrong answer moves the syndrome along its own column of the equations, so that
with two spare answers or more a single liar is known by the direction. One spare tells only that something is wrong,
and so does a direction that fits two shares alike (two copies of one piece). Several liars at once are detected, not
named.

Nothing here is specific to a code: its rows are read off by encoding the unit vectors. That covers copies (equal
pieces must have equal answers; of three, two outvote one), rateless codes, and codes on the filters with several blocks
per share.

Notation: `G` the rows of the answered shares, scaled to norm 1, `Y` the answers scaled alike, `H` (r x rows) an
orthonormal basis of what vanishes on `G`, so `H Y` is the syndrome; `l` rows per share, `r / l` spare answers.

Source: docs/methods.md, integrity.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cocoi_cli.codes.mixing import mix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.codes.code import Array, Code

Matrix = NDArray[np.float64]

TOLERANCES: Final[Mapping[str, float]] = MappingProxyType({"f32": 1e-5, "f16": 3e-3})
"""Largest residual of honest answers by transport type; the largest measured ones are in docs/methods.md."""

TINY, HUGE = 1e-12, 1e12  # between them, sums of squares stay well inside float32
OVERFLOWS = 1e30  # answers beyond it may honestly become infinite where they are summed
INDEPENDENT = 1e-9  # of the largest singular value
UNEXPLAINED = 0.3  # of the syndrome that a single liar's column may leave
RIVAL = 0.5  # of what the next best column leaves; above, either share may be the one
PARALLEL = 1e-3  # what a column leaves that points the same way, such as that of the other of two copies
LOUD = 0.5  # of the largest column of the syndrome: what locating looks at, where rounding matters least


@dataclass(frozen=True, slots=True)
class Finding:
    """What the answers to one codeword say about each other.

    Attributes:
        consistent: Whether they agree within the tolerance; True where there is no spare to tell.
        suspect_share: The one share that disagrees; None where all agree, or where it cannot be told.
        residual: The larger of two: size of the syndrome over that of the answers, and its largest column over the
            largest answer. Infinite where an answer is not finite.
        spares: Answers beyond those that the others follow from: 0 nothing is checked, 1 detects, 2 locate.
    """

    consistent: bool
    suspect_share: int | None
    residual: float
    spares: int


def check(
    code: Code,
    shares: Sequence[int],
    answers: Array,
    transport: str,
    *,
    columns: int | None = None,
    magnitude: float = 0.0,
) -> Finding:
    """Hold answers of one codeword against each other.

    Cost: `r` multiply-adds per element of the answers, which are read twice; nothing is copied but for values that may
    overflow.

    Args:
        code: Any linear code.
        shares: Distinct share indices that agents or the host answered, in the order of the rows of `answers`.
        answers: `(len(shares), *shape)` float32, C-contiguous; `(len(shares), l, *block)` for a code with several
            blocks per share, in its own order. Borrowed.
        transport: What shares and answers travelled as, `f16` where either did, else `f32`.
        columns: Look at about so many elements of an answer, evenly spread, instead of all: enough for an agent that
            is wrong throughout, not for one flipped bit.
        magnitude: What an element of an answer would measure if its terms did not cancel: root mean square of the
            input times that of the filters' norms. Where answers are much smaller, rounding is in proportion to it.

    Returns:
        What was found; a liar whose answer is not finite is named with one spare already.
    """
    if not shares:
        return Finding(consistent=True, suspect_share=None, residual=0.0, spares=0)
    lines = _lines(code, tuple(shares))
    values = answers.reshape(len(lines.rows), -1)
    if columns is not None and values.shape[1] > columns:
        values = np.ascontiguousarray(values[:, :: -(-values.shape[1] // columns)])
    highest = np.maximum(values.max(axis=1, initial=0.0), -values.min(axis=1, initial=0.0)).astype(np.float64)
    broken = {shares[row // lines.each] for row in np.flatnonzero(~np.isfinite(highest)).tolist()}
    if broken:
        return _without(code, shares, values, transport, broken)
    peak = float((highest / lines.norms).max(initial=0.0))
    if not len(lines.checks) or peak == 0.0:
        return Finding(consistent=True, suspect_share=None, residual=0.0, spares=lines.spares)
    if not TINY < peak < HUGE:  # squares would leave the range of float32
        unit = 2.0 ** math.frexp(peak)[1]
        values, peak, magnitude = values / np.float32(unit), peak / unit, magnitude / unit
    syndrome = mix((lines.checks / lines.norms).astype(np.float32), values)
    energy = np.einsum("rm,rm->m", syndrome, syndrome)
    squares = np.einsum("rm,rm->r", values, values) / lines.norms**2
    size = max(math.sqrt(squares.sum()), magnitude * math.sqrt(values.size))
    residual = max(math.sqrt(energy.sum(dtype=np.float64)) / size, math.sqrt(energy.max()) / max(peak, magnitude))
    if residual <= TOLERANCES[transport]:
        return Finding(consistent=True, suspect_share=None, residual=residual, spares=lines.spares)
    loud = syndrome[:, energy >= LOUD**2 * energy.max()].astype(np.float64)
    suspect = _locate(lines, loud @ loud.T)
    named = None if suspect is None else shares[suspect]
    return Finding(consistent=False, suspect_share=named, residual=residual, spares=lines.spares)


def share_rows(code: Code, share: int) -> Matrix:
    """The mixtures that a share's answer consists of, read off the code itself.

    Returns:
        `(l, code.pieces)` float64: one row, or one per block where filters are coded too.
    """
    inputs = code.pieces // code.filters
    of_input: Matrix = code.encode(np.eye(inputs, dtype=np.float32), share).reshape(-1, inputs).astype(np.float64)
    if code.filters == 1:
        return of_input
    groups = np.eye(code.filters, dtype=np.float32)[:, :, None, None]
    of_filters = code.encode_filters(groups, share).reshape(-1, code.filters).astype(np.float64)
    rows: Matrix = np.kron(of_input, of_filters).astype(np.float64)
    return rows


@dataclass(frozen=True, slots=True)
class _Lines:
    """The equations that hold between the answers to certain shares.

    Attributes:
        rows: `(shares * each, pieces)` what was answered.
        norms: Their norms.
        checks: `(r, shares * each)`, orthonormal; they vanish on the rows divided by their norms.
        each: Rows per share.
    """

    rows: Matrix
    norms: Matrix
    checks: Matrix
    each: int

    @property
    def spares(self) -> int:
        """Answers beyond those that the others follow from."""
        return len(self.checks) // self.each


def _lines(code: Code, shares: tuple[int, ...]) -> _Lines:
    parts = [share_rows(code, share) for share in shares]
    rows: Matrix = np.concatenate(parts)
    norms: Matrix = np.linalg.norm(rows, axis=1)
    left, values, _ = np.linalg.svd(rows / norms[:, None])
    rank = int(np.count_nonzero(values > INDEPENDENT * values[0]))
    return _Lines(rows, norms, np.ascontiguousarray(left[:, rank:].T), len(parts[0]))


def _locate(lines: _Lines, gram: Matrix) -> int | None:
    """The place of the share along whose columns the syndrome lies, if only one does."""
    if lines.spares < 2:
        return None
    left_over = [
        _left_over(lines.checks[:, at : at + lines.each], gram) for at in range(0, len(lines.rows), lines.each)
    ]
    order = np.argsort(left_over)
    best, second = left_over[order[0]], left_over[order[1]]
    is_alone = best <= RIVAL * second and second > PARALLEL
    return int(order[0]) if best <= UNEXPLAINED and is_alone else None


def _left_over(columns: Matrix, gram: Matrix) -> float:
    """What part of a syndrome, by its Gram matrix, these columns do not explain: 0 all, 1 nothing."""
    left, values, _ = np.linalg.svd(columns, full_matrices=False)
    space = left[:, values > INDEPENDENT]  # empty where no equation holds this share
    explained = float(np.einsum("rs,rt,ts->", space, gram, space)) / float(np.trace(gram))
    return math.sqrt(max(0.0, 1.0 - explained))


def _without(code: Code, shares: Sequence[int], values: Array, transport: str, broken: set[int]) -> Finding:
    """Judge answers of which some are not finite.

    One that is not, where the others determine a finite value for it, is a lie. Large values may overflow honestly, and
    of several such answers nothing is known: then the others are held against each other alone.
    """
    each = len(values) // len(shares)
    kept = [place for place, share in enumerate(shares) if share not in broken]
    rest = values.reshape(len(shares), each, -1)[kept]
    finding = check(code, tuple(shares[place] for place in kept), rest, transport)
    spares = _lines(code, tuple(shares)).spares
    modest = bool(np.abs(rest).max(initial=0.0) < OVERFLOWS)
    if len(broken) == 1 and modest and finding.consistent and spares > finding.spares:
        return Finding(consistent=False, suspect_share=min(broken), residual=math.inf, spares=spares)
    return finding
