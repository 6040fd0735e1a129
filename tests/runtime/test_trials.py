"""Between plans their inferences decide: each is tried, the quickest followed, and what lost is tried again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import LOCAL, ConvPlan, Plan, Prediction
from cocoi_cli.runtime.trials import LATEST, RETRY, TRIED, Trials

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


def test_a_plan_that_wins_by_far_is_followed_for_ever() -> None:
    assert follow(Trials(FIRST), {4: 0.11}, 200) == [4] * 200


def test_this_machine_alone_is_tried_where_little_is_won_and_followed_where_it_is_quicker() -> None:
    assert follow(Trials(FIRST), {4: 0.9, 0: 0.8}, 20) == [4] * TRIED + [0] * (20 - TRIED)


def test_what_alone_takes_is_measured_and_not_believed() -> None:
    """The figure that the planner had is of one inference, perhaps of a cold one."""
    assert follow(Trials(FIRST), {4: 0.8, 0: 1.1}, 20) == [4] * TRIED + [0] * TRIED + [4] * (20 - 2 * TRIED)


def test_where_alone_is_not_known_it_is_not_tried() -> None:
    assert follow(Trials(FIRST), {4: 0.9}, 20, alone_s=None) == [4] * 20


def test_a_local_plan_is_never_left() -> None:
    trials = Trials(NOWHERE)
    assert follow(trials, {0: 0.9}, 100) == [0] * 100
    assert trials.error() is None


@pytest.mark.parametrize(("took_s", "error"), [(0.1, None), (0.12, None), (0.2, 2.0), (0.05, 0.5)])
def test_the_error_of_what_was_foreseen_is_told_once(took_s, error) -> None:
    trials = Trials(FIRST)
    for _ in range(TRIED - 1):
        follow(trials, {4: took_s}, 1)
        assert trials.error() is None
    follow(trials, {4: took_s}, 1)
    assert trials.error() == (None if error is None else pytest.approx(error))
    assert trials.error() is None


@pytest.mark.parametrize("quick", [4, 5])
def test_the_corrected_plan_is_followed_only_where_it_is_quicker(quick) -> None:
    trials = Trials(FIRST)
    seconds = {4: 0.3, 5: 0.3} | {quick: 0.2}
    assert follow(trials, seconds, TRIED) == [4] * TRIED
    trials.add(SECOND)
    assert follow(trials, seconds, 20) == [5] * TRIED + [quick] * (20 - TRIED)


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


def test_one_long_inference_does_not_decide() -> None:
    trials = Trials(FIRST)
    trials.took(trials.choose(ALONE_S), 5.0)
    assert follow(trials, {4: 0.2}, 50) == [4] * 50


def test_a_plan_that_has_become_slow_is_left() -> None:
    trials = Trials(FIRST)
    trials.add(SECOND)
    assert follow(trials, {4: 0.2, 5: 0.3}, 2 * TRIED + LATEST)[-1] == 4
    assert follow(trials, {4: 0.5, 5: 0.3}, LATEST)[-1] == 5


def test_a_little_quicker_is_no_reason_to_change() -> None:
    trials = Trials(FIRST)
    trials.add(SECOND)
    assert set(follow(trials, {4: 0.200, 5: 0.196}, 20)[2 * TRIED :]) == {4}


def test_what_lost_is_tried_again_ever_more_seldom_and_followed_if_it_has_become_quicker() -> None:
    trials = Trials(FIRST)
    trials.add(SECOND)
    followed = follow(trials, {4: 0.2, 5: 0.24}, 20 * RETRY)
    assert 5 in followed[2 * TRIED :]
    assert followed[2 * TRIED :].count(5) <= TRIED * 4
    assert follow(trials, {4: 0.2, 5: 0.1}, 40 * RETRY)[-1] == 5


def test_what_lost_by_far_is_not_tried_again() -> None:
    trials = Trials(FIRST)
    trials.add(SECOND)
    assert 5 not in follow(trials, {4: 0.2, 5: 0.9}, 20 * RETRY)[2 * TRIED :]


def test_seconds_of_a_plan_that_is_not_known_are_nobodys() -> None:
    trials = Trials(FIRST)
    trials.took(SECOND, 0.001)
    assert trials.plans == (FIRST,)
    assert follow(trials, {4: 0.2}, 3) == [4] * 3
