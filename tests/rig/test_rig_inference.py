"""`cocoi infer` from the coordinator's place: the answer is that of plain ONNX Runtime, whatever happens."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.rig.place import Place
from tests.system.processes import until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

INFER = ("exec", "host", "--", sys.executable, "-m", "cocoi_cli", "infer", "--check", "--json")
PICTURE = "models/samples/stop.png"


def connected(place: Place, node: str) -> int:
    return Path(place.folder, node, "log").read_text().count(" is connected ")


def test_the_answer_is_that_of_this_machine_alone(place) -> None:
    document = json.loads(place.rig(*INFER, PICTURE).stdout)
    assert "passed" in json.dumps(document)
    assert all(connected(place, f"node-{number}") for number in (1, 2, 3))


def test_a_device_that_dies_in_the_middle_costs_no_answer(place) -> None:
    before = connected(place, "node-1")
    running = place.start(*INFER, *[PICTURE] * 4)
    until(lambda: connected(place, "node-1") > before or running.poll() is not None, "a connection to node-1")
    place.faults("kill", "node-1")
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert "passed" in out


def test_a_frozen_device_costs_no_answer(place) -> None:
    before = connected(place, "node-2")
    running = place.start(*INFER, *[PICTURE] * 2)
    until(lambda: connected(place, "node-2") > before or running.poll() is not None, "a connection to node-2")
    place.faults("freeze", "node-2")
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    assert "passed" in out
