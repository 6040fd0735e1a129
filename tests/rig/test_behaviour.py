"""Delays and lies: from words, to words, and the numbers that are drawn."""

from __future__ import annotations

import statistics

import pytest

from bench.lab.behaviour import Delay, Lie, delay_draw, parse_delay, parse_lie
from bench.lab.errors import RigError


@pytest.mark.parametrize("text", ["none", "exp 0.5", "exp 0.5 7", "trace 3"])
def test_a_delay_survives_its_text(text: str) -> None:
    delay = parse_delay(text.split())
    assert parse_delay(delay.text.split()) == delay


@pytest.mark.parametrize("text", ["none", "0.1", "1e-05", "flip"])
def test_a_lie_survives_its_text(text: str) -> None:
    lie = parse_lie([text])
    assert parse_lie([lie.text]) == lie


@pytest.mark.parametrize(
    "text", ["", "exp", "exp x", "exp -1", "exp nan", "exp 1 x", "trace", "trace -1", "trace 1 2", "none 1", "gamma 1"]
)
def test_what_is_no_delay(text: str) -> None:
    with pytest.raises(RigError, match=r"is no (delay|number|seed)"):
        parse_delay(text.split())


@pytest.mark.parametrize("words", [[], ["x"], ["-1"], ["nan"], ["flip", "1"]])
def test_what_is_no_lie(words: list[str]) -> None:
    with pytest.raises(RigError, match=r"is no (lie|number)"):
        parse_lie(words)


def test_nothing_is_drawn_where_nothing_is_asked() -> None:
    assert delay_draw(Delay(), "node-1") is None
    assert delay_draw(Delay("exp", 0.0), "node-1") is None


def draws(delay: Delay, name: str = "node-1", count: int = 20_000) -> list[float]:
    draw = delay_draw(delay, name)
    assert draw is not None
    return [draw() for _ in range(count)]


def test_the_mean_is_the_one_asked_for() -> None:
    found = draws(Delay("exp", 0.5, 1))
    assert statistics.fmean(found) == pytest.approx(0.5, rel=0.03)
    assert statistics.stdev(found) == pytest.approx(0.5, rel=0.05)
    assert min(found) >= 0


def test_two_of_a_hundred_tasks_of_the_trace_take_five_times_as_long() -> None:
    factors = [1 + extra for extra in draws(Delay("trace", seed=1))]
    slow = [factor for factor in factors if factor > 3.5]
    assert len(slow) / len(factors) == pytest.approx(0.02, abs=0.003)
    assert statistics.fmean(slow) == pytest.approx(0.706 / 0.142, rel=0.02)
    assert min(factors) == 1  # a task cannot be made to have taken less
    assert statistics.median(factors) == 1
    body = sorted(factor for factor in factors if factor <= 3.5)
    assert body[round(0.9 * len(body))] == pytest.approx(0.189 / 0.142, rel=0.03)


def test_draws_are_repeatable_and_each_device_has_its_own() -> None:
    delay = Delay("exp", 1.0, 5)
    assert draws(delay, count=50) == draws(delay, count=50)
    assert draws(delay, "node-2", 50) != draws(delay, "node-1", 50)
    assert draws(Delay("exp", 1.0, 6), count=50) != draws(delay, count=50)


def test_an_honest_agent_has_no_text_but_none() -> None:
    assert (Delay().text, Lie().text) == ("none", "none")
