"""Which stages are raised: those that are to blame, as cheaply as it takes, the host last."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from cocoi_cli.runtime.raising import Contribution, choose
from cocoi_cli.runtime.rungs import Rung

HALF, WIDE, SINGLE, UNCODED, HOST = Rung


def stage(
    name: str,
    *,
    rung: Rung = HALF,
    answers: float = 0.5,
    uncoded: float = 1.0,
    size: tuple[int, int] = (100, 100),
    macs: int = 1000,
    **effects: float,
) -> Contribution:
    return Contribution(name, rung, effects, answers, uncoded, *size, macs)


def total(stages: list[Contribution], rungs: dict[str, Rung], figure: str) -> float:
    return math.sqrt(sum(each.square(figure, rungs[each.stage]) for each in stages))


def low(*stages: Contribution) -> dict[str, Rung]:
    return {each.stage: each.rung for each in stages}


def test_only_the_stage_that_is_to_blame_is_raised() -> None:
    stages = [stage("a", y=0.1), stage("b", answers=1.0, y=3.0), stage("c", y=0.1)]
    assert choose(stages, low(*stages), {"y": 3.0}, 0.9) == {"a": HALF, "b": SINGLE, "c": HALF}


def test_float32_answers_come_before_float32_shares_where_they_are_enough() -> None:
    stages = [stage("a", y=0.1), stage("b", answers=0.2, y=3.0)]
    assert choose(stages, low(*stages), {"y": 3.0}, 0.9) == {"a": HALF, "b": WIDE}


def test_of_equal_culprits_the_one_with_fewer_bytes_is_raised() -> None:
    stages = [stage("a", size=(900, 900), answers=1.0, y=0.8), stage("b", answers=1.0, y=0.8)]
    assert choose(stages, low(*stages), {"y": 1.13}, 0.9) == {"a": HALF, "b": SINGLE}


def test_the_stage_whose_answers_are_smaller_is_given_float32_answers() -> None:
    stages = [stage("a", size=(10, 1000), answers=0.1, y=1.0), stage("b", size=(1000, 10), answers=0.1, y=1.0)]
    assert choose(stages, low(*stages), {"y": 1.42}, 1.01) == {"a": HALF, "b": WIDE}


def test_a_lucky_rehearsal_does_not_talk_the_effects_down() -> None:
    stages = [stage("a", answers=1.0, y=2.0), stage("b", answers=1.0, y=1.9)]
    assert choose(stages, low(*stages), {"y": 1.1}, 0.9) == {"a": SINGLE, "b": SINGLE}


def test_the_host_is_asked_only_where_float32_does_not_help() -> None:
    single = [stage(name, rung=SINGLE, answers=1.0, macs=macs, y=effect) for name, effect, macs in
              (("a", 0.2, 10), ("b", 2.0, 100_000), ("c", 0.2, 10))]  # fmt: skip
    assert choose(single, low(*single), {"y": 2.0}, 0.9) == {"a": SINGLE, "b": HOST, "c": SINGLE}
    half = [stage("a", answers=1.0, y=1e5), stage("b", y=1.0)]
    found = choose(half, low(*half), {"y": 1e5}, 0.9)
    assert found is not None
    assert found["a"] is HOST


def test_a_code_is_dropped_only_where_float32_with_it_does_not_help() -> None:
    half = [stage("a", answers=1.0, uncoded=0.1, y=3.0), stage("b", uncoded=0.1, y=0.1)]
    assert choose(half, low(*half), {"y": 3.0}, 0.9) == {"a": SINGLE, "b": HALF}
    single = [stage("a", rung=SINGLE, answers=1.0, uncoded=0.1, y=3.0), stage("b", rung=SINGLE, uncoded=0.1, y=0.1)]
    assert choose(single, low(*single), {"y": 3.0}, 0.9) == {"a": UNCODED, "b": SINGLE}
    bad = [stage("a", answers=1.0, uncoded=0.1, y=5e4)]
    assert choose(bad, low(*bad), {"y": 5e4}, 0.9) == {"a": UNCODED}


def test_the_host_is_asked_where_no_code_is_too_much_already() -> None:
    single = [stage("a", rung=SINGLE, answers=1.0, uncoded=0.5, y=3.0), stage("b", rung=SINGLE, y=0.1)]
    assert choose(single, low(*single), {"y": 3.0}, 0.9) == {"a": HOST, "b": SINGLE}


def test_effects_are_scaled_to_what_was_measured() -> None:
    """A second rehearsal shows that the first reckoning was too hopeful: more is raised than before."""
    stages = [stage("a", answers=1.0, y=1.0), stage("b", answers=1.0, y=0.8), stage("c", answers=1.0, y=0.3)]
    first = choose(stages, low(*stages), {"y": 1.3}, 0.9)
    assert first == {"a": SINGLE, "b": HALF, "c": HALF}
    assert choose(stages, first, {"y": 1.2}, 0.7) == {"a": SINGLE, "b": SINGLE, "c": HALF}


def test_what_nobody_is_to_blame_for_cannot_be_mended() -> None:
    stages = [stage("a", y=0.0), stage("b")]
    assert choose(stages, low(*stages), {"y": 2.0}, 0.9) is None
    assert choose(stages, low(*stages), {"z": 2.0}, 0.9) is None
    assert choose([], {}, {"y": 2.0}, 0.9) is None
    at_home = {"a": HOST, "b": HOST}
    assert choose([stage("a", y=1.0), stage("b", y=1.0)], at_home, {"y": 2.0}, 0.9) is None


def test_figures_within_their_budget_stay_there_and_need_no_goal() -> None:
    stages = [stage("a", answers=1.0, y=2.0, z=0.95), stage("b", y=0.1, z=0.1)]
    found = choose(stages, low(*stages), {"y": 2.0, "z": 0.96}, 0.9)
    assert found == {"a": SINGLE, "b": HALF}


@pytest.mark.parametrize("seed", range(40))
def test_every_choice_keeps_the_goal_and_no_stage_is_raised_for_nothing(seed) -> None:
    rng = random.Random(seed)
    figures = ["y", "z", "stage 1"]
    stages = [
        stage(
            str(index),
            answers=rng.choice([0.1, 0.5, 1.0]),
            uncoded=rng.choice([0.1, 1.0]),
            size=(rng.randint(1, 1000), rng.randint(1, 1000)),
            **{figure: rng.expovariate(1.0) for figure in figures},
        )
        for index in range(5)
    ]
    rungs = low(*stages)
    used = {figure: total(stages, rungs, figure) for figure in figures}
    found = choose(stages, rungs, used, 0.9)
    limits = {figure: 0.9 if used[figure] > 1 else 1.0 for figure in figures}
    if max(used.values()) <= 1.0:
        assert found is None
        return
    assert found is not None

    def holds(choice: dict[str, Rung]) -> bool:
        return all(total(stages, choice, figure) <= limits[figure] * (1 + 1e-9) for figure in figures)

    assert holds(found)
    for each in stages:
        for lower in (rung for rung in Rung if rung < found[each.stage]):
            assert not holds({**found, each.stage: lower})
    every = (dict(zip(rungs, each, strict=True)) for each in itertools.product((HALF, WIDE, SINGLE), repeat=5))
    best = min(sum(s.bytes_on(c[s.stage]) for s in stages) for c in every if holds(c))
    extra = sum(each.bytes_on(HALF) for each in stages)
    assert sum(s.bytes_on(found[s.stage]) for s in stages) - extra <= 1.6 * (best - extra)
