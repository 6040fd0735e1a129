from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.codes.gain import worst_gain
from cocoi_cli.codes.generator import gaussian_parity, harmonic_parity, parity_tables, systematic_generator
from tests.codes.sizes import SMALL, TABLES


@pytest.mark.parametrize(("n", "k"), [*SMALL, *TABLES, (40, 8), (64, 48), (13, 7), (24, 20)])
def test_the_first_rows_are_the_identity(n: int, k: int) -> None:
    generator = systematic_generator(n, k)
    assert generator.shape == (n, k)
    assert generator.dtype == np.float64
    np.testing.assert_array_equal(generator[:k], np.eye(k))
    np.testing.assert_array_equal(generator, generator.astype(np.float32))


@pytest.mark.parametrize("k", range(1, 20))
def test_one_parity_is_the_plain_sum(k: int) -> None:
    np.testing.assert_array_equal(systematic_generator(k + 1, k)[k], np.ones(k))


@pytest.mark.parametrize(("n", "k"), TABLES)
def test_a_size_of_the_table_uses_it(n: int, k: int) -> None:
    np.testing.assert_allclose(systematic_generator(n, k)[k:], parity_tables()[n, k], rtol=1e-7)


def test_the_table_is_never_worse_than_the_closed_form() -> None:
    for n, k in TABLES:
        table = np.vstack([np.eye(k), parity_tables()[n, k]])
        closed = np.vstack([np.eye(k), harmonic_parity(n, k)])
        assert worst_gain(table) <= worst_gain(closed) * 1.01, (n, k)


@pytest.mark.parametrize(("n", "k"), [(13, 11), (13, 10), (13, 9), (24, 20), (40, 36)])
def test_up_to_four_parities_are_harmonic_outside_the_table(n: int, k: int) -> None:
    np.testing.assert_allclose(systematic_generator(n, k)[k:], harmonic_parity(n, k), rtol=1e-7)


@pytest.mark.parametrize(("n", "k"), [(16, 8), (40, 8), (64, 48)])
def test_from_eight_parities_on_they_are_random_and_always_the_same(n: int, k: int) -> None:
    np.testing.assert_allclose(systematic_generator(n, k)[k:], gaussian_parity(n, k), rtol=1e-7)
    np.testing.assert_array_equal(gaussian_parity(n, k), gaussian_parity(n, k))


@pytest.mark.parametrize(("n", "k"), [(13, 8), (14, 8), (14, 7), (20, 14), (30, 23)])
def test_between_them_the_smaller_worst_gain_decides(n: int, k: int) -> None:
    candidates = [np.vstack([np.eye(k), make(n, k)]) for make in (harmonic_parity, gaussian_parity)]
    best = min(worst_gain(generator) for generator in candidates)
    assert worst_gain(systematic_generator(n, k)) == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize(("n", "k"), [(6, 4), (7, 4), (8, 5), (9, 5)])
def test_no_choice_of_parity_positions_beats_the_even_one(n: int, k: int) -> None:
    angle = 2 * np.pi * np.arange(n) / n
    half = 0 if k % 2 else 0.5
    waves = [f((m + half) * angle) for m in range(n) for f in (np.cos, np.sin)]
    columns = [np.full(n, np.sqrt(0.5)), *waves[2 : k + 1]] if k % 2 else waves[:k]
    frame = np.sqrt(2 / n) * np.stack(columns, axis=1)
    gains = []
    for parity in itertools.combinations(range(n), n - k):
        data = [i for i in range(n) if i not in parity]
        gains.append(worst_gain(np.vstack([np.eye(k), frame[list(parity)] @ np.linalg.inv(frame[data])])))
    even = worst_gain(np.vstack([np.eye(k), harmonic_parity(n, k)]))
    assert even == pytest.approx(min(gains))


@pytest.mark.parametrize(("n", "k"), [(0, 0), (3, 0), (3, 4), (-1, 1)])
def test_refuses_sizes_that_are_no_code(n: int, k: int) -> None:
    with pytest.raises(ValueError, match="no generator has"):
        systematic_generator(n, k)


def test_the_generator_is_shared_and_read_only() -> None:
    generator = systematic_generator(6, 4)
    assert generator is systematic_generator(6, 4)
    with pytest.raises(ValueError, match="read-only"):
        generator[0, 0] = 2
