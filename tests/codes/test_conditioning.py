"""The figures of docs/methods.md on conditioning, repeated."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.conditioning import condition, crme_condition, generators, mean_gain, worst_piece_gain
from cocoi_cli.codes.generator import harmonic_frame
from cocoi_cli.codes.rotation import crme_generator
from tests.codes.twins import rotation_rows

WITHIN = 0.05


@pytest.mark.parametrize(
    ("n", "k", "frame", "gain", "systematic"),
    [
        (5, 4, (2.2, 2.2), (1.3, 1.3), (4.8, 4.8)),
        (8, 6, (7.3, 3.7), (2.7, 1.6), (14, 5.5)),
        (10, 6, (36, 6.1), (11.6, 2.2), (60, 8.1)),
        (10, 7, (23, 5.3), (7.3, 2.0), (45, 8.9)),
        (10, 8, (10.1, 3.5), (3.3, 1.5), (22.6, 7.7)),
        (10, 9, (3.2, 3.2), (1.3, 1.3), (9.9, 9.9)),
        (20, 16, (463, 13), (104, 3.3), (1.0e3, 27)),
    ],
)
def test_harmonic_frames_plain_and_systematic(
    n: int, k: int, frame: tuple[float, float], gain: tuple[float, float], systematic: tuple[float, float]
) -> None:
    made = generators(n, k)
    for found, figures in (
        (condition(made["harmonic"]), frame),
        (mean_gain(made["harmonic"]), gain),
        (condition(made["systematic harmonic"]), systematic),
    ):
        assert found.worst == pytest.approx(figures[0], rel=WITHIN)
        assert found.median == pytest.approx(figures[1], rel=WITHIN)


@pytest.mark.parametrize(
    ("n", "k", "code", "worst"),
    [
        (10, 6, "integers", 4.1e8),
        (10, 8, "integers", 6.7e10),
        (10, 9, "integers", 4.8e11),
        (10, 8, "equispaced", 3.1e3),
        (10, 8, "chebyshev polynomials", 207),
        (20, 16, "chebyshev polynomials", 5.4e5),
        (18, 16, "chebyshev polynomials", 1.76e3),
        (6, 4, "equispaced", 46),
        (6, 4, "chebyshev polynomials", 29),
    ],
)
def test_vandermonde_codes(n: int, k: int, code: str, worst: float) -> None:
    assert condition(generators(n, k)[code]).worst == pytest.approx(worst, rel=WITHIN)


@pytest.mark.parametrize(
    ("n", "k", "figures"),
    [
        (4, 3, {"integers": 95, "chebyshev": 3.6, "harmonic": 1.5, "systematic harmonic": 2.2, "cocoi": 2.2}),
        (6, 4, {"integers": 5.9e3, "chebyshev": 16, "harmonic": 3.1, "systematic harmonic": 3.9, "cocoi": 3.9}),
        (10, 8, {"integers": 3.8e9, "chebyshev": 303, "harmonic": 5.7, "systematic harmonic": 9.1, "cocoi": 9.1}),
        (10, 7, {"integers": 6e8, "chebyshev": 655, "harmonic": 12.8, "systematic harmonic": 22, "cocoi": 13}),
        (12, 8, {"integers": 1.28e11, "chebyshev": 5.1e3, "harmonic": 43, "systematic harmonic": 55, "cocoi": 39}),
        (20, 16, {"chebyshev": 2.2e6, "harmonic": 234, "systematic harmonic": 390, "cocoi": 382}),
    ],
)
def test_worst_noise_gains(n: int, k: int, figures: dict[str, float]) -> None:
    made = generators(n, k)
    for code, gain in figures.items():
        assert worst_piece_gain(made[code]).worst == pytest.approx(gain, rel=WITHIN), code


@pytest.mark.parametrize(
    ("n", "k", "figures"),
    [
        (
            10,
            8,
            {
                "chebyshev": (1.1e3, 419),
                "chebyshev polynomials": (206, 8.4),
                "harmonic": (10, 3.5),
                "systematic harmonic": (18, 6.1),
                "cocoi": (18, 6.1),
            },
        ),
        (12, 8, {"harmonic": (72, 7.5), "systematic harmonic": (109, 9.0), "cocoi": (110, 9.3)}),
    ],
)
def test_condition_with_rows_of_norm_one(n: int, k: int, figures: dict[str, tuple[float, float]]) -> None:
    for code, (worst, median) in figures.items():
        found = condition(generators(n, k)[code], normalised=True)
        assert (found.worst, found.median) == (
            pytest.approx(worst, rel=WITHIN),
            pytest.approx(median, rel=WITHIN),
        ), code


@pytest.mark.parametrize(
    ("n", "k_a", "k_b", "odd", "equal"),
    [
        (6, 4, 4, (8.9, 4.2), (4.7, 2.5)),
        (10, 4, 8, (29, 6.6), (10.1, 3.5)),
        (18, 8, 8, (118, 8.7), (24, 5.0)),
    ],
)
def test_rotation_codes_are_better_with_as_many_points_as_shares(
    n: int, k_a: int, k_b: int, odd: tuple[float, float], equal: tuple[float, float]
) -> None:
    for q, (worst, median) in ((n + 1 - n % 2, odd), (n, equal)):
        found = crme_condition(n, k_a, k_b, q)
        assert found.worst == pytest.approx(worst, rel=WITHIN)
        assert found.median == pytest.approx(median, rel=WITHIN)


@pytest.mark.parametrize(("n", "k_a", "k_b"), [(6, 4, 4), (10, 8, 4), (10, 16, 1), (10, 1, 16), (9, 4, 6)])
def test_rotation_codes_have_the_condition_of_the_harmonic_frame(n: int, k_a: int, k_b: int) -> None:
    delta = k_a * k_b // 4 if min(k_a, k_b) > 1 else k_a * k_b // 2
    found, frame = crme_condition(n, k_a, k_b, n), condition(harmonic_frame(n, delta))
    assert found.worst == pytest.approx(frame.worst, rel=1e-6)
    assert found.median == pytest.approx(frame.median, rel=1e-6)


@pytest.mark.parametrize(("n", "k_a", "k_b"), [(6, 4, 4), (10, 8, 4), (5, 6, 1), (5, 1, 6), (5, 2, 6)])
def test_rotation_generators_are_those_of_the_formula(n: int, k_a: int, k_b: int) -> None:
    for share, blocks in enumerate(crme_generator(n, k_a, k_b, n)):
        np.testing.assert_allclose(blocks, rotation_rows(share, n, k_a, k_b), atol=1e-12)
