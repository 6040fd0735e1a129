"""Shares of a core as the kernel takes them."""

from __future__ import annotations

import pytest

from bench.lab.quota import LEAST_PERIOD_US, LEAST_QUOTA_US, MOST_PERIOD_US, Quota, quota, quota_of

SHARES = [0.1, 0.5, 1, 3, 4.5, 9, 12.7, 24.9, 25, 26, 27, 50, 99, 100, 150, 400]


@pytest.mark.parametrize("percent", SHARES)
def test_the_kernel_takes_it_and_grants_what_was_asked(percent: float) -> None:
    found = quota(percent)
    assert LEAST_PERIOD_US <= found.period_us <= MOST_PERIOD_US
    assert found.quota_us >= LEAST_QUOTA_US
    assert found.percent == pytest.approx(percent, rel=2e-3)


@pytest.mark.parametrize("percent", SHARES)
def test_no_shorter_period_would_do(percent: float) -> None:
    found = quota(percent)
    shorter = found.period_us - 2
    assert shorter < LEAST_PERIOD_US or shorter * percent / 100 < LEAST_QUOTA_US


def test_a_device_of_nine_percent_stops_ninety_times_a_second() -> None:
    assert quota(9) == Quota(1000, 11112)


def test_below_the_kernels_limits_its_least_is_granted() -> None:
    assert quota(0.001) == Quota(LEAST_QUOTA_US, MOST_PERIOD_US)


def test_a_slow_device_has_its_quota_divided() -> None:
    assert quota_of(9, 3) == quota(3)
    assert quota_of(9, 1) == quota(9)


def test_without_a_quota_slowness_is_taken_from_all_cores() -> None:
    assert quota_of(None) is None
    assert quota_of(None, 4, cores=2) == quota(50)
