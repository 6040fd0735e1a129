"""Devices that lose power, their cable, or their mind: answers stay right, and devices come back by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.fleet_lab.fleet import Fleet
from tests.fleet_lab.lab import FLEET
from tests.fleet_lab.waiting import until
from tests.system.processes import deep_network

STORE = "find /var/lib/private/cocoi -type f -printf '%i %s %p\\n' | sort"
STUCK = 3


@pytest.fixture(scope="module")
def stuck(fleet: Fleet) -> Iterator[dict[str, str]]:
    """The agent of one device is stopped while all tests here run; its unit as it was before."""
    fleet.right()
    before = fleet.lab.agent(STUCK)
    fleet.lab.root(STUCK, "systemctl kill -s STOP --kill-whom=main cocoi-agent")
    yield before
    fleet.lab.root(STUCK, "systemctl kill -s CONT --kill-whom=main cocoi-agent", check=False)


@pytest.fixture
def long(fleet: Fleet, tmp_path: Path) -> list[str]:
    """Arguments of an inference of many stages, whose answer is compared."""
    model, array = tmp_path / "deep.onnx", tmp_path / "x.npy"
    model.write_bytes(deep_network(400).SerializeToString())
    np.save(array, np.random.default_rng(2).standard_normal((1, 8, 64, 64)).astype(np.float32))
    return ["infer", str(array), "-m", str(model), "--check", "--json", "--scheme", "coded"]


def test_answers_are_right_while_an_agent_hangs(fleet: Fleet, stuck: dict[str, str]):
    assert stuck["ActiveState"] == "active"
    assert fleet.right()["check"]["passed"]


def test_a_power_cycle_needs_no_command_and_no_weights_again(fleet: Fleet, stuck: dict[str, str], figure):
    del stuck
    before = fleet.lab.root(1, STORE)
    assert before
    fleet.lab.restart(1)
    seconds = until(lambda: fleet.lab.listens(1) == [fleet.lab.address(1)], "the agent of device 1 listens again")
    figure(f"power cycle: the agent listened {seconds:.1f} s after ssh answered")
    document = fleet.right()
    assert fleet.name(1) in fleet.used(document), document["agents"]
    assert fleet.lab.root(1, STORE) == before


def test_a_cable_that_is_pulled_in_the_middle_changes_no_answer(fleet: Fleet, stuck: dict[str, str], long: list[str]):
    del stuck
    running = fleet.host.start(*long)
    assert running.read("stage "), running.lines
    fleet.lab.cut(2)
    try:
        done = running.finish().ok()
    finally:
        fleet.lab.heal(2)
    assert done.document["check"]["passed"], done
    used = {each["id"]: each["used"] for each in done.document["agents"]}
    assert used[fleet.name(2)] < used[fleet.name(1)] / 2, used


def test_power_that_fails_in_the_middle_changes_no_answer(fleet: Fleet, stuck: dict[str, str], long: list[str]):
    del stuck
    running = fleet.host.start(*long)
    assert running.read("stage "), running.lines
    fleet.lab.cut_power(2)
    try:
        done = running.finish().ok()
    finally:
        fleet.lab.restart(2)
    assert done.document["check"]["passed"], done
    until(lambda: fleet.lab.listens(2) == [fleet.lab.address(2)], "the agent of device 2 listens again")


def test_the_watchdog_restarts_an_agent_that_hangs(fleet: Fleet, stuck: dict[str, str]):
    def restarted() -> bool:
        now = fleet.lab.agent(STUCK)
        return int(now["NRestarts"]) > int(stuck["NRestarts"]) and now["ActiveState"] == "active"

    until(restarted, "the watchdog notices that the agent hangs", seconds=240)
    assert "watchdog" in fleet.lab.root(STUCK, "journalctl -u cocoi-agent -o cat --since=-600s").lower()
    until(lambda: fleet.used(fleet.right()) == {fleet.name(each) for each in FLEET}, "every device serves")
