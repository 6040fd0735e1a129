"""Devices measured through their agents: figures that a plan can be made with, and nobody who holds up the others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest

from cocoi_cli.commands.options import Way
from cocoi_cli.commands.profile_work import run
from cocoi_cli.fleet import agent_profile
from cocoi_cli.fleet.agent_profile import (
    LEAST_PART,
    MEGABYTE,
    SHARES,
    TINY_SHARES,
    TRIPS,
    Measured,
    convolution_seconds,
    measure,
)
from cocoi_cli.fleet.agents import Agents
from cocoi_cli.fleet.workloads import ENOUGH_FLOPS, GRID, LADEN, MOST_IN_A_SHARE, dry_convolution, flops, in_a_share
from cocoi_cli.planning.fleet_fit import device_model
from cocoi_cli.planning.profile import DeviceProfile, Profile
from cocoi_cli.planning.profile_file import from_json, to_json
from cocoi_cli.runtime.addresses import Absentee, AgentAddress
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.views.agent_speeds import agent_document, agent_outcome
from tests.runtime.loop_fleet import LoopFleet, loop_fleet

CELLS = ((3, 8, 8, 16, 4), (1, 16, 16, 8, 2))
MADE = "2026-11-20T10:00:00+00:00"


def measured(
    agents: int, story: Callable[[LoopFleet], object] = lambda _: None, **more
) -> dict[str, DeviceProfile | LinkError]:
    async def main() -> Measured:
        async with loop_fleet(agents) as fleet:
            addresses = fleet.addresses
            stopped = story(fleet)
            if stopped is not None:
                await stopped
            found = await measure(addresses, None, made=MADE, **({"rounds": 2, "cells": CELLS} | more))
        assert len(asyncio.all_tasks()) == 1
        return found

    return asyncio.run(main()).devices


@pytest.fixture(scope="module")
def honest() -> dict[str, DeviceProfile | LinkError]:
    return measured(2)


def test_every_figure_is_there_and_positive(honest) -> None:
    assert list(honest) == ["a0", "a1"]
    for profile in honest.values():
        assert isinstance(profile, DeviceProfile)
        assert (profile.made, profile.link.through, len(profile.link.rounds)) == (MADE, "direct", 2)
        for each in profile.link.rounds:
            assert len(each.rtt_s) == TRIPS
            assert min(*each.rtt_s, *each.up.seconds, *each.down.seconds) > 0
        cells = [(c.kernel, c.in_channels, c.out_channels, c.width, c.rows) for c in profile.compute.convolutions]
        assert cells == list(CELLS)
        for cell, found in zip(CELLS, profile.compute.convolutions, strict=True):
            kernel, into, out, width, rows = cell
            assert found.samples.size == 2 * kernel**2 * into * out * width * rows
            assert len(found.samples.seconds) == SHARES
            assert min(found.samples.seconds) > 0
        assert min(*profile.compute.tasks.seconds, *profile.compute.rested.seconds) > 0
        assert len(profile.compute.rested.seconds) == TINY_SHARES
        assert profile.compute.flops_per_s > 0


def test_a_plan_can_be_made_with_it(honest) -> None:
    for name, profile in honest.items():
        model = device_model(name, profile)
        assert model.name == name
        assert min(model.task_s, model.rtt_s, model.send.mean(1), model.receive.mean(1)) > 0
        assert len(model.cells) == len(CELLS)
        assert model.task_s == pytest.approx(profile.compute.tasks.mean_s)
        assert model.task_s - model.rest_gain_s == pytest.approx(profile.compute.rested.mean_s)


def test_what_the_bytes_cost_is_told_apart(honest) -> None:
    for name, profile in honest.items():
        carrying = profile.compute.carrying
        assert (carrying.size, len(carrying.seconds)) == (MEGABYTE, len(LADEN))
        assert min(carrying.seconds) > 0
        link = device_model(name, profile)
        part = 2 * carrying.mean_s / MEGABYTE / (link.send.mean_s + link.receive.mean_s)
        assert link.carrying == pytest.approx(min(part, 1.0))


def test_no_share_is_computed_twice_since_float16_hardly_holds_its_answer() -> None:
    """Twice computed, a share that hardly computes was measured at 2 to 4 times what it costs."""
    asked: list[tuple[str, ...]] = []

    def spied(fleet: LoopFleet) -> None:
        engine = fleet.agents["a0"].engine
        compute = engine.run

        def run(program, feeds, outputs, options):
            asked.append(tuple(outputs))
            return compute(program, feeds, outputs, options)

        engine.run = run

    measured(1, spied)
    assert set(asked) == {("y",), ("y16",)}


def test_convolutions_are_what_shares_took_beyond_their_fixed_cost() -> None:
    assert convolution_seconds([0.01] * 4, 0.004) == pytest.approx([0.006] * 4)
    # Uneven ones keep their proportions.
    assert convolution_seconds([0.01, 0.02, 0.01], 0.004) == pytest.approx([0.007, 0.014, 0.007])


@pytest.mark.parametrize("task_s", [0.02, 1.0])
def test_a_share_that_seems_quicker_than_its_fixed_cost_is_not_believed_to_be_free(task_s) -> None:
    assert convolution_seconds([0.01] * 4, task_s) == pytest.approx([0.01 * LEAST_PART] * 4)


@pytest.mark.parametrize("times", [1, 2, 5])
def test_the_dry_program_convolves_what_it_holds(times) -> None:
    rng = np.random.default_rng(3)
    held, w = rng.standard_normal((1, 2, 6, 7)).astype(np.float16), rng.standard_normal((4, 2, 3, 3)).astype(np.float32)
    session = onnxruntime.InferenceSession(dry_convolution(times), providers=["CPUExecutionProvider"])
    x = np.full((1, 1, 1, 1), 0.5, np.float32)
    (found,) = session.run(None, {"x": x, "held": held, "w": w})
    windows, more = np.lib.stride_tricks.sliding_window_view(held[0].astype(np.float32), (3, 3), axis=(1, 2)), 0.5
    for _ in range(times):
        most = np.einsum("oikl,ihwkl->ohw", w, windows + more).max()
        more = min(most, 0.5)
    assert found.shape == (1, 1, 1, 1)
    assert found.item() == pytest.approx(most + 0.5, rel=1e-5)


def test_no_slice_is_so_short_that_the_fixed_cost_hides_it() -> None:
    for cell in GRID:
        times = in_a_share(cell)
        assert times * flops(cell) >= ENOUGH_FLOPS or times == MOST_IN_A_SHARE
        assert times == 1 or (times - 1) * flops(cell) < ENOUGH_FLOPS


def test_it_survives_the_file(honest) -> None:
    profile = Profile("f1", MADE, "0.1.0", dict(honest))
    found = from_json(to_json(profile), "profile.json")
    assert from_json(to_json(found), "profile.json") == found
    for name, each in honest.items():
        kept = found.devices[name]
        assert kept.compute.tasks.mean_s == pytest.approx(each.compute.tasks.mean_s, rel=1e-3)
        assert kept.compute.rested.mean_s == pytest.approx(each.compute.rested.mean_s, rel=1e-3)
        assert kept.compute.carrying.mean_s == pytest.approx(each.compute.carrying.mean_s, abs=1e-7)
        assert device_model(name, kept).task_s == pytest.approx(device_model(name, each).task_s, rel=1e-3)


def test_it_is_shown_in_words_and_as_a_document(honest) -> None:
    profile = honest["a0"]
    assert agent_outcome(profile).endswith(" GFLOP/s")
    document = agent_document(profile)
    json.dumps(document, allow_nan=False)
    assert document["compute"]["convolutions"] == len(CELLS)
    assert document["compute"]["share_s"] > 0


def test_one_that_is_down_is_told_and_the_others_are_measured() -> None:
    found = measured(3, lambda fleet: fleet.agents["a1"].stop(), rounds=1)
    assert isinstance(found["a1"], LinkError)
    assert "connection refused" in found["a1"].message
    assert all(isinstance(found[name], DeviceProfile) for name in ("a0", "a2"))
    assert list(found) == ["a0", "a1", "a2"]


@pytest.mark.parametrize("stage", ["link", "compute"])
def test_one_that_is_lost_meanwhile_is_told_and_the_others_are_measured(stage) -> None:
    said: list[tuple[str, str]] = []
    cut: list[Callable[[], None]] = []

    def on_stage(agent: str, what: str) -> None:
        said.append((agent, what))
        if (agent, what) == ("a0", stage):
            cut[0]()

    found = measured(2, lambda fleet: cut.append(fleet.agents["a0"].cut), rounds=1, on_stage=on_stage)
    assert isinstance(found["a0"], LinkError)
    assert isinstance(found["a1"], DeviceProfile)
    assert said[:2] == [("a0", "link"), ("a1", "link")]


def test_one_that_says_nothing_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(agent_profile, "SLICE_S", 0.5)
    load = agent_profile.load

    async def never(link, *size):
        if link.id == "a0":
            await asyncio.Event().wait()
        return await load(link, *size)

    monkeypatch.setattr(agent_profile, "load", never)
    found = measured(2, rounds=1)
    assert "no answer within 0.5 s" in found["a0"].message
    assert isinstance(found["a1"], DeviceProfile)


def test_a_slow_one_is_asked_for_the_fewest_slices_only(monkeypatch) -> None:
    monkeypatch.setattr(agent_profile, "BUDGET_S", 0.0)
    monkeypatch.setattr(agent_profile, "FEWEST", 1)
    found = measured(1, rounds=1)["a0"]
    assert (len(found.compute.convolutions), found.compute.skipped) == (1, len(CELLS) - 1)
    assert device_model("a0", found).cells


def test_one_that_fails_in_onnx_runtime_is_told(monkeypatch) -> None:
    def break_it(fleet: LoopFleet) -> None:
        def fail(*_: object) -> None:
            raise MemoryError("no room")

        monkeypatch.setattr(fleet.agents["a0"].engine, "run", fail)

    found = measured(2, break_it, rounds=1)
    assert isinstance(found["a0"], LinkError)
    assert isinstance(found["a1"], DeviceProfile)


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE"):
        monkeypatch.setenv(f"COCOI_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("COCOI_FLEET", str(tmp_path / "fleet.toml"))
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def write_fleet(home, *names: str, more: str = 'security = "none"') -> None:
    lines = ['id = "f1"', more]
    for name in names:
        lines += [f"[devices.{name}]", f'ssh = "{name}"', 'address = "127.0.0.1"', f"port = {1 + len(lines)}"]
    (home / "fleet.toml").write_text("\n".join(lines) + "\n")


def way(**values) -> Way:
    usual = {"fleet": None, "json": True, "quiet": False, "accept_new": False}
    return Way(**(usual | {"password_file": None, "sudo_password_file": None} | values))


def test_the_command_writes_what_it_found_and_tells_what_it_did_not(home, honest, monkeypatch, capsys) -> None:
    asked: list[str] = []

    async def found(addresses, identity, **_):
        asked.extend(each.id for each in addresses)
        return Measured({"a0": honest["a0"], "a1": LinkError("a1", "127.0.0.1:1", "connection refused")}, None)

    monkeypatch.setattr("cocoi_cli.commands.profile_work.measure", found)
    write_fleet(home, "a0", "a1")
    status = run((), way(), full=False, rounds=1, output=None, agents=True)
    document = json.loads(capsys.readouterr().out)
    assert status == 4
    assert asked == ["a0", "a1"]
    assert document["devices"]["a0"]["compute"]["flops_per_s"] > 0
    assert document["devices"]["a1"]["error"] == "agent-unreachable"
    assert list(from_json((home / "data" / "f1" / "profile.json").read_text(), "p").devices) == ["a0"]


def test_devices_without_an_agent_are_told_too(home, honest, monkeypatch, capsys) -> None:
    members = (AgentAddress("a0", "127.0.0.1", 1, None),)

    async def found(addresses, identity, **_):
        assert tuple(addresses) == members
        return Measured({"a0": honest["a0"]}, None)

    known = Agents((*members, Absentee("a1", "down", "it has no agent yet")), None)
    monkeypatch.setattr("cocoi_cli.commands.profile_work.agents_of", lambda _: known)
    monkeypatch.setattr("cocoi_cli.commands.profile_work.measure", found)
    write_fleet(home, "a0", "a1")
    assert run((), way(), full=False, rounds=1, output=None, agents=True) == 4
    document = json.loads(capsys.readouterr().out)
    assert "it has no agent yet" in document["devices"]["a1"]["message"]
    assert document["devices"]["a0"]["link"]["rtt_s"]
