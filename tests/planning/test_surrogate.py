from __future__ import annotations

import math

import numpy as np
import pytest

from cocoi_cli.model.network import ConvLayer, ConvSpec
from cocoi_cli.planning.fleet_model import Phase
from cocoi_cli.planning.surrogate import (
    Geometry,
    Phases,
    best_by_surrogate,
    best_exact,
    exact,
    sizes_at,
    surrogate,
    whole_sizes,
)


def vgg(channels: int, length: int) -> Geometry:
    """A 3x3 layer that keeps its size."""
    return Geometry(1, channels, channels, 9 * channels, length + 2, length, length, 3, 1)


LAYERS = [vgg(64, 224), vgg(128, 112), vgg(256, 56), vgg(512, 28)]  # conv1_2, conv2_2, conv3_2, conv4_2


def noisy(rho: float) -> Phases:
    """5 GFLOP/s and 50 Mbit/s for everyone; the excess is `rho` times the shift."""

    def phase(mean: float) -> Phase:
        return Phase(mean / (1 + rho), mean * rho / (1 + rho))

    return Phases(phase(2 / 5e9), phase(8 / 50e6), phase(2 / 5e9), phase(8 / 50e6))


def test_sizes_are_those_of_the_paper():
    sizes = sizes_at(Geometry(2, 3, 5, 27, 12, 10, 20, 3, 2), n=10, k=4)
    out, into = 5, 4 * 2 + 3
    assert sizes.send == 4 * 2 * 3 * 12 * into
    assert sizes.receive == 4 * 2 * 5 * 10 * out
    assert sizes.compute == 2 * 5 * 10 * out * 27
    assert sizes.encode == 4 * 10 * 2 * 3 * 12 * into
    assert sizes.decode == 4 * 4 * 2 * 5 * 10 * out


def test_coding_is_a_small_part_of_the_work():
    sizes = sizes_at(vgg(64, 224), 10, 8)
    assert sizes.encode / (8 * sizes.compute) == pytest.approx(0.019, rel=0.05)  # docs: 1.9 %
    assert sizes.decode / (8 * sizes.compute) == pytest.approx(8 / (64 * 9))


def test_whole_pieces_cover_the_output():
    geometry = vgg(512, 28)
    for k in range(1, 29):
        whole, real = whole_sizes(geometry, 28, k), sizes_at(geometry, 28, k)
        assert whole.compute >= real.compute
        assert whole.compute * k >= 512 * 28 * 28 * 9 * 512
        if 28 % k == 0:
            assert whole == real


def test_the_surrogate_is_its_formula_convex_and_infinite_at_n():
    geometry, phases = LAYERS[2], noisy(1.0)
    at = np.linspace(1, 9.9, 400)
    values = np.array([surrogate(sizes_at(geometry, 10, k), phases, 10, k) for k in at])
    assert np.diff(values, 2).min() > -1e-9
    assert surrogate(sizes_at(geometry, 10, 10), phases, 10, 10) == math.inf
    sizes = sizes_at(geometry, 10, 8)
    by_hand = (sizes.encode + sizes.decode) * (phases.code.shift_s + phases.code.excess_s)
    by_hand += sizes.send * phases.send.shift_s + sizes.compute * phases.compute.shift_s
    by_hand += sizes.receive * phases.receive.shift_s
    tail = sizes.send * phases.send.excess_s + sizes.compute * phases.compute.excess_s
    by_hand += (tail + sizes.receive * phases.receive.excess_s) * math.log(5)
    assert surrogate(sizes, phases, 10, 8) == pytest.approx(by_hand)


def test_one_phase_makes_the_surrogate_nearly_exact():
    """ln(n/(n-k)) stands for H_n - H_{n-k}; the rest of the difference is the three phases."""
    geometry = LAYERS[0]
    nothing = Phase(0.0, 0.0)
    alone = Phases(nothing, nothing, Phase(1e-10, 1e-10), nothing)
    for k in range(1, 9):
        sizes = sizes_at(geometry, 10, k)
        assert surrogate(sizes, alone, 10, k) == pytest.approx(exact(sizes, alone, 10, k), rel=0.08)
    both = noisy(1.0)
    assert surrogate(sizes_at(geometry, 10, 8), both, 10, 8) > 1.1 * exact(sizes_at(geometry, 10, 8), both, 10, 8)


