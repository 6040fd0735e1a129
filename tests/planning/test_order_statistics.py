from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cocoi_cli.planning import order_statistics
from cocoi_cli.planning.distributions import Distribution, Hypoexponential, Mixture, ShiftExponential
from cocoi_cli.planning.order_statistics import (
    every_arrival,
    kth_arrival,
    kth_cdf,
    kth_moments,
    kth_quantile,
    replicated_arrival,
    replicated_moments,
    replicated_quantile,
)
from cocoi_cli.planning.quantile_table import Empirical

DRAWS = 120_000


def harmonic(n: int) -> float:
    return math.fsum(1 / i for i in range(1, n + 1))


def unlike(n: int, seed: int, spread: float = 1.0) -> list[Hypoexponential]:
    """Devices with three phases each, `10 ** ±spread` apart."""
    rng = np.random.default_rng(seed)
    scales = 10 ** rng.uniform(-spread, spread, n)
    return [
        Hypoexponential(scale * rng.exponential(), tuple((scale * 10 ** rng.uniform(-2, 0, 3)).tolist()))
        for scale in scales
    ]


def assorted(n: int, seed: int) -> list[Distribution]:
    """All kinds of distributions, some twice."""
    rng = np.random.default_rng(seed)
    plain = unlike(n, seed, 0.5)
    kinds: list[Distribution] = [
        *plain[: n // 2],
        ShiftExponential(0.2, 0.1),
        Empirical.of(plain[0].sample(rng, 30).tolist()),
        Mixture((0.9, 0.1), (plain[1], Hypoexponential(4 * plain[1].shift, (plain[1].mean,)))),
        Hypoexponential(0.3, (0.2, 0.2, 0.2)),
        Hypoexponential(0.5, ()),
    ]
    return [kinds[i] for i in rng.integers(0, len(kinds), n)]


def arrivals(times: list[Distribution], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(np.stack([each.sample(rng, DRAWS) for each in times]), axis=0)


def twin_cdf(times: list[Distribution], k: int, at: float) -> float:
    """Every set of devices that may be there, one by one."""
    there = [float(each.cdf(np.array([at]))[0]) for each in times]
    return math.fsum(
        math.prod(p if inside else 1 - p for p, inside in zip(there, chosen, strict=True))
        for chosen in itertools.product((False, True), repeat=len(times))
        if sum(chosen) >= k
    )


def twin_mean(rates: list[float], k: int) -> float:
    """k-th of unlike plain exponential times, by inclusion and exclusion over the sets that are late."""
    n, total = len(rates), 0.0
    for size in range(n - k + 1, n + 1):
        sign = (-1) ** (size - (n - k + 1)) * math.comb(size - 1, n - k)
        total += sign * math.fsum(1 / sum(chosen) for chosen in itertools.combinations(rates, size))
    return total


@pytest.mark.parametrize("n", [1, 2, 5, 10, 40])
def test_one_phase_and_equal_devices_give_harmonic_numbers(n):
    for time in (ShiftExponential(1.0, 0.5), Hypoexponential(1.0, (0.5,))):
        each = every_arrival([time] * n)
        for k in range(1, n + 1):
            expected = 1 + 0.5 * (harmonic(n) - harmonic(n - k))
            assert kth_arrival([time] * n, k) == pytest.approx(expected, rel=1e-6)
            assert each[k - 1] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_unlike_exponential_devices_agree_with_inclusion_and_exclusion(seed):
    rng = np.random.default_rng(seed)
    n = 3 + seed
    rates = (10 ** rng.uniform(-1.5, 1.5, n)).tolist()
    times = [Hypoexponential(0.0, (1 / rate,)) for rate in rates]
    for k in range(1, n + 1):
        assert kth_arrival(times, k) == pytest.approx(twin_mean(rates, k), rel=2e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_distribution_agrees_with_every_set_of_devices_enumerated(seed):
    times = assorted(5, seed)
    at = np.quantile(np.concatenate([each.sample(np.random.default_rng(seed), 50) for each in times]), (0.2, 0.5, 0.9))
    for k in range(1, 6):
        assert kth_cdf(times, k, at) == pytest.approx([twin_cdf(times, k, time) for time in at], abs=1e-11)


@pytest.mark.parametrize("spread", [0.1, 1.5])
@pytest.mark.parametrize("n", [5, 10])
def test_means_and_quantiles_agree_with_draws(n, spread):
    times = unlike(n, 7 * n, spread)
    drawn = arrivals(times, 1)
    for k in (1, n // 2, n - 2, n - 1, n):
        mean, deviation = drawn[k - 1].mean(), drawn[k - 1].std()
        assert kth_arrival(times, k) == pytest.approx(mean, rel=0.005)
        moments = kth_moments(times, k)
        assert moments.mean == pytest.approx(kth_arrival(times, k), rel=1e-5)
        assert math.sqrt(moments.variance) == pytest.approx(deviation, rel=0.02)
        for q in (0.05, 0.5, 0.95):
            assert kth_quantile(times, k, q) == pytest.approx(np.quantile(drawn[k - 1], q), rel=0.01)


def test_all_kinds_of_distributions_may_be_mixed():
    for seed in range(2):
        times = assorted(6, seed)
        drawn = arrivals(times, seed)
        for k in (1, 4, 6):
            assert kth_arrival(times, k) == pytest.approx(drawn[k - 1].mean(), rel=0.005)
            assert kth_quantile(times, k, 0.9) == pytest.approx(np.quantile(drawn[k - 1], 0.9), rel=0.01)


@pytest.mark.parametrize("decades", [1, 3, 6])
def test_scales_that_are_far_apart_cost_no_accuracy(monkeypatch, decades):
    rng = np.random.default_rng(decades)
    for trial in range(12):
        times = unlike(int(rng.integers(2, 12)), 100 * decades + trial, decades / 2)
        k = int(rng.integers(1, len(times) + 1))
        quick, each = kth_arrival(times, k), every_arrival(times)[k - 1]
        with monkeypatch.context() as patch:
            patch.setattr(order_statistics, "TOLERANCE", 1e-11)
            patch.setattr(order_statistics, "DOUBT", 1e-13)
            fine = kth_arrival(times, k)
        assert quick == pytest.approx(fine, rel=1e-4)
        assert each == pytest.approx(fine, rel=1e-4)


def test_equal_phases_are_the_limit_of_nearly_equal_ones():
    equal = [Hypoexponential(0.1, (0.2, 0.2, 0.2))] * 4 + [Hypoexponential(0.3, (0.1, 0.1))] * 2
    for apart in (1e-12, 1e-4, 1e-3):
        near = [
            Hypoexponential(each.shift, tuple(e * (1 + i * apart) for i, e in enumerate(each.excesses)))
            for each in equal
        ]
        for k in (1, 4, 6):
            assert kth_arrival(near, k) == pytest.approx(kth_arrival(equal, k), rel=2 * apart + 1e-6)


def test_later_arrivals_come_later_and_another_device_never_delays():
    for seed in range(5):
        times = unlike(6, seed)
        means = [kth_arrival(times, k) for k in range(1, 7)]
        medians = [kth_quantile(times, k, 0.5) for k in range(1, 7)]
        assert np.diff(means).min() > 0
        assert np.diff(medians).min() > 0
        assert every_arrival(times) == pytest.approx(means, rel=1e-4)
        for k in range(1, 6):
            assert kth_arrival(times, k) <= kth_arrival(times[1:], k) * (1 + 1e-5)


def test_one_of_one_is_the_device_itself():
    for time in assorted(8, 3):
        assert kth_arrival([time], 1) == pytest.approx(time.mean, rel=2e-5)
        assert kth_quantile([time], 1, 0.8) == pytest.approx(time.quantile(0.8), rel=1e-5)


def test_devices_that_never_vary_arrive_in_order():
    times = [Hypoexponential(shift, ()) for shift in (3.0, 1.0, 2.0)]
    for k in (1, 2, 3):
        assert kth_arrival(times, k) == k
        assert kth_moments(times, k).variance == pytest.approx(0, abs=1e-9)
        assert kth_quantile(times, k, 0.5) == pytest.approx(k, rel=1e-6)
    assert every_arrival(times) == pytest.approx([1, 2, 3])


def test_a_device_that_is_as_good_as_dead_counts_as_one_less():
    times = unlike(5, 4, 0.2)
    dead = Hypoexponential(1e9, (1e9,))
    for k in range(1, 6):
        assert kth_arrival([*times, dead], k) == pytest.approx(kth_arrival(times, k), rel=1e-5)
    assert kth_arrival([*times, dead], 6) == pytest.approx(2e9, rel=1e-4)


def test_an_order_beyond_the_end_of_the_integral_is_found():
    times = [Hypoexponential(0.0, (1.0,))] * 3
    q = 1 - 1e-12
    assert kth_quantile(times, 3, q) == pytest.approx(-math.log1p(-(q ** (1 / 3))), rel=1e-3)


def groups_of(times: list[Hypoexponential], sizes: tuple[int, ...]) -> list[list[Hypoexponential]]:
    ends = list(itertools.accumulate(sizes))
    return [times[end - size : end] for end, size in zip(ends, sizes, strict=True)]


@pytest.mark.parametrize("sizes", [(2, 2, 2, 2, 2), (1, 3, 2), (4,), (1, 1, 1)])
def test_replication_is_the_last_of_the_first_of_each_group(sizes):
    times = unlike(sum(sizes), 11, 0.4)
    groups = groups_of(times, sizes)
    rng = np.random.default_rng(2)
    drawn = np.stack([np.stack([each.sample(rng, DRAWS) for each in group]).min(axis=0) for group in groups]).max(
        axis=0
    )
    assert replicated_arrival(groups) == pytest.approx(drawn.mean(), rel=0.005)
    assert replicated_moments(groups).mean == pytest.approx(replicated_arrival(groups), rel=1e-5)
    assert math.sqrt(replicated_moments(groups).variance) == pytest.approx(drawn.std(), rel=0.02)
    assert replicated_quantile(groups, 0.95) == pytest.approx(np.quantile(drawn, 0.95), rel=0.01)


def test_groups_of_one_are_uncoded_and_one_group_is_the_first_arrival():
    times = unlike(6, 2)
    assert replicated_arrival([[each] for each in times]) == pytest.approx(kth_arrival(times, 6), rel=1e-5)
    assert replicated_arrival([times]) == pytest.approx(kth_arrival(times, 1), rel=1e-5)


@pytest.mark.parametrize("k", [0, 4, -1])
def test_more_or_fewer_than_there_are_is_refused(k):
    with pytest.raises(ValueError, match="k is in 1 … 3"):
        kth_arrival([ShiftExponential(0, 1)] * 3, k)


@pytest.mark.parametrize("groups", [[], [[]], [[ShiftExponential(0, 1)], []]])
def test_replication_without_devices_is_refused(groups):
    with pytest.raises(ValueError, match="at least one"):
        replicated_arrival(groups)


@pytest.mark.parametrize("q", [-0.01, 1.0])
def test_an_order_outside_is_refused(q):
    with pytest.raises(ValueError, match="order of a quantile"):
        kth_quantile([ShiftExponential(0, 1)], 1, q)
