from __future__ import annotations

from collections import Counter

import pytest

from cocoi_cli.benchmark.errors import ScenarioTooLargeError, UnknownDeviceError, UnknownScenarioError
from cocoi_cli.benchmark.scenarios import (
    AWAY,
    GROUPS,
    SCENARIOS,
    SPAN,
    Fault,
    Scenario,
    Step,
    check_size,
    choose,
    passing_faults,
    standing_faults,
)

TEN = tuple(f"node-{number}" for number in range(10))


def standing(name, devices=TEN, seed=1, model="net"):
    return standing_faults(SCENARIOS[name], devices, seed=seed, model=model)


def passing(name, repetition, devices=TEN, seed=1):
    return passing_faults(SCENARIOS[name], devices, seed=seed, model="net", repetition=repetition)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", {}),
        ("delay", {"delay": 10}),
        ("dead-1", {"kill": 1}),
        ("dead-2", {"kill": 2}),
        ("frozen-2", {"freeze": 2}),
        ("both-1", {"delay": 10, "kill": 1}),
        ("both-2", {"delay": 10, "kill": 2}),
        ("two-slow", {"slow": 2}),
        ("bimodal", {"delay": 10}),
        ("dying-2", {}),
    ],
)
def test_each_scenario_hits_as_many_devices_as_it_says(name, words):
    faults = standing(name)
    assert Counter(fault.word for fault in faults) == words
    assert len({(fault.word, fault.device) for fault in faults}) == len(faults)


def test_calls_are_those_of_the_contract():
    assert {fault.call[2:] for fault in standing("two-slow")} == {("3",)}
    assert {fault.call[2:] for fault in standing("delay")} == {("exp", "0.5")}
    traces = [fault.call[2:] for fault in standing("bimodal")]
    assert {kind for kind, _ in traces} == {"trace"}
    assert all(seed.isdecimal() for _, seed in traces)
    assert len({seed for _, seed in traces}) == 10


def test_the_seed_decides_who_is_hit_and_every_device_has_its_turn():
    assert standing("two-slow") == standing("two-slow")
    hit = Counter(fault.device for seed in range(300) for fault in standing("two-slow", seed=seed))
    assert set(hit) == set(TEN)
    assert max(hit.values()) < 2 * min(hit.values())


def test_devices_that_die_in_the_middle_rotate_with_the_repetition():
    hit = Counter(timed.fault.device for repetition in range(300) for timed in passing("dying-1", repetition))
    assert set(hit) == set(TEN)
    assert max(hit.values()) < 2 * min(hit.values())
    assert passing("dying-2", 3) == passing("dying-2", 3)
    assert all(len({timed.fault.device for timed in passing("dying-2", each)}) == 2 for each in range(50))


def test_they_die_while_the_inference_runs():
    moments = [timed.at for repetition in range(200) for timed in passing("dying-1", repetition)]
    assert min(moments) >= SPAN[0]
    assert max(moments) <= SPAN[1]
    assert max(moments) - min(moments) > 0.4


def test_steps_with_counts_hit_different_devices():
    steps = (Step("kill", 1), Step("slow", 1, ("3",)), Step("freeze", 1))
    scenario = Scenario("odd", "", steps)
    for seed in range(50):
        faults = standing_faults(scenario, TEN[:3], seed=seed, model="net")
        assert len({fault.device for fault in faults}) == 3


def test_who_is_dead_does_not_die_again():
    scenario = Scenario("odd", "", (Step("kill", 1),), (Step("kill", 1),))
    for seed in range(50):
        dead = {fault.device for fault in standing_faults(scenario, TEN[:3], seed=seed, model="net")}
        later = passing_faults(scenario, TEN[:3], seed=seed, model="net", repetition=0)
        assert dead.isdisjoint(timed.fault.device for timed in later)


def test_names_and_moments_of_a_step_are_kept():
    scenario = Scenario("odd", "", (), (Step("cut", ("node-3",), (), 0.5),))
    (timed,) = passing_faults(scenario, TEN, seed=1, model="net", repetition=9)
    assert (timed.fault, timed.at) == (Fault("cut", "node-3"), 0.5)


@pytest.mark.parametrize(
    ("fault", "undoing"),
    [
        (Fault("kill", "a"), ("revive", "a")),
        (Fault("freeze", "a"), ("thaw", "a")),
        (Fault("cut", "a"), ("heal", "a")),
        (Fault("slow", "a", ("3",)), ("slow", "a", "1")),
        (Fault("loss", "a", ("2",)), ("loss", "a", "0")),
        (Fault("delay", "a", ("exp", "0.5")), ("delay", "a", "none")),
        (Fault("lie", "a", ("0.1",)), ("lie", "a", "none")),
    ],
)
def test_each_fault_knows_what_undoes_it(fault, undoing):
    assert fault.undoing.call == undoing


def test_every_word_of_a_scenario_can_be_undone():
    for scenario in SCENARIOS.values():
        for word in scenario.words:
            assert Fault(word, "a", ("x",)).undoing.word != word or word in ("slow", "delay", "loss", "lie")


def test_groups_stand_for_their_members_each_once():
    assert [each.name for each in choose(["none", "bars"], {})] == ["none", "delay", "two-slow", "dead-1"]
    assert [each.name for each in choose(["all"], {})] == list(SCENARIOS)
    assert all(name in SCENARIOS for members in GROUPS.values() for name in members)


def test_a_scenario_of_the_users_own_may_replace_ours():
    own = {"none": Scenario("none", "mine"), "kitchen": Scenario("kitchen", "mine")}
    assert [each.text for each in choose(["none", "kitchen"], own)] == ["mine", "mine"]


def test_an_unknown_scenario_is_refused_with_the_known_ones():
    with pytest.raises(UnknownScenarioError, match=r"no scenario `dealy`; known are `none`, `delay`") as caught:
        choose(["dealy"], {})
    assert caught.value.code == "unknown-scenario"


@pytest.mark.parametrize(("name", "devices", "fits"), [
    ("two-slow", 1, False), ("two-slow", 2, True), ("dead-1", 1, False), ("dead-2", 3, True), ("dying-2", 2, False),
    ("delay", 1, True),
])  # fmt: skip
def test_a_fleet_that_is_too_small_for_a_scenario_is_refused(name, devices, fits):
    if fits:
        check_size(SCENARIOS[name], TEN[:devices])
        return
    with pytest.raises(ScenarioTooLargeError, match=f"scenario `{name}` hits . devices, and the fleet has {devices}"):
        check_size(SCENARIOS[name], TEN[:devices])


def test_a_device_that_the_script_does_not_know_is_refused():
    with pytest.raises(UnknownDeviceError, match="names device `pi-9`; the faults script knows `node-0`, `node-1`"):
        check_size(Scenario("odd", "", (Step("slow", ("pi-9",), ("2",)),)), TEN[:2])


def test_words_that_end_a_device_are_known():
    assert {"kill", "freeze", "cut"} == AWAY
