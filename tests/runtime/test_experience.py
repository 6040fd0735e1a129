"""Who is slow at everything, and when a plan is out of date for it."""

from __future__ import annotations

import random

import pytest

from cocoi_cli.runtime.experience import (
    BUNDLE_S,
    CALM,
    FEWEST_LONG,
    MOST,
    NEWEST,
    NEWEST_LONG,
    SHORTEST_S,
    WIDE,
    Experience,
    Shown,
    has_changed,
)

AGENTS = ("a", "b", "c", "d", "e")
SIZE = 100


def lived(*stages: dict[str, float], unanswered: tuple[tuple[str, float], ...] = ()) -> Experience:
    """Stages in which each agent answered one share after so many seconds of computing, a second more in all."""
    experience = Experience()
    for stage in stages:
        for agent, run_s in stage.items():
            experience.answered(agent, run_s, run_s + 1, SIZE)
        experience.stage_over(unanswered)
    return experience


def even(**slower: float) -> dict[str, float]:
    return {agent: 0.1 * slower.get(agent, 1.0) for agent in AGENTS}


def test_nobody_is_slow_in_an_even_fleet() -> None:
    assert lived(*[even()] * 10).slow() == {}


def test_an_agent_that_is_slow_at_everything_is_told_once_enough_was_seen() -> None:
    assert lived(*[even(c=3)] * (NEWEST - 1)).slow() == {}
    assert lived(*[even(c=3)] * NEWEST).slow() == pytest.approx({"c": 3})


def test_single_slow_shares_do_not_make_an_agent_slow() -> None:
    assert lived(*[even(c=20), even(), even(d=9)] * 5).slow() == {}


def test_the_newest_shares_decide() -> None:
    assert lived(*[even(c=3)] * 20, *[even()] * NEWEST).slow() == {}
    assert lived(*[even()] * 20, *[even(c=4)] * NEWEST).slow() == pytest.approx({"c": 4})


def test_a_share_that_is_never_answered_counts_by_its_age() -> None:
    stage = {agent: 0.5 for agent in AGENTS if agent != "c"}  # 1.5 s in all
    assert lived(*[stage] * NEWEST, unanswered=(("c", 4.5),)).slow() == pytest.approx({"c": 3})
    assert lived(*[stage] * NEWEST, unanswered=(("c", 2.0),)).slow() == {}  # it may still be a usual one


def test_stages_of_few_answers_and_short_ones_say_nothing() -> None:
    few = {"a": 0.1, "b": 9.0}
    assert lived(*[few] * 20).slow() == {}
    for usual in (0.0, 0.9 * SHORTEST_S):  # 0 with a coarse clock
        assert lived(*[dict.fromkeys(AGENTS, usual) | {"c": 1.0}] * 20).slow() == {}


def short(**slower: float) -> dict[str, float]:
    return {agent: BUNDLE_S / 4 * slower.get(agent, 1.0) for agent in AGENTS}


def test_short_shares_are_judged_together() -> None:
    assert lived(*[short(c=3)] * (4 * NEWEST - 1)).slow() == {}
    assert lived(*[short(c=3)] * 4 * NEWEST).slow() == pytest.approx({"c": 3})
    assert lived(*[short(c=7), short(), short(), short()] * NEWEST).slow() == pytest.approx({"c": 2.5})
    assert lived(*[short(c=4), short(), short(), short()] * NEWEST).slow() == {}


def test_one_that_begins_anew_is_quick_until_it_is_seen() -> None:
    experience = lived(*[even(c=3)] * NEWEST)
    experience.forget("c")
    experience.forget("nobody")
    assert experience.slow() == {}


def test_no_agent_is_more_than_so_slow() -> None:
    assert lived(*[even(c=1e6)] * NEWEST).slow() == {"c": MOST}


@pytest.mark.parametrize(
    ("before", "now", "changed"),
    [
        ({}, {}, False),
        ({}, {"a": 2.0}, True),
        ({"a": 2.0}, {}, True),
        ({"a": 2.0}, {"a": 2.9}, False),
        ({"a": 2.0}, {"a": 3.0}, True),
        ({"a": 3.0}, {"b": 3.0}, True),
        ({"a": 3.0}, {"a": 3.1, "b": 2.5}, True),
    ],
)
def test_a_plan_is_out_of_date_when_somebody_has_become_slow_or_quick(before, now, changed) -> None:
    assert has_changed(before, now) is changed


# --- how far the shares of all vary ----------------------------------------------------------------


