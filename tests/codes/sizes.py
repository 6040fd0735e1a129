"""Sizes and survivor sets that the tests of the codes walk through."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.generator import parity_tables

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL = [(n, k) for n in range(1, 9) for k in range(1, n + 1)]
TABLES = sorted(parity_tables())


def survivor_sets(n: int, k: int, *, every_up_to: int = 5000, samples: int = 2000) -> Iterator[tuple[int, ...]]:
    """Every k-subset where they are few, else a seeded sample and every contiguous erasure."""
    if math.comb(n, k) <= every_up_to:
        yield from itertools.combinations(range(n), k)
        return
    rng = np.random.default_rng((n, k))
    for _ in range(samples):
        yield tuple(sorted(rng.choice(n, size=k, replace=False).tolist()))
    for start in range(n):
        lost = {(start + i) % n for i in range(n - k)}
        yield tuple(i for i in range(n) if i not in lost)
