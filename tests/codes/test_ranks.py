from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.ranks import KEPT, Ranks


def rows_of_sums(count: int, columns: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = (rng.random((count, columns)) < 3 / columns).astype(float)
    rows[np.arange(count), rng.integers(columns, size=count)] = 1
    rows[: count // 4] = rows[count // 4 : 2 * (count // 4)]  # some twice
    return rows


@pytest.mark.parametrize("columns", [1, 2, 5, 20, 64])
@pytest.mark.parametrize("seed", range(4))
def test_sets_that_grow_in_any_order_have_the_rank_of_their_matrix(columns: int, seed: int) -> None:
    rows = rows_of_sums(2 * columns + 4, columns, seed)
    ranks = Ranks(columns, lambda row: rows[row])
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    for count in range(len(rows) + 1):
        have = set(order[:count])
        expected = int(np.linalg.matrix_rank(rows[sorted(have)])) if have else 0
        assert ranks.rank(have) == expected
        if count < len(rows):
            more = int(np.linalg.matrix_rank(rows[sorted({*have, order[count]})]))
            assert ranks.adds(order[count], have) == (more > expected)


def test_sets_that_nobody_asked_about_before_and_small_ones_after_large_ones() -> None:
    rows = rows_of_sums(40, 16, 1)
    ranks = Ranks(16, lambda row: rows[row])
    rng = np.random.default_rng(2)
    for size in (30, 3, 17, 1, 40, 16):
        have = rng.choice(40, size, replace=False).tolist()
        assert ranks.rank(have) == np.linalg.matrix_rank(rows[have])


def test_goes_on_when_more_sets_came_than_are_kept() -> None:
    rows = np.eye(12)
    ranks = Ranks(12, lambda row: rows[row])
    for key in range(KEPT + 200):
        have = [bit for bit in range(12) if key >> bit & 1]
        assert ranks.rank(have) == len(have)
    assert len(ranks._bases) <= KEPT
