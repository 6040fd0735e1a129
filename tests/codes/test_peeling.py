from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.peeling import peel, peeling_matrix
from cocoi_cli.codes.soliton import draw_pieces


def matrix_of(sums: list[tuple[int, ...]], pieces: int) -> np.ndarray:
    matrix = np.zeros((len(sums), pieces))
    for row, members in zip(matrix, sums, strict=True):
        row[list(members)] = 1
    return matrix


def test_a_chain_is_peeled_from_its_single_piece_without_any_solving() -> None:
    sums = [(1, 2), (0,), (0, 1), (2, 3)]
    order = peel(sums, 4)
    assert order.steps == ((0, 1), (1, 2), (2, 0), (3, 3))
    assert order.aside == order.left == ()
    np.testing.assert_array_equal(peeling_matrix(sums, 4), [[0, 1, 0, 0], [0, -1, 1, 0], [1, 1, -1, 0], [-1, -1, 1, 1]])


def test_what_blocks_is_set_aside_and_solved() -> None:
    sums = [(0, 1), (1, 2), (0, 2)]
    order = peel(sums, 3)
    assert (len(order.steps), len(order.aside), len(order.left)) == (2, 1, 1)
    np.testing.assert_allclose(peeling_matrix(sums, 3), [[0.5, -0.5, 0.5], [0.5, 0.5, -0.5], [-0.5, 0.5, 0.5]])


def test_symbols_that_peeling_alone_makes_are_entries_of_whole_numbers() -> None:
    sums = [(0,), (0, 1), (0, 1, 2), (1, 3), (2, 3, 4)]
    weights = peeling_matrix(sums, 5)
    np.testing.assert_array_equal(weights, np.round(weights))


@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 20, 64])
@pytest.mark.parametrize("seed", range(6))
def test_undoes_random_sums_that_have_full_rank(pieces: int, seed: int) -> None:
    sums: list[tuple[int, ...]] = []
    while len(sums) < pieces or np.linalg.matrix_rank(matrix_of(sums, pieces)) < pieces:
        sums.append(draw_pieces(seed, pieces, pieces + len(sums)))
    for extra in range(3):
        np.testing.assert_allclose(peeling_matrix(sums, pieces) @ matrix_of(sums, pieces), np.eye(pieces), atol=1e-8)
        sums.append(draw_pieces(seed, pieces, 1000 + extra))
