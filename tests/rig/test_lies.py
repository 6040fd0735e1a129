"""Wrong answers are wrong in the way that was asked for, and the right ones stay."""

from __future__ import annotations

import numpy as np
import pytest

from bench.lab.behaviour import Lie
from bench.lab.lies import spoiler

RIGHT = np.random.default_rng(1).standard_normal((1, 3, 5, 7))
FLOATS = [np.float16, np.float32, np.float64]


def test_an_honest_agent_spoils_nothing() -> None:
    assert spoiler(Lie()) is None
    assert spoiler(Lie("noise", 0.0)) is None


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("fraction", [0.01, 0.5])
def test_noise_is_bounded_by_the_largest_number(dtype: type, fraction: float) -> None:
    right = RIGHT.astype(dtype)
    kept = right.copy()
    wrong = spoiler(Lie("noise", fraction))(right)
    error = np.abs(wrong.astype(np.float64) - right)
    largest = float(np.max(np.abs(right)))
    assert 0.5 * fraction * largest < error.max() <= fraction * largest + largest * np.finfo(dtype).eps
    assert (wrong.dtype, wrong.shape) == (right.dtype, right.shape)
    np.testing.assert_array_equal(right, kept)


@pytest.mark.parametrize("dtype", FLOATS)
def test_one_bit_of_the_largest_number_flips(dtype: type) -> None:
    right = RIGHT.astype(dtype)
    spoil = spoiler(Lie("flip"))
    bits = f"u{right.dtype.itemsize}"
    seen = set()
    for _ in range(60):
        changed = (spoil(right).view(bits) ^ right.view(bits)).reshape(-1)
        (place,) = np.flatnonzero(changed)
        assert place == np.argmax(np.abs(right))
        flipped = int(changed[place])
        assert flipped.bit_count() == 1
        seen.add(flipped.bit_length() - 1)
    assert min(seen) >= np.finfo(dtype).nmant  # sign and exponent only
    assert max(seen) == 8 * right.dtype.itemsize - 1
    np.testing.assert_array_equal(right, RIGHT.astype(dtype))


@pytest.mark.parametrize("lie", [Lie("noise", 0.5), Lie("flip")])
def test_what_is_no_float_or_empty_is_let_be(lie: Lie) -> None:
    spoil = spoiler(lie)
    for answer in (np.arange(6), np.zeros((0, 3), np.float32)):
        np.testing.assert_array_equal(spoil(answer), answer)


def test_too_large_for_float16_becomes_infinite_without_a_warning() -> None:
    spoil = spoiler(Lie("noise", 1.0))
    wrong = spoil(np.full(100, 65000, np.float16))
    assert np.isinf(wrong).any()
