from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.planning.distributions import (
    Distribution,
    Hypoexponential,
    Mixture,
    ShiftExponential,
    invert,
    share_time,
)
from cocoi_cli.planning.fleet_model import Cell, DeviceModel, Phase
from cocoi_cli.planning.quantile_table import Empirical

THREE = Hypoexponential(1.0, (0.5, 0.2, 0.05))
ALL: dict[str, Distribution] = {
    "shift-exponential": ShiftExponential(0.4, 0.3),
    "three phases": THREE,
    "equal phases": Hypoexponential(0.0, (0.3, 0.3, 0.3)),
    "one phase": Hypoexponential(2.0, (0.7,)),
    "table": Empirical.of([0.5, 0.1, 0.9, 0.4, 0.2, 0.45, 0.3, 0.6, 0.41, 0.42, 0.7, 0.25]),
    "mixture": Mixture((0.97, 0.03), (THREE, Hypoexponential(5.0, (2.5, 1.0)))),
}


@pytest.fixture(params=ALL)
def distribution(request) -> Distribution:
    return ALL[request.param]


def test_draws_have_its_mean_and_its_distribution(distribution):
    drawn = np.sort(distribution.sample(np.random.default_rng(3), 200_000))
    assert drawn.mean() == pytest.approx(distribution.mean, rel=0.005)
    assert drawn[0] >= distribution.start
    steps = np.arange(drawn.size) / drawn.size
    # Atoms of a table sit at its ends: only the middle is free of jumps.
    middle = (drawn > drawn[0]) & (drawn < drawn[-1])
    assert np.abs(distribution.cdf(drawn) - steps)[middle].max() < 0.006


def test_the_mean_is_the_integral_of_what_is_late(distribution):
    times = np.linspace(0, distribution.bound(1e-9), 200_001)
    assert np.trapezoid(1 - distribution.cdf(times), times) == pytest.approx(distribution.mean, rel=2e-5, abs=1e-5)


def test_quantiles_invert_the_distribution_function(distribution):
    for q in (0.1, 0.3, 0.5, 0.9, 0.95):
        time = distribution.quantile(q)
        assert distribution.cdf(np.array([time]))[0] == pytest.approx(q, abs=1e-5)
    orders = np.linspace(0, 0.999, 40)
    assert np.diff([distribution.quantile(q) for q in orders]).min() >= 0


def test_bounds_are_exceeded_no_more_often_than_they_say(distribution):
    for doubt in (0.5, 0.1, 1e-3, 1e-7):
        late = 1 - distribution.cdf(np.array([distribution.bound(doubt)]))[0]
        assert late <= doubt * (1 + 1e-6)


def test_nothing_comes_before_the_start(distribution):
    before = distribution.start - 1e-9
    assert distribution.cdf(np.array([-1.0, before])).tolist() == [0, 0]
    assert distribution.start == pytest.approx(min(distribution.kinks))


@pytest.mark.parametrize("q", [-0.1, 1.0, float("nan")])
def test_an_order_outside_is_refused(distribution, q):
    with pytest.raises(ValueError, match="order of a quantile"):
        distribution.quantile(q)


def test_seeds_decide_the_draws(distribution):
    first, second = (distribution.sample(np.random.default_rng(9), 5).tolist() for _ in range(2))
    assert first == second


def test_empty_phases_are_skipped():
    assert Hypoexponential(1.0, (0.0, 0.5, 0.0)) == Hypoexponential(1.0, (0.5,))
    certain = Hypoexponential(1.0, (0.0,))
    assert certain.mean == certain.quantile(0.9) == certain.bound(1e-9) == 1
    assert certain.cdf(np.array([0.999, 1.0])).tolist() == [0, 1]
    assert ShiftExponential(1.0, 0.0).cdf(np.array([0.999, 1.0])).tolist() == [0, 1]


def test_a_sum_of_one_phase_is_that_phase():
    phase, times = ShiftExponential(0.4, 0.3), np.linspace(0, 4, 50)
    assert Hypoexponential.of(phase).cdf(times) == pytest.approx(phase.cdf(times))


def test_a_table_has_the_mean_of_its_samples_however_many_there_are():
    rng = np.random.default_rng(1)
    for count in (1, 2, 5, 255, 256, 257, 1000, 3001):
        samples = rng.exponential(2.0, count)
        table = Empirical.of(samples.tolist())
        assert len(table.values) == min(count, 256)
        assert table.mean == pytest.approx(samples.mean())


def test_a_constant_table_is_certain():
    table = Empirical.of([2.0, 2.0, 2.0])
    assert table.cdf(np.array([1.99, 2.0, 2.01])).tolist() == [0, 1, 1]
    assert table.quantile(0.5) == 2


def test_equal_samples_are_a_step_of_the_table():
    table = Empirical.of([1.0, 2.0, 2.0, 3.0])
    assert table.cdf(np.array([1.999999, 2.0, 2.5, 3.0])) == pytest.approx([3 / 8, 5 / 8, 3 / 4, 1], abs=1e-5)
    assert table.quantile(0.5) == 2


@pytest.mark.parametrize("values", [(), (2.0, 1.0), (-1.0,)])
def test_a_table_that_is_none_is_refused(values):
    with pytest.raises(ValueError, match="table of durations"):
        Empirical(values)


def test_a_table_and_phases_add_up():
    table = Empirical.of(np.random.default_rng(2).gamma(3.0, 0.2, 500).tolist())
    total = table.plus(THREE)
    assert total.mean == pytest.approx(table.mean + THREE.mean)
    rng = np.random.default_rng(4)
    drawn = np.sort(table.sample(rng, 40_000) + THREE.sample(rng, 40_000))
    assert np.abs(total.cdf(drawn) - np.arange(drawn.size) / drawn.size).max() < 0.015


def device(slowdown: tuple[tuple[float, float], ...] = ((1.0, 1.0),)) -> DeviceModel:
    cell = Cell(3, 64, 64, 56, 7, Phase(2e-10, 1e-10))
    return DeviceModel("pi-1", (cell,), Phase(8e-9, 1e-9), Phase(9e-9, 2e-9), 0.001, 0.002, None, slowdown)


def test_a_share_takes_the_wire_the_device_and_the_wire_back():
    time = share_time(device(), up_bytes=1e6, down_bytes=2e6, compute=Phase(0.1, 0.05))
    assert time == Hypoexponential(0.001 + 0.008 + 0.018 + 0.002 + 0.1, (0.001, 0.05, 0.004))


def test_a_slowdown_touches_the_device_and_not_the_wire():
    time = share_time(device(((0.9, 1.0), (0.1, 5.0))), up_bytes=1e6, down_bytes=2e6, compute=Phase(0.1, 0.05))
    assert isinstance(time, Mixture)
    assert time.mean == pytest.approx(0.001 + 0.009 + 0.022 + (0.9 + 0.5) * 0.152)


def test_inverting_finds_the_first_time_of_a_step():
    assert invert(lambda at: np.asarray(at >= 0.3, float), 0.5, 0.0, 1.0) == pytest.approx(0.3, abs=1e-6)
    assert invert(np.ones_like, 0.5, 0.25, 1.0) == 0.25
