from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.planning.quadrature import GAUSS, KRONROD, NODES, integrate


@pytest.mark.parametrize(("weights", "degree"), [(KRONROD, 22), (GAUSS, 13)])
def test_the_rules_are_exact_for_polynomials_up_to_their_degree(weights, degree):
    for power in range(degree + 1):
        assert weights @ NODES**power == pytest.approx(2 / (power + 1) if power % 2 == 0 else 0, abs=1e-14)


def test_functions_are_integrated_together_each_to_its_own_tolerance():
    found = integrate(lambda x: np.stack([np.exp(-x), 1e-6 * np.sqrt(x), np.ones_like(x)]), np.array([0.0, 4.0]), 1e-8)
    assert found == pytest.approx([1 - np.exp(-4), 1e-6 * 16 / 3, 4], rel=1e-7)


def test_a_jump_inside_a_panel_is_found():
    found = integrate(lambda x: np.asarray(x < 1 / 3, float)[None], np.array([0.0, 1.0]), 1e-6)
    assert found[0] == pytest.approx(1 / 3, rel=1e-5)


def test_what_never_becomes_exact_ends():
    rng = np.random.default_rng(0)
    assert np.isfinite(integrate(lambda x: rng.random((1, x.size)), np.array([0.0, 1e-3, 1.0]), 1e-6)).all()
