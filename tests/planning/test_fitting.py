from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.planning.distributions import ShiftExponential
from cocoi_cli.planning.fitting import FEW, fit_rates, ks_distance, ks_limit
from cocoi_cli.planning.fleet_model import Phase


def drawn(n: int, seed: int, shift: float = 1.0, excess: float = 0.5) -> list[float]:
    return (shift + excess * np.random.default_rng(seed).standard_exponential(n)).tolist()


def test_the_shift_is_the_least_and_the_mean_is_kept():
    values = drawn(30, 1)
    found = fit_rates(values)
    assert found.method == "least"
    assert found.phase.shift_s == pytest.approx(min(values))
    assert found.phase.mean(1000) == pytest.approx(1000 * sum(values) / 30)
    assert found.n == 30


def test_many_samples_give_the_phase_they_were_drawn_from():
    found = fit_rates(drawn(20_000, 2))
    assert found.phase.shift_s == pytest.approx(1, rel=0.005)
    assert found.phase.excess_s == pytest.approx(0.5, rel=0.02)
    assert found.ks_distance < 0.01


@pytest.mark.parametrize("n", [FEW, 12, 40, 150])
def test_one_in_twenty_samples_of_a_shift_exponential_is_refused(n):
    trials = 600
    refused = sum(not _least_is_near(drawn(n, seed)) for seed in range(trials))
    assert 0.01 < refused / trials < 0.075


def _least_is_near(values: list[float]) -> bool:
    ordered = np.sort(values)
    phase = Phase(float(ordered[0]), float(ordered.mean() - ordered[0]))
    return ks_distance(ordered, phase) <= ks_limit(len(values))


def test_what_is_no_shift_exponential_is_refused():
    rng = np.random.default_rng(3)
    shapes = {
        "uniform": rng.uniform(1, 2, 100),
        "normal": rng.normal(10, 1, 100),
        "two speeds": np.repeat([1.0, 5.0], 50) + rng.uniform(0, 0.01, 100),
    }
    for values in shapes.values():
        assert not fit_rates(values.tolist()).acceptable


def test_the_distance_is_that_of_its_definition():
    values, phase = np.sort(drawn(17, 4)), Phase(1.1, 0.4)
    cdf = ShiftExponential(1.1, 0.4).cdf
    at = np.linspace(0, 6, 400_001)
    empirical = np.searchsorted(values, at, side="right") / 17
    assert ks_distance(values, phase) == pytest.approx(np.abs(cdf(at) - empirical).max(), abs=1e-4)


def test_a_burst_does_not_become_the_shift():
    rng = np.random.default_rng(5)
    steady = (10 + rng.normal(0, 0.3, 60)).tolist()
    found = fit_rates([1.0, *steady])
    assert found.method == "moments"
    assert found.phase.shift_s > 8
    assert found.phase.mean_s == pytest.approx((sum(steady) + 1) / 61)


def test_no_samples_one_sample_and_constant_samples_are_fitted():
    nothing = fit_rates([])
    assert (nothing.n, nothing.acceptable, nothing.method) == (0, False, "none")
    assert nothing.phase == Phase(0.0, 0.0)
    one = fit_rates([0.0005])
    assert one.phase == Phase(0.0005, 0.0)
    assert (one.n, one.acceptable) == (1, False)
    constant = fit_rates([0.0005] * 20)
    assert constant.phase.mean(1000) == pytest.approx(0.5)
    assert (constant.phase.excess_s, constant.ks_distance, constant.acceptable) == (0, 0, True)
    assert fit_rates([0.0, 0.0]).phase == Phase(0.0, 0.0)


def test_a_fit_never_has_times_below_zero():
    rng = np.random.default_rng(6)
    for _ in range(300):
        values = (10 ** rng.uniform(-9, 3, int(rng.integers(1, 12)))).tolist()
        found = fit_rates(values)
        assert found.phase.mean_s == pytest.approx(sum(values) / len(values))
        assert 0 <= found.ks_distance <= 1
