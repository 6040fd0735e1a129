from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.codes.errors import BadCodeError, IllConditionedError
from cocoi_cli.codes.families.cocoi import VandermondeCode, default_pieces, make, paper_generator
from cocoi_cli.codes.gain import noise_gain, worst_gain
from cocoi_cli.codes.registry import traits
from cocoi_cli.codes.vandermonde import STRETCH, chebyshev_points, vandermonde


def test_is_the_paper_in_what_the_paper_says() -> None:
    found = traits("cocoi")
    assert (found.axis, found.strips, found.transport, found.eager) == ("width", 1, "f32", True)
    code = make(10, 8, gain_limit=1000)
    assert [code.piece_of(share) for share in range(10)] == [None] * 10
    assert [default_pieces(agents) for agents in (1, 2, 4, 5, 10, 12)] == [1, 1, 3, 3, 8, 10]


@pytest.mark.parametrize(("n", "k", "gain"), [(3, 2, 9.2), (4, 3, 95), (5, 3, 307)])
def test_small_sizes_have_the_powers_of_the_integers(n: int, k: int, gain: float) -> None:
    generator = paper_generator(n, k, 1000)
    np.testing.assert_array_equal(generator, [[float(i**j) for j in range(k)] for i in range(1, n + 1)])
    assert worst_gain(generator) == pytest.approx(gain, rel=0.01)


@pytest.mark.parametrize(("n", "k"), [(5, 4), (6, 4), (8, 6), (10, 8), (12, 10)])
def test_larger_ones_have_the_powers_of_other_points(n: int, k: int) -> None:
    generator = paper_generator(n, k, 1000)
    np.testing.assert_allclose(generator, vandermonde(generator[:, 1], k), rtol=1e-5, atol=1e-6)
    assert np.abs(generator[:, 1]).max() < STRETCH


def test_the_default_size_runs_in_float32_and_its_worst_set_is_the_documented_one() -> None:
    generator = paper_generator(10, 8, 1000)
    worst = max(noise_gain(generator, rows) for rows in itertools.combinations(range(10), 8))
    assert worst == pytest.approx(160, rel=0.01)


@pytest.mark.parametrize(("n", "k"), [(6, 4), (8, 6), (10, 8), (10, 7), (12, 10)])
def test_stretching_the_points_halves_the_gain_about(n: int, k: int) -> None:
    plain = worst_gain(vandermonde(chebyshev_points(n), k))
    stretched = worst_gain(vandermonde(chebyshev_points(n, STRETCH), k))
    best = min(worst_gain(vandermonde(chebyshev_points(n, by), k)) for by in np.arange(1, 1.8, 0.05))
    assert stretched < 0.75 * plain
    assert stretched < 1.11 * best


@pytest.mark.parametrize(("n", "k", "limit"), [(14, 12, 1000), (20, 16, 1000), (10, 8, 20)])
def test_refuses_what_any_set_of_answers_would_decode_badly(n: int, k: int, limit: float) -> None:
    with pytest.raises(IllConditionedError, match=rf"the code \({n},{k}\) is ill-conditioned") as refusal:
        make(n, k, gain_limit=limit)
    worst = refusal.value.details["gain_worst"]
    assert isinstance(worst, float)
    assert worst > limit


def test_every_set_within_the_size_decodes_without_waiting() -> None:
    code = VandermondeCode(12, 10, 1000)
    assert all(code.ready(set(rows)) for rows in itertools.combinations(range(12), 10))


def test_nothing_is_a_copy_so_even_the_first_k_answers_are_decoded() -> None:
    code = VandermondeCode(10, 8, 1000)
    pieces = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    answers = np.stack([code.encode(pieces, share) for share in range(8)])
    decoded = code.decode(range(8), answers)
    assert decoded.gain > 1
    assert not any(np.shares_memory(piece, answers) for piece in decoded.pieces)


@pytest.mark.parametrize(("n", "k"), [(3, 4), (3, 0)])
def test_refuses_sizes_that_are_no_code(n: int, k: int) -> None:
    with pytest.raises(BadCodeError, match="no `cocoi` code"):
        make(n, k, gain_limit=1000)
