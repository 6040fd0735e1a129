from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cocoi_cli.codes.families.lt import SEED
from cocoi_cli.codes.peeling import peel
from cocoi_cli.codes.ranks import Ranks
from cocoi_cli.codes.soliton import draw_pieces, robust_soliton

GOLDEN = {  # host, planner and simulation of different releases must agree on them
    (SEED, 1, 1): (0,),
    (SEED, 8, 8): (0, 2, 3, 4, 6, 7),
    (SEED, 8, 9): (4, 5),
    (SEED, 8, 10): (1, 7),
    (SEED, 8, 11): (2, 4, 5, 6),
    (SEED, 8, 12): (4, 7),
    (SEED, 8, 13): (2, 3, 4),
    (SEED, 20, 20): (16,),
    (SEED, 20, 21): (5, 8),
    (SEED, 20, 22): (1, 4, 5, 8, 9, 11, 13, 14, 15, 16, 17, 18),
    (SEED, 20, 23): (3, 14),
    (SEED, 20, 59): (2, 4, 11),
    (SEED, 20, 1000): (1, 18),
    (SEED, 64, 64): (20, 53),
    (SEED, 64, 100): (24, 55),
    (7, 20, 20): (12, 15),
    (7, 20, 21): (3, 9),
}


@pytest.mark.parametrize("pieces", [1, 2, 3, 8, 16, 32, 64, 200])
def test_probabilities_add_up_and_degree_two_is_the_most_likely(pieces: int) -> None:
    distribution = robust_soliton(pieces)
    assert len(distribution) == pieces
    assert sum(distribution) == pytest.approx(1)
    assert min(distribution) > 0
    if pieces > 2:
        assert int(np.argmax(distribution)) == 1


def test_the_ideal_part_is_the_soliton_and_the_robust_part_has_its_spike() -> None:
    plain = robust_soliton(1000, c=1e-9)
    assert plain[0] == pytest.approx(1 / 1000, rel=1e-3)
    assert plain[6] == pytest.approx(1 / (7 * 6), rel=1e-3)
    robust = robust_soliton(1000, c=0.1, delta=0.5)
    spike = int(np.argmax(np.array(robust[10:]) / np.array(plain[10:]))) + 11
    assert spike == round(1000 / (0.1 * np.log(2000) * np.sqrt(1000)))


def test_symbols_have_the_degrees_of_the_distribution_and_favour_no_piece() -> None:
    draws = [draw_pieces(5, 16, symbol) for symbol in range(16, 8016)]
    degrees = Counter(map(len, draws))
    for degree, probability in enumerate(robust_soliton(16), start=1):
        assert degrees[degree] / len(draws) == pytest.approx(probability, abs=0.015)
    pieces = Counter(piece for drawn in draws for piece in drawn)
    mean = sum(pieces.values()) / 16
    assert all(abs(count / mean - 1) < 0.05 for count in pieces.values())
    assert all(list(drawn) == sorted(set(drawn)) and 0 <= drawn[0] <= drawn[-1] < 16 for drawn in draws)


@pytest.mark.parametrize(("seed", "pieces", "symbol"), sorted(GOLDEN))
def test_symbols_never_change(seed: int, pieces: int, symbol: int) -> None:
    assert draw_pieces(seed, pieces, symbol) == GOLDEN[seed, pieces, symbol]


@pytest.mark.parametrize(("pieces", "eliminated", "peeled"), [(8, 1.25, 1.54), (16, 1.13, 1.55), (32, 1.07, 1.44)])
def test_elimination_needs_as_many_symbols_as_measured_and_peeling_alone_far_more(
    pieces: int, eliminated: float, peeled: float
) -> None:
    needed, alone = zip(*(symbols_needed(seed, pieces) for seed in range(1200 // pieces)), strict=True)
    assert np.mean(needed) / pieces == pytest.approx(eliminated, abs=0.06)
    assert np.mean(alone) / pieces == pytest.approx(peeled, abs=0.12)


def symbols_needed(seed: int, pieces: int) -> tuple[int, int]:
    """Until elimination decodes, and until peeling alone does."""
    drawn: list[tuple[int, ...]] = []

    def row_of(at: int) -> np.ndarray:
        row = np.zeros(pieces)
        row[list(drawn[at])] = 1
        return row

    ranks, needed = Ranks(pieces, row_of), 0
    while not needed or peel(drawn, pieces).aside:
        drawn.append(draw_pieces(seed, pieces, pieces + len(drawn)))
        if not needed and ranks.rank(range(len(drawn))) == pieces:
            needed = len(drawn)
    return needed, len(drawn)
