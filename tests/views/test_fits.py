"""Goodness of fit as users see it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.planning.fitting import FEW
from cocoi_cli.planning.profile import Compute, Convolution, DeviceProfile, Link, Round, Samples
from cocoi_cli.views.fits import fit_remarks, fits_document

BYTES = 1 << 20


def profile(compute: np.ndarray, up: np.ndarray, down: np.ndarray) -> DeviceProfile:
    """Durations of one slice and of transfers of a megabyte."""
    link = Link("direct", (Round((0.0005,), *(Samples(BYTES, tuple(each.tolist())) for each in (up, down))),))
    slices = (Convolution(3, 64, 64, 56, 7, Samples(28_901_376, tuple(compute.tolist()))),)
    return DeviceProfile(
        "2026-11-21T12:00:00+00:00", "0" * 32, {}, (), 0.0, 0.0, link, Compute("1.31.1", slices, 0, {}, {})
    )


def exponential(count: int, shift: float, excess: float, seed: int) -> np.ndarray:
    return shift + excess * np.random.default_rng(seed).standard_exponential(count)


def two_speeds(count: int, low: float, high: float) -> np.ndarray:
    """Either the one or the other: nothing like an exponential."""
    return np.where(np.arange(count) % 2, low, high)


def test_what_is_shift_exponential_passes_without_a_remark() -> None:
    measured = profile(exponential(60, 0.03, 0.01, 1), exponential(40, 0.01, 0.002, 2), exponential(40, 0.01, 0.001, 3))
    document = fits_document(measured)
    assert list(document) == ["compute", "up", "down"]
    for part in document.values():
        assert part["acceptable"] is True
        assert 0 < part["ks_distance"] <= part["ks_limit"]
    assert document["compute"]["samples"] == 60
    assert document["compute"]["shift_s"] + document["compute"]["excess_s"] == pytest.approx(1.0)
    assert document["up"]["shift_s"] == pytest.approx(0.01 / BYTES, rel=0.1)
    assert fit_remarks("pi-1", measured) == []


def test_what_is_not_is_named() -> None:
    measured = profile(two_speeds(60, 0.03, 0.09), exponential(40, 0.01, 0.002, 2), two_speeds(40, 0.01, 0.03))
    document = fits_document(measured)
    assert {part: fit["acceptable"] for part, fit in document.items()} == {"compute": False, "up": True, "down": False}
    (text,) = fit_remarks("pi-1", measured)
    distances = [document[part]["ks_distance"] for part in ("compute", "down")]
    expected = "pi-1: not shift-exponential: computing {:.2f} off, the link down {:.2f} off"
    assert text == expected.format(*distances)


def test_few_samples_are_neither_accepted_nor_remarked_on() -> None:
    few = two_speeds(FEW - 1, 0.03, 0.09)
    measured = profile(few, few, few)
    assert not any(fit["acceptable"] for fit in fits_document(measured).values())
    assert fit_remarks("pi-1", measured) == []


def test_what_was_not_measured_is_not_there() -> None:
    measured = profile(exponential(9, 0.03, 0.01, 1), np.array([]), exponential(9, 0.01, 0.001, 3))
    assert list(fits_document(measured)) == ["compute", "down"]
    assert fits_document(replace(measured, link=None, compute=None)) == {}
