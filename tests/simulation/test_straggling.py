from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.simulation.numbers import Numbers, order
from cocoi_cli.simulation.shelf import Casualties
from cocoi_cli.simulation.straggling import Bimodal, Dead, Dying, Exponential, Recorded, Slow, Straggling, members
from cocoi_cli.simulation.straggling_text import BadStragglingError, parse_straggling

NAMES = tuple(f"pi{number}" for number in range(1, 11))


def test_numbers_depend_on_seed_device_and_inference_and_on_nothing_else():
    def drawn(seed: int, device: int, inference: int) -> list[list[float]]:
        numbers = Numbers(seed, device, inference, layers=3, effects=1, columns=5)
        return [*numbers.layers, *(numbers.share() for _ in range(70))]

    usual = drawn(1, 2, 3)
    assert drawn(1, 2, 3) == usual
    assert all(drawn(*other) != usual for other in ((2, 2, 3), (1, 3, 3), (1, 2, 4)))


def test_the_order_of_devices_is_a_permutation():
    assert sorted(order(4, 50)) == list(range(50))
    assert order(4, 50) == order(4, 50) != order(5, 50)


def test_slow_and_dead_devices_are_different_ones():
    for seed in range(20):
        found = Casualties(
            Straggling("", slow=(Slow(5, 2.0),), dead=(Dead(3),), dying=(Dying(2, 0.0, 1.0),)), NAMES, seed
        )
        assert [len(found.times), len(found.dead), len(found.dying)] == [5, 3, 2]
        assert len({*found.times, *found.dead, *found.dying}) == 10


def test_members_by_number_and_by_name():
    ranks = (3, 1, 0, 2)
    names = ("a", "b", "c", "d")
    assert members(2, names, ranks) == (1, 3)
    assert members(2, names, ranks, from_end=True) == (0, 2)
    assert members(0, names, ranks, from_end=True) == ()
    assert members(("d", "b"), names, ranks) == (1, 3)


def uniform(count: int = 200_000) -> list[float]:
    return np.random.default_rng(7).random(count).tolist()


def test_the_exponential_effect_has_its_mean():
    factors = [Exponential(0.5).factor(0, number) for number in uniform()]
    assert min(factors) >= 1.0
    assert np.mean(factors) == pytest.approx(1.5, rel=0.01)


def test_the_bimodal_effect_is_the_published_mixture():
    # Quantiles of the generator in seconds, docs/methods.md; its unit here is the median of the body.
    seconds = np.array([Bimodal().factor(0, number) for number in uniform()]) * 0.138
    for q, value in ((0.25, 0.117), (0.5, 0.139), (0.75, 0.165), (0.99, 0.708), (0.999, 0.774)):
        assert np.quantile(seconds, q) == pytest.approx(value, rel=0.015), q
    assert np.mean(seconds > 0.5) == pytest.approx(0.02, rel=0.05)


def test_effects_are_finite_at_the_ends_of_the_unit_interval():
    almost_one = float(np.nextafter(1.0, 0.0))
    for effect in (Exponential(0.5), Bimodal(), Recorded((1.0, 2.0))):
        assert all(0 < effect.factor(0, number) < 100 for number in (0.0, 0.019999999, 0.02, almost_one))


def test_recorded_seconds_become_factors_of_their_median():
    assert Recorded.of_seconds([0.1, 0.2, 0.4]).factors == pytest.approx((0.5, 1.0, 2.0))


def test_recorded_factors_are_drawn_evenly():
    effect = Recorded((1.0, 2.0, 5.0, 9.0))
    assert [effect.factor(0, number) for number in (0.0, 0.26, 0.5, 0.99)] == [1.0, 2.0, 5.0, 9.0]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("none", Straggling("none")),
        ("exp:0.5", Straggling("exp:0.5", (Exponential(0.5),))),
        ("exp:1:share", Straggling("exp:1:share", (Exponential(1.0, per_stage=False),))),
        ("bimodal", Straggling("bimodal", (Bimodal(),))),
        ("slow:2x3", Straggling("slow:2x3", slow=(Slow(2, 3.0),))),
        ("slow:pi1,pi3x2.5", Straggling("slow:pi1,pi3x2.5", slow=(Slow(("pi1", "pi3"), 2.5),))),
        ("dead:1", Straggling("dead:1", dead=(Dead(1),))),
        ("kill:1@0.2", Straggling("kill:1@0.2", dying=(Dying(1, 0.2, 0.001),))),
        ("freeze:pi2", Straggling("freeze:pi2", dying=(Dying(("pi2",), 0.0, 9.0),))),
        ("exp:0.5+dead:2", Straggling("exp:0.5+dead:2", (Exponential(0.5),), dead=(Dead(2),))),
    ],
)  # fmt: skip
def test_what_can_be_typed(text: str, wanted: Straggling):
    assert parse_straggling(text, NAMES) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "fast", "exp", "exp:", "exp:-1", "exp:nan", "exp:inf", "exp:1:layer", "none:1", "bimodal:2", "slow:2",
     "slow:x3", "slow:2x0", "slow:2x", "slow:11x2", "dead:11", "dead:pi99", "dead:", "kill:1@x", "kill:1@-1", "exp:1+",
     "trace:"],
)  # fmt: skip
def test_what_cannot(text: str):
    with pytest.raises(BadStragglingError) as raised:
        parse_straggling(text, NAMES)
    assert raised.value.exit_status == 2
    assert f"`--straggling {text}`" in raised.value.message


def test_a_trace_may_have_a_plus_sign_in_its_name(tmp_path):
    path = tmp_path / "a+b.csv"
    path.write_text("1\n3\n2\n")
    found = parse_straggling(f"trace:{path}+dead:1", NAMES)
    assert found.effects == (Recorded((0.5, 1.5, 1.0)),)
    assert found.dead == (Dead(1),)