def test_the_expected_latency_agrees_with_draws():
    geometry, phases, rng = LAYERS[1], noisy(1.0), np.random.default_rng(8)
    for k in (1, 6, 9, 10):
        sizes = whole_sizes(geometry, 10, k)
        total = np.zeros((10, 100_000))
        for size, phase in (
            (sizes.send, phases.send),
            (sizes.compute, phases.compute),
            (sizes.receive, phases.receive),
        ):
            total += size * (phase.shift_s + phase.excess_s * rng.standard_exponential(total.shape))
        coding = 0 if k == 10 else phases.code.mean(sizes.encode + sizes.decode)
        expected = coding + np.sort(total, axis=0)[k - 1].mean()
        assert exact(sizes, phases, 10, k) == pytest.approx(expected, rel=0.005)


# k° and k* of LAYERS for n = 10: rows of the excess by the shift.
TABLE = {
    0.1: ([9, 9, 9, 9], [10, 10, 10, 10]),
    0.5: ([8, 8, 8, 7], [9, 8, 8, 7]),
    1.0: ([7, 7, 7, 6], [8, 8, 8, 7]),
    3.0: ([5, 5, 5, 5], [7, 8, 8, 7]),
}


def test_the_surrogate_chooses_fewer_pieces_and_pays_for_it():
    losses = []
    for rho, (by_surrogate, truly) in TABLE.items():
        phases = noisy(rho)
        assert [best_by_surrogate(geometry, phases, 10) for geometry in LAYERS] == by_surrogate
        assert [best_exact(geometry, phases, 10) for geometry in LAYERS] == truly
        for geometry, paper, best in zip(LAYERS, by_surrogate, truly, strict=True):
            cost = {k: exact(whole_sizes(geometry, 10, k), phases, 10, k) for k in range(1, 11)}
            assert min(cost, key=cost.__getitem__) == best
            losses.append(cost[paper] / cost[best] - 1)
    assert min(losses) == 0
    assert np.median(losses) == pytest.approx(0.08, abs=0.01)
    assert max(losses) < 0.3


def test_the_integer_beside_the_real_minimum_is_the_best_one():
    for geometry in LAYERS:
        for rho in (0.2, 1.0, 4.0):
            phases = noisy(rho)
            real = min(np.linspace(1, 9, 801), key=lambda k: surrogate(sizes_at(geometry, 10, k), phases, 10, k))
            assert abs(best_by_surrogate(geometry, phases, 10) - real) < 1


def test_agents_may_differ():
    geometry, fast, slow = LAYERS[1], noisy(0.1), noisy(0.1)
    slow = Phases(slow.code, slow.send, slow.compute.scaled(3), slow.receive)
    mixed = [fast] * 8 + [slow] * 2
    assert best_exact(geometry, [fast] * 10, 10) == best_exact(geometry, fast, 10) == 10
    assert best_exact(geometry, mixed, 10) == 8
    sizes = whole_sizes(geometry, 10, 8)
    assert exact(sizes, fast, 10, 8) < exact(sizes, mixed, 10, 8) < exact(sizes, slow, 10, 8)


def test_one_agent_leaves_no_choice():
    assert best_by_surrogate(LAYERS[0], noisy(1.0), 1) == best_exact(LAYERS[0], noisy(1.0), 1) == 1


def test_no_more_pieces_than_there_are_rows():
    assert best_exact(vgg(512, 2), noisy(0.1), 10) <= 2


def layer(**changes: object) -> ConvLayer:
    spec = ConvSpec((3, 5), (1, 2), (1, 1), (1, 2), (1, 2), 2, 8, 16)
    known: dict[str, object] = {"spec": spec, "input_shape": (1, 8, 20, 30), "output_shape": (1, 16, 20, 15)}
    values = known | changes
    return ConvLayer("conv", values["spec"], values["input_shape"], values["output_shape"], "float32", 0, None)


def test_a_layer_gives_its_geometry_along_either_axis():
    assert Geometry.of(layer()) == Geometry(1, 8, 16, 3 * 5 * 4, 22, 20, 15, 5, 2)
    assert Geometry.of(layer(), axis=2) == Geometry(1, 8, 16, 3 * 5 * 4, 34, 15, 20, 3, 1)


@pytest.mark.parametrize("bad", [(layer(spec=None), 3), (layer(output_shape=()), 3), (layer(), 1)])
def test_what_cannot_be_cut_is_refused(bad):
    with pytest.raises(ValueError, match="cannot be cut along axis"):
        Geometry.of(*bad)
