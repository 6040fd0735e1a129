"""Which agents' loss is worst for decoding, how bad it is, and which answers decode a strip without them."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.codes.registry import make_code
from cocoi_cli.planning.defaults import gain_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Set

    from cocoi_cli.codes.code import Code
    from cocoi_cli.planning.plan import ConvPlan

MOST_SETS: Final = 500  # sets of losses that are tried for the largest noise gain; beyond, runs of neighbours only
MOST_SYMBOLS: Final = 50  # of a rateless code, for each piece: it decodes long before


def losses_of(plan: ConvPlan) -> frozenset[int]:
    """The shares without which a layer decodes worst, of those that are not at home at the host itself."""
    return _losses(plan.scheme, plan.n, plan.k, plan.filters, plan.transport, plan.n - plan.host)[0]


def noise_gain(plan: ConvPlan) -> float:
    """By how much decoding a layer enlarges rounding without the shares of `losses_of`; 1 where nothing is mixed."""
    return _losses(plan.scheme, plan.n, plan.k, plan.filters, plan.transport, plan.n - plan.host)[1]


def worst_losses(code: Code, homes: int | None = None) -> tuple[frozenset[int], float]:
    """The shares without which decoding enlarges rounding most, among sets that the guard accepts, and its noise gain.

    Args:
        code: With a number of shares; a rateless one has no worst loss, and loses one agent of two that it may.
        homes: How many shares, from the first on, are at home at agents that can be lost; None for all.
    """
    if code.shares is None:
        return frozenset(range(min(1, (homes or 1) - 1))), 1.0
    n = code.shares if homes is None else min(homes, code.shares)
    spare = min(code.shares - code.needed, n)
    sets: Iterable[tuple[int, ...]] = itertools.combinations(range(n), spare)
    if math.comb(n, spare) > MOST_SETS:
        sets = (tuple((first + step) % n for step in range(spare)) for first in range(n))
    worst, gain = frozenset[int](), 0.0
    for lost in sets:
        rest = [share for share in range(code.shares) if share not in lost]
        if code.ready(frozenset(rest)):
            # Answers may consist of several blocks each, where filters are mixed too.
            blocks = max(1, code.pieces // code.needed)
            found = code.decode(rest, np.zeros((len(rest), blocks, 1), np.float32)).gain
            if found > gain:
                worst, gain = frozenset(lost), found
    return worst, max(gain, 1.0)


@lru_cache(maxsize=256)
def _losses(scheme: str, n: int, k: int, filters: int, transport: str, homes: int) -> tuple[frozenset[int], float]:
    return worst_losses(make_code(scheme, n, k, gain_limit=gain_limit(transport), filters=filters), homes)


def survivors(code: Code, lost: Set[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shares that decode a strip when those of `lost` never come: of agents, and what the host must add."""
    have: set[int] = set()
    shares: Iterable[int] = range(code.shares or 0)
    if code.shares is None:
        shares = range(code.pieces, MOST_SYMBOLS * code.pieces + MOST_SYMBOLS)
        lost = frozenset()  # what an agent does not answer, another share makes up for
    for share in shares:
        if code.ready(have):
            break
        if share not in lost and code.useful(share, have):
            have.add(share)
    return tuple(sorted(have)), () if code.ready(have) else code.completing(frozenset(have))
