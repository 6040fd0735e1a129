"""Between plans their inferences decide: each is tried, the quickest followed, and what lost is tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import LOCAL, ConvPlan, Plan, Prediction
from cocoi_cli.runtime.trials import CLEAR, COLD, LATEST, RETRY, TRIED, Trials

FORESEEN_S, ALONE_S = 0.1, 1.0


def a_plan(k: int, reason: str = "") -> Plan:
    layer = ConvPlan("conv", "coded", 6, k, 2, 1, "f16", reason)
    return Plan("auto", 6, k, "f16", (layer,), prediction=Prediction("mean", FORESEEN_S, ALONE_S, "pi", 1.2, 0.2))


FIRST, SECOND = a_plan(4), a_plan(5)
NOWHERE = replace(FIRST, layers=(ConvPlan("conv", LOCAL, 0, 0, 0, 0, "f16", "too small"),))


def follow(trials: Trials, seconds: dict[int, float], inferences: int, alone_s: float | None = ALONE_S) -> list[int]:
    """The k of the plan of each inference, 0 for this machine alone; `seconds` says what each takes."""
    followed = []
    for _ in range(inferences):
        plan = trials.choose(alone_s)
        k = 0 if plan.is_local else plan.layers[0].k
        trials.took(plan, seconds[k])
        followed.append(k)
    return followed


FIRST_TURN = COLD + TRIED
TURNS = 2 * FIRST_TURN  # of two plans


def test_a_plan_that_wins_by_far_is_followed_for_ever() -> None:
    assert follow(Trials(FIRST), {4: 0.11}, 300) == [4] * 300


@pytest.mark.parametrize(("alone", "chosen"), [(0.8, 0), (1.1, 4), (0.88, 4)])
def test_this_machine_alone_is_tried_in_turns_where_little_is_won(alone, chosen) -> None:
    """The figure that the planner had of it is of one inference, perhaps of a cold one."""
    followed = follow(Trials(FIRST), {4: 0.9, 0: alone}, 40)
    assert followed[: FIRST_TURN + TURNS - 1] == [4] * FIRST_TURN + ([0, 4] * FIRST_TURN)[:-1]
    assert set(followed[FIRST_TURN + TURNS :]) == {chosen}


def test_what_this_machine_takes_alone_is_remembered_when_a_plan_is_made_for_other_agents() -> None:
    before = Trials(FIRST)
    follow(before, {4: 0.9, 0: 1.0}, FIRST_TURN + TURNS)
    assert follow(before.anew(SECOND), {5: 0.9}, 40) == [5] * 40  # not tried again
    assert set(follow(before.anew(SECOND), {5: 1.1, 0: 1.0}, 40)[FIRST_TURN:]) == {0}  # but followed at once
    assert 0 in follow(Trials(FIRST).anew(SECOND), {5: 0.9, 0: 1.0}, 40)  # where it was never tried
    assert before.anew(NOWHERE).plans == (NOWHERE,)


@pytest.mark.parametrize("quick", [4, 5])
def test_for_the_same_agents_the_plan_before_is_tried_beside_the_new_one(quick) -> None:
    before = Trials(FIRST)
    follow(before, {4: 0.1}, 10)
    took = {4: 0.3, 5: 0.3, quick: 0.2}
    followed = follow(before.anew(SECOND, same_agents=True), took, 40)
    assert followed[:FIRST_TURN] == [5] * FIRST_TURN
    assert {*followed[FIRST_TURN : FIRST_TURN + TURNS]} == {4, 5}
    assert {*followed[FIRST_TURN + TURNS :]} == {quick}
    assert before.anew(a_plan(4, "other words"), same_agents=True).plans == (a_plan(4, "other words"),)


def test_a_plan_that_the_planner_would_leave_is_not_left_unless_it_is_slower() -> None:
    """It foresees that agents that vary win too little, and they win a half."""
    before = Trials(FIRST)
    follow(before, {4: 0.4}, 10)
    followed = follow(before.anew(NOWHERE, same_agents=True), {0: 1.0, 4: 0.5}, 40)
    assert followed[:FIRST_TURN] == [0] * FIRST_TURN
    assert {*followed[FIRST_TURN + TURNS :]} == {4}


def test_alone_is_tried_before_another_plan_and_followed_meanwhile_if_it_is_quicker() -> None:
    trials = Trials(FIRST)
    follow(trials, {4: 0.9}, FIRST_TURN)
    trials.add(SECOND)
    followed = follow(trials, {4: 0.9, 5: 0.85, 0: 0.75}, 40)
    assert followed[: TURNS - 1] == ([0, 4] * FIRST_TURN)[:-1]
    assert set(followed[TURNS : 2 * TURNS]) == {0, 5}
    assert set(followed[2 * TURNS :]) == {0}


def test_where_alone_is_not_known_it_is_not_tried() -> None:
    assert follow(Trials(FIRST), {4: 0.9}, 40, alone_s=None) == [4] * 40


def test_a_local_plan_is_never_left() -> None:
    trials = Trials(NOWHERE)
    assert follow(trials, {0: 0.9}, 300) == [0] * 300
    assert trials.take_error() is None


@pytest.mark.parametrize(("took_s", "error"), [(0.1, None), (0.14, None), (0.2, 2.0), (0.05, None)])
def test_what_takes_far_longer_than_foreseen_is_told_once(took_s, error) -> None:
    trials = Trials(FIRST)
    for _ in range(FIRST_TURN - 1):
        follow(trials, {4: took_s}, 1)
        assert trials.take_error() is None
    follow(trials, {4: took_s}, 1)
    assert trials.take_error() == (None if error is None else pytest.approx(error))
    assert trials.take_error() is None


def test_a_busy_moment_is_no_error_of_the_planner() -> None:
    trials = Trials(FIRST)
    for seconds in (0.9, 0.3, 0.3, 0.11, 0.3):
        follow(trials, {4: seconds}, 1)
    assert trials.take_error() is None


@pytest.mark.parametrize("quick", [4, 5])
def test_the_corrected_plan_is_followed_only_where_it_is_quicker(quick) -> None:
    trials = Trials(FIRST)
    seconds = {4: 0.3, 5: 0.3} | {quick: 0.2}
    follow(trials, seconds, FIRST_TURN)
    trials.add(SECOND)
    assert follow(trials, seconds, 40)[TURNS:] == [quick] * (40 - TURNS)


def test_a_busy_moment_meets_what_is_followed_and_what_is_tried() -> None:
    trials = Trials(FIRST)
    follow(trials, {4: 0.2}, FIRST_TURN)
    trials.add(SECOND)
    assert follow(trials, {4: 0.6, 5: 0.75}, TURNS).count(5) == FIRST_TURN
    assert set(follow(trials, {4: 0.2, 5: 0.25}, 40)) == {4}


def test_cold_inferences_do_not_count() -> None:
    trials = Trials(FIRST)
    follow(trials, {4: 50.0}, COLD)
    assert follow(trials, {4: 0.2}, 50) == [4] * 50
    assert trials.take_error() is not None  # 0.2 for 0.1


def test_a_plan_that_says_the_same_in_other_words_is_not_tried() -> None:
    trials = Trials(FIRST)
    trials.add(a_plan(4, "because"))
    trials.add(replace(FIRST, prediction=None))
    assert trials.plans == (FIRST,)


def test_there_is_one_way_to_stay_here() -> None:
    trials = Trials(FIRST)
    trials.add(NOWHERE)
    trials.add(FIRST.all_local("for another reason"))
    assert len(trials.plans) == 2


def both_tried(seconds: dict[int, float]) -> Trials:
    trials = Trials(FIRST)
    trials.add(SECOND)
    follow(trials, seconds, FIRST_TURN + TURNS)
    return trials


def test_a_plan_that_has_become_slow_is_left() -> None:
    trials = both_tried({4: 0.2, 5: 0.3})
    assert follow(trials, {4: 0.2, 5: 0.3}, LATEST)[-1] == 4
    assert follow(trials, {4: 0.5, 5: 0.3}, LATEST)[-1] == 5


def test_a_little_quicker_is_no_reason_to_change() -> None:
    assert set(follow(both_tried({4: 0.200, 5: 0.196}), {4: 0.200, 5: 0.196}, 20)) == {4}


def test_what_lost_is_tried_again_ever_more_seldom_and_followed_if_it_has_become_quicker() -> None:
    seconds = {4: 0.2, 5: 0.24}
    trials = both_tried(seconds)
    followed = follow(trials, seconds, 20 * RETRY)
    assert FIRST_TURN <= followed.count(5) <= 4 * FIRST_TURN
    assert follow(trials, {4: 0.2, 5: 0.1}, 40 * RETRY)[-1] == 5


def test_what_lost_by_far_is_not_tried_again() -> None:
    seconds = {4: 0.2, 5: 0.9}
    assert 5 not in follow(both_tried(seconds), seconds, 20 * RETRY)


@pytest.mark.parametrize(("alone", "tries"), [(1.2, 4 * FIRST_TURN), (1.3, COLD + CLEAR)])
def test_what_is_hopeless_from_its_first_inferences_is_given_up(alone, tries) -> None:
    """The slowest percent of 500 inferences is 5: they are not for trying."""
    followed = follow(Trials(FIRST), {4: 1.0, 0: alone}, 500)
    assert followed.count(0) == tries


@pytest.mark.parametrize(("alone", "tries"), [(0.7, CLEAR), (0.85, TRIED)])
def test_what_is_far_better_from_its_first_inferences_is_followed(alone, tries) -> None:
    """Of its first inferences none that counts took as long as any of those it took turns with."""
    trials = Trials(FIRST)
    follow(trials, {4: 1.0}, FIRST_TURN)
    followed = follow(trials, {4: 1.0, 0: alone}, 40)
    before = 2 * (COLD + tries) - 1
    assert followed[:before] == ([0, 4] * before)[:before]
    assert {*followed[before:]} == {0}


def test_two_quick_inferences_are_no_proof_where_the_others_were_quick_too() -> None:
    trials = Trials(FIRST)
    follow(trials, {4: 1.0}, FIRST_TURN)
    follow(trials, {4: 1.0, 0: 0.7}, 2)  # cold
    for moment in (0.7, 1.0):  # a quick moment meets both
        follow(trials, {4: moment, 0: 0.7 * moment}, 2)
    assert follow(trials, {4: 1.0, 0: 0.7}, 1) == [0]
    assert follow(trials, {4: 1.0, 0: 0.7}, 1) == [4]


def test_one_quick_inference_keeps_a_plan_in_the_trial() -> None:
    trials = Trials(FIRST)
    follow(trials, {4: 1.0}, FIRST_TURN)
    for seconds in (9.0, 2.0, 0.9, 2.0):
        follow(trials, {4: 1.0, 0: seconds}, 2)
    assert [follow(trials, {4: 1.0, 0: 0.5}, 1) for _ in range(4)] == [[0], [4], [4], [4]]


def test_seconds_of_a_plan_that_is_not_known_are_nobodys() -> None:
    trials = Trials(FIRST)
    trials.took(SECOND, 0.001)
    assert trials.plans == (FIRST,)
    assert follow(trials, {4: 0.2}, 3) == [4] * 3
