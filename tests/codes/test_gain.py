from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cocoi_cli.codes.gain import decoding_matrix, median_gain, noise_gain, sampled_subsets, subset_gains, worst_gain
from cocoi_cli.codes.generator import gaussian_parity, harmonic_parity, systematic_generator


def with_parity(parity: np.ndarray) -> np.ndarray:
    return np.vstack([np.eye(parity.shape[1]), parity])


@pytest.mark.parametrize(
    ("n", "k", "gain"),
    [(4, 3, 2.2), (6, 4, 3.9), (10, 8, 9.1), (10, 7, 13.0), (12, 8, 39), (20, 16, 382)],
)
def test_the_worst_gain_of_the_tables_is_the_measured_one(n: int, k: int, gain: float) -> None:
    assert worst_gain(systematic_generator(n, k)) == pytest.approx(gain, rel=0.02)


@pytest.mark.parametrize(
    ("n", "k", "gain"),
    [(4, 3, 2.2), (6, 4, 3.9), (10, 8, 9.1), (10, 7, 22), (12, 8, 55), (20, 16, 390)],
)
def test_the_worst_gain_of_the_harmonic_form_is_the_measured_one(n: int, k: int, gain: float) -> None:
    assert worst_gain(with_parity(harmonic_parity(n, k))) == pytest.approx(gain, rel=0.02)


@pytest.mark.parametrize(
    ("n", "k", "more", "gain"),
    [(10, 8, 1, 2.6), (10, 7, 1, 4.7), (10, 7, 2, 2.3), (12, 8, 1, 17), (12, 8, 2, 4.0)],
)
def test_waiting_for_more_answers_lowers_the_worst_gain_as_measured(n: int, k: int, more: int, gain: float) -> None:
    generator = systematic_generator(n, k)
    worst = max(noise_gain(generator, rows) for rows in itertools.combinations(range(n), k + more))
    assert worst == pytest.approx(gain, rel=0.03)


def test_a_further_answer_never_raises_the_gain() -> None:
    generator = systematic_generator(8, 5)
    for rows in itertools.combinations(range(8), 5):
        for extra in set(range(8)) - set(rows):
            assert noise_gain(generator, [*rows, extra]) <= noise_gain(generator, rows) * (1 + 1e-12)


@pytest.mark.parametrize("k", range(1, 12))
def test_one_parity_has_the_gain_of_a_sum(k: int) -> None:
    assert worst_gain(systematic_generator(k + 1, k)) == pytest.approx(math.sqrt(2 * k - 1))


def test_is_one_where_nothing_is_missing_and_infinite_where_answers_are_too_few() -> None:
    generator = systematic_generator(10, 8)
    assert noise_gain(generator, range(8)) == 1.0
    assert noise_gain(generator, range(10)) == 1.0
    assert noise_gain(generator, range(7)) == math.inf


def test_is_infinite_where_rows_are_dependent() -> None:
    generator = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [2.0, 2.0]])
    assert noise_gain(generator, (2, 3)) > 1e12
    assert subset_gains(generator, np.array([[2, 3], [0, 2]]))[0] > 1e12
    assert subset_gains(generator, np.array([[2, 3], [0, 2]]))[1] == pytest.approx(math.sqrt(3))


def test_does_not_change_when_rows_are_scaled() -> None:
    generator = systematic_generator(10, 7)
    scaled = generator * np.linspace(0.1, 30, 10)[:, None]
    for rows in [(0, 1, 2, 3, 7, 8, 9), (3, 4, 5, 6, 7, 8, 9)]:
        assert noise_gain(scaled, rows) == pytest.approx(noise_gain(generator, rows))


def test_many_sets_at_once_agree_with_one_at_a_time() -> None:
    generator = systematic_generator(9, 5)
    subsets = sampled_subsets(9, 5)
    assert len(subsets) == math.comb(9, 5)
    np.testing.assert_allclose(
        subset_gains(generator, subsets), [noise_gain(generator, rows) for rows in subsets.tolist()]
    )


def test_predicts_the_error_of_a_decoded_piece() -> None:
    """Noise in proportion to the row norms, put on every answer, comes out enlarged by the gain."""
    generator, rows = systematic_generator(10, 7), (3, 4, 5, 6, 7, 8, 9)
    rng = np.random.default_rng(5)
    noise = rng.standard_normal((7, 20000)) * np.linalg.norm(generator[list(rows)], axis=1)[:, None]
    error = (decoding_matrix(generator, rows) @ noise).std(axis=1).max()
    assert error == pytest.approx(noise_gain(generator, rows), rel=0.03)


def test_the_search_above_the_exhaustive_size_beats_random_subsets() -> None:
    generator = with_parity(gaussian_parity(32, 24))
    random_only = subset_gains(generator, sampled_subsets(32, 24)).max()
    worst = worst_gain(generator)
    assert worst > 3 * random_only
    assert worst == worst_gain(generator)
    assert 10 < median_gain(generator) < 40
