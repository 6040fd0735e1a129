"""Pace: who is slow, who can be spared, and how it is forgotten."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from cocoi_cli.runtime.pace import SLOW, Pace


def paced(**paces: float) -> Pace:
    """Agents of known pace."""
    pace = Pace()
    for agent, ratio in paces.items():
        for _ in range(60):
            pace.answered(agent, ratio)
    return pace


def test_an_agent_that_never_answered_is_as_quick_as_any() -> None:
    assert Pace().of("a") == 1.0


def test_pace_follows_the_answers_and_is_bounded() -> None:
    pace = paced(a=3.0, b=1e9)
    assert pace.of("a") == pytest.approx(3.0, rel=1e-6)
    assert pace.of("b") == pytest.approx(50.0)


def test_one_slow_answer_is_forgiven_after_a_few_quick_ones() -> None:
    pace = Pace()
    pace.answered("a", 5.0)
    assert pace.slow(["a"]) == ["a"]
    for _ in range(2):
        pace.answered("a", 1.0)
    assert pace.slow(["a"]) == []


def test_who_is_not_asked_is_trusted_again() -> None:
    pace = paced(a=4.0)
    stages = 0
    while pace.slow(["a"]):
        pace.fade(["a", "unknown"])
        stages += 1
    assert 5 < stages < 20
    assert pace.of("unknown") == 1.0


def test_holding_a_share_for_long_is_being_slow() -> None:
    pace = Pace()
    pace.overdue("a", 6.0)
    assert pace.of("a") == 6.0
    pace.overdue("a", 2.0)
    assert pace.of("a") == 6.0


def test_forgotten_agents_begin_anew() -> None:
    pace = paced(a=4.0)
    pace.forget("a")
    pace.forget("b")
    assert pace.of("a") == 1.0


def simulated_finish(pace: Pace, busy: dict[str, float], lacking: int) -> float:
    """When the last of so many shares is answered, if each goes to whoever answers it first."""
    ends = sorted(
        (busy[agent] + pace.of(agent) * (round_ + 1))
        for agent, round_ in itertools.product(busy, range(lacking))
        if math.isfinite(busy[agent])
    )
    return ends[lacking - 1] if len(ends) >= lacking else math.inf


def test_dispensable_is_who_would_answer_after_the_others_are_done() -> None:
    """Against a slow twin that lists every possible answer, over random fleets."""
    rng = random.Random(1)
    spared = 0
    for _ in range(300):
        agents = [f"a{index}" for index in range(rng.randrange(1, 8))]
        pace = paced(**{agent: rng.choice([0.8, 1.0, 1.3, 2.0, 3.0, 8.0]) for agent in agents})
        busy = {agent: rng.choice([0.0, 0.0, 0.5, 1.7, math.inf]) for agent in agents}
        candidates = [agent for agent in agents if busy[agent] == 0.0]
        lacking = rng.randrange(1, 30)
        found = pace.dispensable(candidates, busy, lacking)
        spared += len(found)
        out: set[str] = set()
        for agent in sorted((a for a in candidates if pace.of(a) >= SLOW), key=pace.of, reverse=True):
            others = {name: free for name, free in busy.items() if name != agent and name not in out}
            if simulated_finish(pace, others, lacking) <= pace.of(agent):
                out.add(agent)
        assert found == out
    assert spared > 30


def test_somebody_is_always_left() -> None:
    pace = paced(a=9.0, b=9.0)
    assert len(pace.dispensable(["a", "b"], {"a": 0.0, "b": 0.0}, 1)) == 1
    assert pace.dispensable(["a"], {"a": 0.0, "b": math.inf}, 1) == frozenset()
