"""What is remembered of a rig, and what its faults mean for a device."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from bench.lab import layout, state
from bench.lab.errors import RigError
from bench.lab.layout import Node, Rig, make_nodes
from bench.lab.quota import quota
from bench.lab.shaping import Quality
from bench.lab.state import Faults, State, find, load, locked


@pytest.fixture(autouse=True)
def states(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all states, for this test."""
    monkeypatch.setattr(layout, "STATES", tmp_path / "rigs")
    return tmp_path / "rigs"


@pytest.fixture
def rig() -> Rig:
    nodes = make_nodes(2, Node(0), [])
    return Rig("lab", "10.9.8", nodes, 9.0, None, 940_000_000, 1 << 20, "none", "/usr/bin/python3")


def test_a_state_survives_its_file(rig: Rig) -> None:
    ill = Faults(slow=3.0, frozen=True, loss=1.0, delay="exp 0.5 1", lie="flip")
    made = State(rig, ready=True, boot="b", shaper="delay line", pids={"ticker": 4}).with_faults("node-2", ill)
    with locked("lab"):
        made.save()
        assert find("lab") == made


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"rig": 3, "faults": {}}'])
def test_a_record_that_cannot_be_read_is_none(rig: Rig, text: str) -> None:
    with locked("lab"):
        state.state_file("lab").write_text(text)
    assert find("lab") is None


def test_a_rig_that_was_never_made_is_not_up() -> None:
    with pytest.raises(RigError, match="no rig `lab` is up") as raised:
        load("lab")
    assert "rig --prefix lab up" in raised.value.hint


def test_a_rig_half_made_is_not_up(rig: Rig) -> None:
    with locked("lab"):
        State(rig).save()
    with pytest.raises(RigError, match="no rig `lab` is up"):
        load("lab")


def test_a_well_device_has_what_it_was_made_with() -> None:
    node = Node(1, cpu=9, delay_us=200, loss=0.1)
    assert Faults().quota(node) == quota(9)
    assert Faults().quality(node) == Quality(200, 0.1)
    assert Faults().text == ""


def test_an_ill_device_has_less() -> None:
    node = Node(1, cpu=9, delay_us=200, loss=0.1)
    ill = Faults(slow=3, cut=True, loss=0.0, delay="trace 1")
    assert ill.quota(node) == quota(3)
    assert ill.quality(node) == Quality(200, 0.0)
    assert ill.text == "cut, slow 3, loss 0 %, delay trace 1"
    assert Faults(**asdict(ill)) == ill
