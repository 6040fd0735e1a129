"""Slow, obvious twins of the codes: generators written out from the formulas, solved densely in float64."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.code import Code
from cocoi_cli.codes.families.cocoi import VandermondeCode
from cocoi_cli.codes.families.fcdcc import FilterCode
from cocoi_cli.codes.families.lt import LubyCode
from cocoi_cli.codes.registry import make_code

if TYPE_CHECKING:
    from collections.abc import Iterator

EPS = float(np.finfo(np.float32).eps)


def rotation(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def rotation_rows(share: int, n: int, k_a: int, k_b: int) -> np.ndarray:
    """The blocks of a share as in the description of the method: `(l_A * l_B, k_A * k_B)`."""
    theta = 2 * math.pi / n
    step = k_a // 2 if k_a > 1 else 1
    m_a = np.vstack([rotation(share * j * theta) for j in range(k_a // 2)]) if k_a > 1 else np.ones((1, 1))
    m_b = np.vstack([rotation(share * j * step * theta) for j in range(k_b // 2)]) if k_b > 1 else np.ones((1, 1))
    return np.stack([np.kron(m_a[:, u], m_b[:, v]) for u in range(m_a.shape[1]) for v in range(m_b.shape[1])])


def chebyshev_rows(n: int, k: int) -> np.ndarray:
    return np.array([[(4 / 3 * math.cos((2 * i + 1) * math.pi / (2 * n))) ** j for j in range(k)] for i in range(n)])


@lru_cache(maxsize=64)
def paper_rows(n: int, k: int) -> np.ndarray:
    """Powers of the integers where no k of them enlarge errors a thousand times, else of stretched Chebyshev points."""
    integers = np.array([[float((i + 1) ** j) for j in range(k)] for i in range(n)])
    if n > 8:
        return chebyshev_rows(n, k)
    worst = 0.0
    for rows in itertools.combinations(range(n), k):
        chosen = integers[list(rows)]
        weighed = np.linalg.inv(chosen) * np.linalg.norm(chosen, axis=1)
        worst = max(worst, float(np.linalg.norm(weighed, axis=1).max()))
    return integers if worst <= 1000 else chebyshev_rows(n, k)


def rows_of(code: Code, share: int) -> np.ndarray:
    """What a share is a mixture of, `(l, pieces)` float64, without asking the code to encode."""
    if isinstance(code, VandermondeCode):
        return paper_rows(code.n, code.k)[share : share + 1]
    if isinstance(code, FilterCode):
        return rotation_rows(share, code.n, code.row_pieces, code.filters)
    if isinstance(code, LubyCode):
        row = np.zeros((1, code.k))
        row[0, list(code.members(share))] = 1
        return row
    message = f"no twin of {code}"
    raise TypeError(message)


def solve(rows: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Least squares in float64, one row of `answers` per row of the generator."""
    return np.linalg.lstsq(rows, answers.reshape(len(rows), -1).astype(np.float64), rcond=None)[0]


def ready_sets(code: Code, samples: int, seed: int) -> Iterator[tuple[int, ...]]:
    """Every minimal set of answers where they are few; random ones in random order; grown until ready where it must."""
    if code.shares is not None and math.comb(code.shares, code.needed) <= samples:
        yield from itertools.combinations(range(code.shares), code.needed)
        return
    rng = np.random.default_rng(seed)
    pool = range(code.shares) if code.shares is not None else range(code.pieces, 4 * code.pieces + 12)
    for _ in range(samples):
        order = rng.permutation(np.array(pool)).tolist()
        size = code.needed
        while size < len(order) and not code.ready(set(order[:size])):
            size += 1
        if code.ready(set(order[:size])):
            yield tuple(order[:size])


def codes_of_every_kind() -> list[Code]:
    """Small and middling members of the dense families."""
    made = [make_code("cocoi", n, k, gain_limit=1000) for n in range(1, 7) for k in range(1, n + 1)]
    made += [make_code("cocoi", n, k, gain_limit=1000) for n, k in [(8, 6), (10, 8), (10, 6)]]
    made += [make_code("lt", 4, k, gain_limit=1000) for k in (1, 2, 3, 5, 8, 20)]
    for n in range(1, 6):
        for k in range(1, n + 1):
            groups = {1, 2 * k, *(2 * divisor for divisor in range(1, k + 1) if k % divisor == 0)}
            made += [make_code("fcdcc", n, k, gain_limit=1000, filters=filters) for filters in sorted(groups)]
    return [*made, *(make_code("fcdcc", n, k, gain_limit=1000, filters=4) for n, k in [(6, 4), (10, 8)])]
