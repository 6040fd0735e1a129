"""`cocoi` with real processes that are interrupted, stopped and killed: right answers, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cocoi_cli.api import Fleet, Options
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime import connecting
from cocoi_cli.runtime.embedded import AgentStartError
from cocoi_cli.runtime.link import tcp
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.report import InferenceReport, StageReport
from cocoi_cli.views.progress import SilentProgress
from tests.runtime.small_network import picture, small_network
from tests.system.processes import (
    LINES,
    PATIENCE_S,
    Commands,
    Running,
    alive,
    deep_network,
    listening,
    still_listening,
    unexpected,
    until,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def commands(repository: Path, tmp_path: Path) -> Iterator[Commands]:
    np.save(tmp_path / "x.npy", np.random.default_rng(2).standard_normal((1, 8, 64, 64)).astype(np.float32))
    made = Commands(repository, tmp_path)
    yield made
    made.close()


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., str]:
    def write(layers: int, **more: object) -> str:
        (tmp_path / "deep.onnx").write_bytes(deep_network(layers, **more).SerializeToString())
        return "deep.onnx"

    return write


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where fleets of this process put their temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def gone(pids: list[int], sockets: set[int]) -> None:
    """Wait until no agent runs and none of its sockets listens."""
    until(lambda: not any(alive(pid) for pid in pids), f"the end of agents {pids}")
    assert still_listening(sockets) == set()


def right(report: InferenceReport) -> bool:
    return report.check is not None and report.check.passed


class Saboteur(SilentProgress):
    """Does something once, when the first strip of a distributed stage has been decoded."""

    def __init__(self, stage: int, action: Callable[[], None]) -> None:
        super().__init__()
        self._stage = stage
        self._action: Callable[[], None] | None = action
        self._conv = -1

    def stage_started(self, index: int, name: str, kind: str, strips: int) -> None:
        self._conv += kind == "conv"

    def strip_done(self, index: int, done: int, strips: int) -> None:
        if self._conv == self._stage and self._action is not None:
            action, self._action = self._action, None
            action()

    def stage_done(self, index: int, report: StageReport) -> None:
        del index, report


# --- the host ends ---------------------------------------------------------------------------


def begin(commands: Commands, network: Callable[..., str], moment: str) -> tuple[Running, list[int], set[int]]:
    """A long inference, stopped by nothing so far, at the moment when it says this."""
    running = commands.start("infer", "x.npy", "-m", network(60), "--embedded", 4)
    if moment == "start":
        until(lambda: bool(running.agents()), "the first agent")
    else:
        running.read_until(LINES[moment])
    agents = running.agents()
    assert len(agents) == 4 or moment == "start"
    return running, agents, listening(agents)


@pytest.mark.parametrize("moment", ["start", "plan", "stage"])
def test_agents_end_when_their_host_is_killed(commands, network, moment) -> None:
    running, agents, sockets = begin(commands, network, moment)
    running.process.send_signal(signal.SIGKILL)
    assert running.process.wait(PATIENCE_S) == -signal.SIGKILL
    gone(agents, sockets)


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        *((signal.SIGINT, moment) for moment in ("start", "fleet", "plan", "stage")),
        *((signal.SIGTERM, moment) for moment in ("start", "plan", "stage")),
        (signal.SIGHUP, "stage"),
    ],
)
def test_an_interrupted_command_leaves_nothing_behind(commands, network, number, moment) -> None:
    running, agents, sockets = begin(commands, network, moment)
    os.killpg(running.process.pid, number)  # the whole group, as a terminal does
    status, out, err = running.finish()
    assert status == 128 + number, err
    assert out == ""
    word = "interrupted" if number == signal.SIGINT else f"ended by {number.name}"
    assert f"error: {word}\n" in err
    assert "Traceback" not in err
    assert running.left() == []
    gone(agents, sockets)


def test_an_impatient_second_interrupt_leaves_nothing_behind_either(commands, network) -> None:
    running, agents, sockets = begin(commands, network, "stage")
    for _ in range(2):
        os.killpg(running.process.pid, signal.SIGINT)
    status, _, err = running.finish()
    assert status in {130, -signal.SIGINT}, err  # the latter where it comes when all is done
    assert running.left() == []
    gone(agents, sockets)


def test_an_interrupted_command_says_so_as_a_document(commands, network) -> None:
    running = commands.start("infer", "x.npy", "-m", network(60), "--embedded", 3, "--json")
    running.read_until(LINES["stage"])
    running.process.send_signal(signal.SIGTERM)
    status, out, _ = running.finish()
    assert (status, json.loads(out)["error"], running.left()) == (143, "terminated", [])


@pytest.mark.parametrize("frozen", [4])
def test_an_interrupt_is_obeyed_though_agents_are_frozen(commands, network, frozen) -> None:
    running, agents, sockets = begin(commands, network, "stage")
    for agent in agents[:frozen]:
        os.kill(agent, signal.SIGSTOP)
    running.process.send_signal(signal.SIGINT)
    status, _, err = running.finish()
    assert status == 130, err
    assert running.left() == []
    gone(agents, sockets)


def test_a_model_that_fails_leaves_nothing_behind(commands, network) -> None:
    running = commands.start("infer", "x.npy", "-m", network(2, unfit=True), "--embedded", 3)
    running.read_until(LINES["fleet"])
    agents = running.agents()
    status, _, err = running.finish()
    assert status == 3, err
    assert running.left() == []
    gone(agents, set())


def test_an_error_in_the_middle_of_an_inference_leaves_nothing_behind(model, temporary) -> None:
    def fail() -> None:
        raise RuntimeError("in the middle")

    with Fleet.embedded(3) as fleet:
        agents = list(fleet.process_ids().values())
        sockets = listening(agents)
        assert [path.name for path in temporary.glob("cocoi-*")] == [path.name for path in temporary.iterdir()]
        with pytest.raises(RuntimeError, match="in the middle"):
            fleet.infer(model, picture(), progress=Saboteur(1, fail))
        # The fleet outlives the error of one inference.
        assert right(fleet.infer(model, picture(), options=Options(check=True)))
    gone(agents, sockets)
    assert list(temporary.iterdir()) == []


def test_agents_that_do_not_start_leave_nothing_behind(temporary, monkeypatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(AgentStartError, match="`agent-1` did not start: ended with status 1") as raised:
        Fleet.embedded(3).__enter__()
    assert raised.value.exit_status == 4
    assert list(temporary.iterdir()) == []


def test_a_host_that_cannot_connect_leaves_nothing_behind(temporary, monkeypatch) -> None:
    monkeypatch.setattr(connecting, "tcp", lambda host, _port, context: tcp(host, 1, context))
    with pytest.raises(LinkError, match=r"cannot use agent `agent-\d`") as raised:
        Fleet.embedded(2).__enter__()
    assert raised.value.exit_status == 4
    assert list(temporary.iterdir()) == []


def test_agents_leave_ctrl_c_to_the_host(model) -> None:
    with Fleet.embedded(3) as fleet:
        for pid in fleet.process_ids().values():
            os.kill(pid, signal.SIGINT)
        report = fleet.infer(model, picture(), options=Options(check=True))
        assert right(report)
        assert unexpected(report.warnings) == []
        assert [agent.state for agent in report.agents] == ["up"] * 3


# --- agents end or freeze --------------------------------------------------------------------


@pytest.mark.parametrize("victims", [*combinations(range(4), 2)])
def test_any_n_minus_k_agents_may_be_killed_at_any_stage(model, victims) -> None:
    with Fleet.embedded(4) as fleet:
        pids = list(fleet.process_ids().values())

        def kill() -> None:
            for victim in victims:
                os.kill(pids[victim], signal.SIGKILL)

        saboteur = Saboteur(sum(victims) % 3, kill)
        report = fleet.infer(model, picture(), options=Options(k=2, check=True), progress=saboteur)
        assert right(report)
        assert sum(row.host for row in report.stages) == 0
        # What was lost while nobody waited for it is told with the next inference.
        again = fleet.infer(model, picture(), options=Options(check=True))
        assert right(again)
        assert [agent.state for agent in again.agents] == ["lost" if i in victims else "up" for i in range(4)]
        told = " ".join((*report.warnings, *again.warnings))
        assert all(f"agent-{victim + 1} was lost: " in told for victim in victims)
        assert told.count("was lost") == 2


def test_agents_may_freeze_in_the_middle_and_come_back(model) -> None:
    with Fleet.embedded(4) as fleet:
        pids = list(fleet.process_ids().values())[1:3]

        def freeze() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)

        try:
            report = fleet.infer(model, picture(), options=Options(k=2, check=True), progress=Saboteur(0, freeze))
            again = fleet.infer(model, picture(), options=Options(k=2, check=True))
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        assert right(report)
        assert right(again)
        assert sum(row.host for row in report.stages) == sum(row.host for row in again.stages) == 0
        thawed = fleet.infer(model, picture(), options=Options(k=2, check=True))
        assert right(thawed)


@pytest.mark.parametrize("stage", [0, 2])
def test_when_all_agents_are_killed_the_host_finishes_with_a_warning(model, stage) -> None:
    with Fleet.embedded(3) as fleet:
        pids = list(fleet.process_ids().values())

        def kill() -> None:
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        report = fleet.infer(model, picture(), options=Options(check=True), progress=Saboteur(stage, kill))
        alone = fleet.infer(model, picture(), options=Options(check=True))
        later = fleet.infer(model, picture(), options=Options(check=True))
        assert right(report)
        assert right(alone)
        assert right(later)
        told = " ".join((*report.warnings, *alone.warnings))
        assert told.count("was lost") == 3
        assert stage == 2 or "the host computes" in " ".join(report.warnings)
        # Killed in the last stage, they may be noticed only when the next inference turns to them.
        assert sum(row.arrived for row in alone.stages) == 0
        assert {row.kind for row in later.stages} == {"local"}


# --- the same from the command line ----------------------------------------------------------


def run(commands: Commands, *options: object) -> tuple[int, dict]:
    running = commands.start("infer", "x.npy", "-m", "deep.onnx", "--json", "--check", *options)
    status, out, _ = running.finish()
    assert running.left() == []
    return status, json.loads(out)


@pytest.mark.parametrize(("kill", "k"), [(1, 4), (2, 4), (3, 3), (5, 1)])
def test_the_answer_survives_the_loss_of_n_minus_k_agents(commands, network, kill, k) -> None:
    network(6)
    status, document = run(commands, "--embedded", 6, "--k", k, "--kill", kill, "--no-fallback")
    assert status == 0, document
    assert document["check"]["passed"]
    assert [agent["state"] for agent in document["agents"]].count("killed") == kill
    # With few answers needed, the last one may be decoded before every loss is noticed.
    assert 0 < len(unexpected(document["warnings"])) <= kill


def test_the_answer_survives_the_loss_of_all_agents_with_a_warning(commands, network) -> None:
    network(6)
    status, document = run(commands, "--embedded", 6, "--kill", 6)
    assert status == 0, document
    assert document["check"]["passed"]
    assert any("the host computes" in text for text in document["warnings"]), document


@pytest.mark.parametrize(
    ("kill", "status", "error", "details"),
    [
        (3, 5, "cannot-decode", {"answering": 3, "needed": 4}),
        (6, 4, "no-agents", {"answering": 0, "needed": 4}),
    ],
)
def test_without_fallback_too_few_agents_are_an_error(commands, network, kill, status, error, details) -> None:
    network(6)
    found, document = run(commands, "--embedded", 6, "--k", 4, "--kill", kill, "--no-fallback")
    assert found == status, document
    assert (document["error"], document["details"]) == (error, details)
    assert document["message"]
    assert "cocoi infer" in document["hint"]


def test_a_deadline_that_cannot_be_met_is_a_warning(commands, network) -> None:
    network(6)
    status, document = run(commands, "--embedded", 3, "--deadline", 0.001)
    assert status == 0, document
    assert document["check"]["passed"]
    assert unexpected(document["warnings"]) == ["the deadline of 0.001 s passed; the host computes the rest"]


def test_without_fallback_a_deadline_that_cannot_be_met_is_an_error(commands, network) -> None:
    network(6)
    status, document = run(commands, "--embedded", 3, "--deadline", 0.001, "--no-fallback")
    # Whether anybody answered within a millisecond is a matter of luck.
    assert (status, document["error"]) in {(4, "no-agents"), (5, "deadline")}
