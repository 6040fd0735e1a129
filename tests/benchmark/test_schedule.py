from __future__ import annotations

import itertools
from collections import Counter

from cocoi_cli.benchmark.schedule import Turn, generator, order, turns

ROWS = ("auto", "coded", "uncoded", "local")


def plan(repetitions=30, done=(), seed=1, scenario="delay"):
    return list(turns(ROWS, seed=seed, model="net", scenario=scenario, repetitions=repetitions, done=done))


def test_each_repetition_runs_each_row_once():
    for number, (repetition, missing) in enumerate(plan()):
        assert repetition == number
        assert sorted(turn.row for turn in missing) == sorted(ROWS)
        assert {turn.repetition for turn in missing} == {number}


def test_the_order_differs_between_repetitions_and_scenarios_and_not_between_runs():
    assert plan() == plan()
    assert plan() != plan(seed=2)
    assert plan() != plan(scenario="none")
    assert len({tuple(turn.row for turn in missing) for _, missing in plan()}) > 10


def test_no_row_is_favoured_by_its_place_or_its_predecessor():
    places, pairs = Counter(), Counter()
    repetitions = 600
    for _, missing in plan(repetitions):
        names = [turn.row for turn in missing]
        places.update(enumerate(names))
        pairs.update(itertools.pairwise(names))
    assert all(abs(count - repetitions / 4) < 60 for count in places.values())
    assert all(abs(count - repetitions / 4) < 60 for count in pairs.values())


def test_a_resumed_run_takes_only_the_turns_that_are_left_in_the_same_order():
    whole = plan(4)
    taken = [turn for _, missing in whole for turn in missing][:6]
    rest = plan(4, done=frozenset(taken))
    assert [turn for _, missing in rest for turn in missing] == [turn for _, each in whole for turn in each][6:]
    assert rest[0] == (1, tuple(whole[1][1][2:]))


def test_nothing_is_left_when_all_is_done():
    assert plan(2, done=frozenset(Turn(each, row) for each in range(2) for row in ROWS)) == []


def test_more_repetitions_begin_with_the_same_ones():
    assert plan(5) == plan(9)[:5]


def test_draws_depend_on_every_word():
    def draw(*words):
        return generator(1, *words).integers(2**62)

    assert draw("a", "b") == draw("a", "b")
    assert (
        len({draw("a", "b"), draw("ab"), draw("b", "a"), draw("a", "b", 0), generator(2, "a", "b").integers(2**62)})
        == 5
    )


def test_the_order_is_the_same_on_every_machine():
    assert order(ROWS, seed=1, model="net", scenario="none", repetition=0) == ("coded", "auto", "local", "uncoded")
