from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from cocoi_cli.planning.exponential_sums import LARGEST_TERM, cdf_of_sum, divided_difference, partial_fractions

TIMES = np.array([1e-6, 1e-3, 0.03, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0, 300.0])


def erlang(m: int, time: float) -> float:
    """Lower tail by its own series: no digit is lost."""
    return math.fsum(math.exp(-time + j * math.log(time) - math.lgamma(j + 1)) for j in range(m, m + 700))


def with_many_digits(rates: list[int], time: float) -> float:
    """The textbook's partial fractions with 60 digits."""
    with localcontext() as digits:
        digits.prec = 60
        chance = Decimal(1)
        for i, rate in enumerate(rates):
            others = [Decimal(b) / (b - rate) for j, b in enumerate(rates) if j != i]
            chance -= math.prod(others, start=Decimal(1)) * (-rate * Decimal(float(time))).exp()
        return float(chance)


@pytest.mark.parametrize("phases", [1, 2, 3, 4, 6])
def test_equal_rates_are_the_erlang_distribution(phases):
    expected = [erlang(phases, time) for time in TIMES]
    assert cdf_of_sum([1.0] * phases, TIMES) == pytest.approx(expected, rel=1e-11)


def test_one_rate_is_the_exponential_distribution():
    assert cdf_of_sum([3.0], TIMES) == pytest.approx(-np.expm1(-3 * TIMES), rel=1e-13)


@pytest.mark.parametrize("rates", [[1, 2], [1, 2, 50], [7, 3, 5, 11], [1, 1000], [1, 2, 3, 4, 5]])
def test_separate_rates_agree_with_exact_arithmetic_far_into_the_lower_tail(rates):
    times = TIMES[TIMES * max(rates) < 60]
    expected = [with_many_digits(rates, time) for time in times]
    assert cdf_of_sum([float(rate) for rate in rates], times) == pytest.approx(expected, rel=1e-11)


def test_nearly_equal_rates_go_over_into_equal_ones():
    equal = cdf_of_sum([2.0, 2.0, 5.0], TIMES)
    for apart in (1e-15, 1e-12, 1e-9, 1e-6, 1e-4):
        assert cdf_of_sum([2.0, 2.0 * (1 + apart), 5.0], TIMES) == pytest.approx(equal, rel=2 * apart + 1e-11)


def test_a_phase_that_takes_next_to_no_time_changes_nothing():
    for far in (1e6, 1e9, 1e12):
        late = TIMES[TIMES > 0.05]
        assert cdf_of_sum([1.0, 2.0, far], late) == pytest.approx(cdf_of_sum([1.0, 2.0], late), rel=1e2 / far + 1e-11)


def test_it_ascends_from_zero_to_one_whatever_the_rates():
    rng = np.random.default_rng(5)
    times = np.concatenate([[-1.0, 0.0], np.geomspace(1e-6, 1e6, 300)])
    for _ in range(30):
        rates = (10 ** rng.uniform(-3, 3, rng.integers(1, 6))).tolist()
        if rng.random() < 0.5:
            rates.append(rates[0] * (1 + 10 ** rng.uniform(-14, -2)))
        chances = cdf_of_sum(rates, times)
        assert chances[0] == chances[1] == 0
        assert np.diff(chances).min() > -1e-12
        assert chances[-1] == pytest.approx(1)
        assert cdf_of_sum(rates[::-1], times) == pytest.approx(chances, rel=1e-12)


def test_partial_fractions_agree_where_they_are_given_and_are_refused_where_they_lose_digits():
    rng = np.random.default_rng(6)
    given = 0
    for _ in range(200):
        rates = (10 ** rng.uniform(-2, 2, 3)).tolist()
        coefficients = partial_fractions(rates)
        if coefficients is not None:
            given += 1
            assert sum(coefficients) == pytest.approx(1)
            late = sum(c * np.exp(-rate * TIMES) for c, rate in zip(coefficients, rates, strict=True))
            assert 1 - late == pytest.approx(cdf_of_sum(rates, TIMES), abs=1e-15 * LARGEST_TERM)
    assert given > 150
    assert partial_fractions([1.0, 1.0]) is None
    assert partial_fractions([1.0, 1.0 + 1e-5, 3.0]) is None
    assert partial_fractions([]) == ()


def test_without_phases_the_sum_is_zero():
    assert cdf_of_sum([], np.array([-1.0, 0.0, 1.0])).tolist() == [0, 1, 1]


def test_divided_differences_are_those_of_the_definition():
    at = [np.array([value]) for value in (-3.0, -1.0, 0.5, 2.0)]
    first = [(math.exp(b) - math.exp(a)) / (b - a) for a, b in ((-3, -1), (-1, 0.5), (0.5, 2))]
    second = [(first[1] - first[0]) / 3.5, (first[2] - first[1]) / 3]
    assert divided_difference(at)[0] == pytest.approx((second[1] - second[0]) / 5)
