"""Which pieces a symbol of a Luby-transform code adds up: drawn once, the same on every machine.

The generator of random numbers is written out here (splitmix64), because numpy promises the same stream only within
a release, and host and planner of different releases must draw the same symbols.

Notation: `K` pieces, `c` and `delta` of the robust soliton distribution, `R = c ln(K / delta) sqrt(K)`.

Source: docs/methods.md, Luby transform; Luby, "LT codes", FOCS 2002.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

C = 0.1
DELTA = 0.5

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


@lru_cache(maxsize=256)
def robust_soliton(pieces: int, c: float = C, delta: float = DELTA) -> tuple[float, ...]:
    """Probability of each degree 1 to `pieces`.

    The ideal soliton distribution, with more weight below `K / R` and a spike there, which
    keeps the number of symbols that can be peeled from running dry.

    Returns:
        `pieces` numbers that add up to 1; the first belongs to degree 1.
    """
    weights = [1 / pieces, *(1 / (degree * (degree - 1)) for degree in range(2, pieces + 1))]
    ripple = c * math.log(pieces / delta) * math.sqrt(pieces)
    spike = round(pieces / ripple)
    for degree in range(1, min(spike, pieces + 1)):
        weights[degree - 1] += ripple / (degree * pieces)
    if spike <= pieces:
        weights[spike - 1] += max(0.0, ripple * math.log(ripple / delta) / pieces)
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def draw_pieces(seed: int, pieces: int, symbol: int) -> tuple[int, ...]:
    """The pieces that a symbol adds up, ascending: at least one, and none twice.

    Args:
        seed: Of the code.
        pieces: How many there are.
        symbol: Index of the symbol.
    """
    numbers = _splitmix((seed * 0x1F123BB5 + pieces) * 0x5851F42D + symbol)
    point = (next(numbers) >> 11) * 2.0**-53
    degree = 1 + next((at for at, sum_ in enumerate(_cumulated(pieces)) if point < sum_), pieces - 1)
    chosen: set[int] = set()
    for last in range(pieces - degree, pieces):  # Floyd's choice of a subset
        candidate = next(numbers) * (last + 1) >> 64
        chosen.add(last if candidate in chosen else candidate)
    return tuple(sorted(chosen))


@lru_cache(maxsize=256)
def _cumulated(pieces: int) -> tuple[float, ...]:
    return tuple(itertools.accumulate(robust_soliton(pieces)))


def _splitmix(state: int) -> Iterator[int]:
    """Numbers of 64 bits; Steele, Lea and Flood, OOPSLA 2014."""
    while True:
        state = (state + _GOLDEN) & _MASK
        mixed = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        yield mixed ^ (mixed >> 31)
