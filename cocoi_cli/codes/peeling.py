"""Decoding sums of pieces: peel what is known, set aside what blocks, solve the small rest.

A symbol of which all pieces but one are known gives that piece. Where no symbol is left with one, a piece is *set
aside* (inactivation): everything after is expressed by it too. The symbols that peeling did not use are equations for
the pieces set aside, a system of a few unknowns, which is solved in float64. Only the small matrices are touched here;
the arrays of the answers see one product with the result.

Notation: `k` pieces, `a` answers, `u` pieces set aside, `D` (k x a) the decoding matrix.

Source: docs/methods.md, Luby transform.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Peeling:
    """In which order sums give their pieces.

    Attributes:
        steps: `(piece, symbol)` in order: by then every other piece of the symbol is known or set aside.
        aside: Pieces set aside.
        left: Symbols that no step uses.
    """

    steps: tuple[tuple[int, int], ...]
    aside: tuple[int, ...]
    left: tuple[int, ...]


def peel(sums: Sequence[Sequence[int]], pieces: int) -> Peeling:
    """Find the order; each symbol is the list of the pieces it adds up."""
    unknown = [set(members) for members in sums]
    holders: list[set[int]] = [set() for _ in range(pieces)]
    for symbol, members in enumerate(sums):
        for piece in members:
            holders[piece].add(symbol)
    steps: list[tuple[int, int]] = []
    aside: list[int] = []
    ripe = [symbol for symbol, members in enumerate(unknown) if len(members) == 1]
    open_pieces = set(range(pieces))
    while open_pieces:
        if ripe:
            symbol = ripe.pop()
            if not unknown[symbol]:
                continue
            (piece,) = unknown[symbol]
            steps.append((piece, symbol))
        else:
            piece = max(open_pieces, key=lambda each: (len(holders[each]), -each))
            aside.append(piece)
        open_pieces.remove(piece)
        for holder in holders[piece]:
            unknown[holder].discard(piece)
            if len(unknown[holder]) == 1:
                ripe.append(holder)
    used = {symbol for _, symbol in steps}
    return Peeling(tuple(steps), tuple(aside), tuple(symbol for symbol in range(len(sums)) if symbol not in used))


def peeling_matrix(sums: Sequence[Sequence[int]], pieces: int) -> Matrix:
    """How each piece follows from the answers.

    Args:
        sums: The pieces that each answer adds up; together they determine all pieces.
        pieces: Number of pieces, k.

    Returns:
        `(k, len(sums))` float64.
    """
    order = peel(sums, pieces)
    answers, aside = len(sums), len(order.aside)
    # Row of a piece: how it follows from the answers and, in the last columns, from the pieces set aside.
    known = np.zeros((pieces, answers + aside))
    for at, piece in enumerate(order.aside):
        known[piece, answers + at] = 1
    for piece, symbol in order.steps:
        others = [each for each in sums[symbol] if each != piece]
        row = -known[others].sum(axis=0)
        row[symbol] += 1
        known[piece] = row
    if not aside:
        return known
    equations = np.stack([_equation(known, sums[symbol], symbol) for symbol in order.left])
    solution = np.linalg.lstsq(equations[:, answers:], -equations[:, :answers], rcond=None)[0]
    decoder: Matrix = known[:, :answers] + known[:, answers:] @ solution
    return decoder


def _equation(known: Matrix, members: Sequence[int], symbol: int) -> Matrix:
    """What must vanish: the sum of the members, as far as known, less the answer itself."""
    row: Matrix = known[list(members)].sum(axis=0)
    row[symbol] -= 1
    return row
