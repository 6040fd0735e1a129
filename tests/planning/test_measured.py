"""Times drawn as they were measured: the samples' own spread, the model's means."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.planning.fleet_fit import device_model
from cocoi_cli.planning.fleet_model import DeviceModel, Phase
from cocoi_cli.planning.measured import as_measured
from cocoi_cli.planning.profile import Compute, Convolution, DeviceProfile, Link, Round, Samples

BYTES = 1 << 20
ORDERS = (np.arange(2000) + 0.5) / 2000


def devices(compute: list[float], up: list[float], down: list[float]) -> tuple[DeviceModel, DeviceModel]:
    """One device by what was fitted, and as it was measured; a slice of 28.9 million operations."""
    link = Link("direct", (Round((0.0005,), *(Samples(BYTES, tuple(each)) for each in (up, down))),))
    slices = (Convolution(3, 64, 64, 56, 7, Samples(28_901_376, tuple(compute))),)
    made = "2026-11-21T12:00:00+00:00"
    profile = DeviceProfile(made, "0" * 32, {}, (), 0.0, 0.0, link, Compute("1.31.1", slices, 0, {}, {}))
    fitted = device_model("pi-1", profile)
    return fitted, as_measured(fitted, profile)


def test_draws_have_the_means_of_the_fit_and_the_values_of_the_samples() -> None:
    fitted, measured = devices([0.03, 0.09] * 30, [0.01, 0.03] * 20, [0.01] * 10)
    phase = Phase(0.02, 0.01)  # a share that is no longer than what was repeated
    computing = [measured.compute_s(phase, order) for order in ORDERS]
    assert np.mean(computing) == pytest.approx(0.03, rel=1e-3)
    assert np.quantile(computing, [0.25, 0.75]) == pytest.approx([0.015, 0.045], rel=0.01)
    sending = [measured.send_s(3 * BYTES, order) for order in ORDERS]
    assert np.quantile(sending, [0.25, 0.75]) == pytest.approx([0.03, 0.09], rel=0.01)
    assert np.mean(sending) == pytest.approx(fitted.send.mean(3 * BYTES), rel=1e-3)
    assert [measured.receive_s(BYTES, order) for order in (0.0, 0.5, 0.999)] == pytest.approx([0.01] * 3)


def test_without_samples_draws_are_those_of_the_fit() -> None:
    fitted, _ = devices([0.03, 0.04] * 30, [0.01, 0.011, 0.012], [0.01])
    phase = Phase(0.02, 0.01)
    for draw, of in ((lambda order: fitted.compute_s(phase, order), phase),
                     (lambda order: fitted.send_s(BYTES, order), fitted.send.scaled(BYTES)),
                     (lambda order: fitted.receive_s(BYTES, order), fitted.receive.scaled(BYTES))):  # fmt: skip
        assert [draw(order) for order in (0.0, 0.5)] == pytest.approx(
            [of.shift_s, of.shift_s + of.excess_s * np.log(2)]
        )


def test_a_long_share_is_spread_less_as_that_of_the_fit_is() -> None:
    fitted, measured = devices([0.03, 0.09] * 30, [0.01], [0.01])
    long = fitted.steadied(Phase(4 * fitted.steady_s, 0.0))
    assert [measured.compute_s(long, order) for order in (0.1, 0.9)] == pytest.approx(
        [long.mean_s * 0.75, long.mean_s * 1.25]
    )


def test_a_single_duration_has_no_spread() -> None:
    _, measured = devices([0.03], [0.01], [0.01])
    assert measured.compute_s(Phase(0.02, 0.01), 0.99) == pytest.approx(0.03)
    assert measured.compute_s(Phase(0.0, 0.0), 0.5) == 0.0