def varying(*, usual_s: float = 0.1, mean: float = 0.5, stages: int = 12, **slower: float) -> Experience:
    """Shares that take 1 + Exp(mean) times as long as usual, each for itself; seeded."""
    rng = random.Random(1)
    return lived(
        *[
            {agent: usual_s * slower.get(agent, 1.0) * (1 + mean * rng.expovariate(1)) for agent in AGENTS}
            for _ in range(stages)
        ]
    )


def test_an_even_fleet_varies_by_nothing() -> None:
    shown = lived(*[even()] * 20).shown()
    assert shown.spread == pytest.approx((1.0,) * 5)
    assert not shown.varies
    assert shown.factors == (1.0,)


def test_a_random_delay_of_all_is_told_in_parts_that_are_equally_likely() -> None:
    """Of 1 + Exp(0.5) the medians of the fifths are 1.05, 1.18, 1.35, 1.60 and 2.15."""
    shown = varying(stages=60).shown()
    assert shown.varies
    assert shown.factors == shown.spread
    assert shown.spread == pytest.approx((1.0, 1.12, 1.28, 1.52, 2.04), rel=0.2)


def test_an_agent_that_is_always_slower_adds_nothing_to_the_spread() -> None:
    shown = lived(*[even(c=3)] * 20).shown()
    assert shown.slow == pytest.approx({"c": 3})
    assert shown.spread == pytest.approx((1.0,) * 5)
    assert varying(c=3).spread() == pytest.approx(varying().spread(), rel=0.25)


def test_few_shares_and_short_ones_tell_of_no_spread() -> None:
    enough = -(-FEWEST_LONG // len(AGENTS))
    assert varying(stages=enough - 1).spread() == ()
    assert varying(stages=enough).spread() != ()
    assert varying(usual_s=BUNDLE_S / 4, stages=100).spread() == ()


def test_the_newest_shares_tell_of_the_spread() -> None:
    rng = random.Random(1)
    wide = [{agent: 0.1 * (1 + rng.expovariate(1)) for agent in AGENTS} for _ in range(20)]
    assert lived(*wide).shown().varies
    assert not lived(*wide, *[even()] * NEWEST_LONG).shown().varies


def test_shares_of_different_sizes_are_not_compared() -> None:
    """Tiles of a few rows differ by half."""
    experience = Experience()
    for _ in range(20):
        for place, agent in enumerate(AGENTS * 2):
            large = place % 3 == 0
            experience.answered(agent, 0.3 if large else 0.1, 1.0, 2 if large else 1)
        experience.stage_over(())
    assert experience.spread() == pytest.approx((1.0,) * 5)


def test_shares_that_nobody_waited_for_belong_to_the_spread() -> None:
    experience = Experience()
    for number in range(20):
        late = AGENTS[number % len(AGENTS)]
        for agent in AGENTS:
            if agent != late:
                experience.answered(agent, 0.5, 1.5, SIZE)
        experience.stage_over([(late, 6.0)])
    assert experience.spread() == pytest.approx((1.0, 1.0, 1.0, 1.0, 4.0))


def test_hiccups_are_no_spread() -> None:
    """One share in twelve takes twenty times as long: a plan for that would wait for it every time."""
    stages = [even(**{AGENTS[number // 12]: 20.0}) if number % 12 == 0 else even() for number in range(60)]
    assert lived(*stages).spread() == pytest.approx((1.0,) * 5)


def test_an_agent_that_begins_anew_takes_its_shares_with_it() -> None:
    experience = varying()
    for agent in AGENTS:
        experience.forget(agent)
    assert experience.spread() == ()


@pytest.mark.parametrize("odd", [0.0, 1e9])
def test_odd_clocks_break_no_spread(odd: float) -> None:
    spread = lived(*[even(), even() | {"c": odd}] * 20).spread()
    assert all(1.0 <= each <= MOST**2 for each in spread)


def top(factor: float) -> Shown:
    return Shown(spread=(1.0, 1.0, 1.0, 1.0, factor))


@pytest.mark.parametrize(
    ("before", "now", "out_of_date"),
    [
        (Shown(), Shown(), False),
        (Shown(), top(WIDE - 0.1), False),
        (Shown(), top(WIDE), True),
        (top(WIDE - 0.1), top(WIDE), True),
        (top(WIDE), Shown(), False),  # nothing new was seen
        (top(WIDE), top(CALM), False),
        (top(WIDE), top(CALM - 0.1), True),
        (top(WIDE), top(1.4 * WIDE), False),
        (top(WIDE), top(1.5 * WIDE), True),
        (top(WIDE), Shown({"a": 2.0}, top(WIDE).spread), True),
    ],
)
def test_a_plan_is_out_of_date_when_shares_begin_or_cease_to_vary(before: Shown, now: Shown, out_of_date: bool) -> None:
    assert before.is_out_of_date(now) is out_of_date
