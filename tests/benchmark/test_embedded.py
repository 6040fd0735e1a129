"""`cocoi bench` over real agents on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from cocoi_cli.commands.bench import Request
from cocoi_cli.commands.bench_work import run
from tests.runtime.small_network import small_network

pytestmark = pytest.mark.slow


@pytest.fixture
def model(tmp_path):
    """Large enough that agents are given work."""
    return str(small_network(tmp_path).path)


def measure(model, tmp_path, **changes):
    out = tmp_path / "out.json"
    fields = {"models": (model,), "embedded": 3, "schemes": "uncoded,coded", "warm_up": 1, "quiet": True}
    assert run(Request(**fields | {"output": str(out)} | changes)) == 0
    document = json.loads(out.read_text())
    return {(cell["scenario"], cell["row"]): cell for cell in document["cells"]}


def test_schemes_are_measured_with_all_agents_and_with_one_dead(model, tmp_path):
    cells = measure(model, tmp_path, scenarios="none,dead-1", inferences=2)
    assert set(cells) == {(scenario, row) for scenario in ("none", "dead-1") for row in ("uncoded", "coded")}
    for (scenario, row), cell in cells.items():
        assert cell["transport"] == ("f32" if row == "uncoded" else "f16")
        for sample in cell["samples"]:
            assert sample["latency_s"] > 0
            assert sample["living"] == (3 if scenario == "none" else 2)
            assert sample["max_rel_error"] < (1e-5 if row == "uncoded" else 1e-2)
            assert sample["top1_equal"] is True
            assert sample["used"] > 0
            assert sample["host_cpu_s"] > 0
            assert sample["bytes_out"] > 0


def test_an_agent_that_dies_in_the_middle_is_there_again_for_the_next_inference(model, tmp_path):
    cells = measure(model, tmp_path, scenarios="dying-1", schemes="coded", inferences=2)
    samples = cells["dying-1", "coded"]["samples"]
    assert [sample["living"] for sample in samples] == [3, 3]
    assert all(sample["latency_s"] is not None for sample in samples)
    # Whether the fault comes before the end of an inference of a few milliseconds, the machine decides.
    assert all([call[0] for call in sample["faults"]] in (["kill"], []) for sample in samples)


def test_the_end_by_the_system_keeps_what_was_measured(model, tmp_path, repository):
    """The signal comes while a scenario begins: agents start, are frozen, or are waited for."""
    out = tmp_path / "out.json"
    words = ["bench", model, "--embedded", "3", "--schemes", "coded", "--scenarios", "none,frozen-1"]
    words += ["--inferences", "3", "--warm-up", "1", "-o", str(out)]
    command = subprocess.Popen(
        [sys.executable, "-m", "cocoi_cli", *words],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "agent")])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with command:
        assert any(", frozen-1: 3 of 6 inferences" in line for line in iter(command.stderr.readline, ""))
        command.send_signal(signal.SIGTERM)
        rest = command.stderr.read()
    assert command.returncode == 128 + signal.SIGTERM
    assert rest.endswith("hint: what was measured is kept: the same command with `--resume` goes on with it\n")
    document = json.loads(out.read_text())
    assert not document["complete"]
    assert len(document["cells"][0]["samples"]) == 3
