"""Who is slow at everything, and when a plan is out of date for it."""

from __future__ import annotations

import pytest

from cocoi_cli.runtime.experience import BUNDLE_S, MOST, NEWEST, SHORTEST_S, Experience, has_changed

AGENTS = ("a", "b", "c", "d", "e")


def lived(*stages: dict[str, float], unanswered: tuple[tuple[str, float], ...] = ()) -> Experience:
    """Stages in which each agent answered one share after so many seconds of computing, a second more in all."""
    experience = Experience()
    for stage in stages:
        for agent, run_s in stage.items():
            experience.answered(agent, run_s, run_s + 1)
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
