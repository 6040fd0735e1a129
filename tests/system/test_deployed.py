"""A fleet file and real agents behind it: some down, refusing, strangers or of another version."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import typer

from cocoi_agent.transport import Connection, serve
from cocoi_agent.wire.messages import AskVitals, Bye, Hello, Message, Ping, Pong, Vitals, Welcome
from cocoi_cli import __main__
from cocoi_cli.api import Fleet, Options
from cocoi_cli.commands import drain, infer, status
from cocoi_cli.errors import CocoiError
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime import settling
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.report import InferenceReport
from tests.runtime.small_network import picture, small_network
from tests.runtime.test_rehearsal import amplifier
from tests.system.processes import PATIENCE_S, unexpected
from tests.system.shelf import Shelf
from tests.system.test_processes import Saboteur

pytestmark = pytest.mark.slow

MIXED = {
    "pi-1": "up", "pi-2": "down", "pi-3": "up", "pi-4": "refusing", "pi-5": "stranger", "pi-6": "version",
    "pi-7": "bare", "pi-8": "up", "pi-9": "up",
}  # fmt: skip
UP = [name for name, kind in MIXED.items() if kind == "up"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keys and cache of this test's user."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COCOI_FLEET", str(folder / "fleet.toml"))
        patch.setenv("COCOI_DATA", str(folder / "data"))
        patch.setenv("COCOI_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def processes(home: Path, repository: Path) -> Iterator[Shelf]:
    shelf = Shelf(repository, home, MIXED)
    try:
        yield shelf.start()
    finally:
        shelf.close()


@pytest.fixture
def shelf(processes: Shelf) -> Shelf:
    """The shelf with nothing drained."""
    processes.write()
    return processes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture
def cocoi(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run one of the three commands inside this process: exit status, standard output, standard error."""
    app = typer.Typer()
    for name, command in (("infer", infer.infer), ("status", status.status), ("drain", drain.drain)):
        app.command(name)(command)
    monkeypatch.setattr(__main__, "app", app)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        found = __main__.run([str(each) for each in arguments])
        captured = capsys.readouterr()
        return found, captured.out, captured.err

    return run


def right(report: InferenceReport) -> bool:
    return report.check is not None and report.check.passed


# --- inference -------------------------------------------------------------------------------


def test_agents_that_cannot_be_used_are_not_and_the_answer_is_right(shelf, model) -> None:
    with Fleet.load() as fleet:
        report = fleet.infer(model, picture(), options=Options(check=True))
        again = fleet.infer(model, picture(), options=Options(check=True))
    assert right(report)
    assert right(again)
    assert {(row.n, row.k) for row in report.stages if row.kind == "conv"} == {(4, 3)}
    rows = {agent.id: agent for agent in report.agents}
    assert list(rows) == list(MIXED)
    assert [name for name, row in rows.items() if row.state == "up"] == UP
    assert sum(rows[name].used for name in UP) > 0
    reasons = {name: row.reason for name, row in rows.items() if row.state == "down"}
    assert reasons == {
        "pi-2": "connection refused",
        "pi-4": "it hung up at the greeting, as an agent does that does not know this host's certificate",
        "pi-5": "it shows another certificate than the fleet's",
        "pi-6": "the agent talks versions 7 to 7, the host 1 to 1",
        "pi-7": "it has no agent yet",
    }
    assert unexpected(report.warnings) == [f"{name} is not used: {reason}" for name, reason in reasons.items()]
    assert unexpected(again.warnings) == []  # told once
    assert [agent.state for agent in again.agents] == [agent.state for agent in report.agents]


def test_without_any_agent_the_host_computes_and_says_so(shelf, model) -> None:
    shelf.write(**{name.replace("_", "-"): True for name in UP})
    with Fleet.load() as fleet:
        report = fleet.infer(model, picture(), options=Options(check=True))
        assert right(report)
        assert unexpected(report.warnings)[-1] == "no agent of the fleet can be used; this machine computes alone"
        assert [agent.state for agent in report.agents if agent.id in UP] == ["drained"] * 4
        assert not any(agent.took_part for agent in report.agents)
        with pytest.raises(NoAgentsError) as raised:
            fleet.infer(model, picture(), options=Options(fallback=False))
        assert raised.value.exit_status == 4
        assert raised.value.details["absent"]["pi-2"] == "connection refused"


def test_asking_for_more_than_are_living_names_those_that_are_not(shelf, model) -> None:
    with Fleet.load() as fleet, pytest.raises(CocoiError) as raised:
        fleet.infer(model, picture(), options=Options(n=5))
    assert (raised.value.code, raised.value.exit_status) == ("too-few-agents", 4)
    assert set(raised.value.details["absent"]) == set(MIXED) - set(UP)


def test_a_frozen_agent_is_done_without_by_the_straggler_rule(shelf, model) -> None:
    """Its link says nothing at all; neither this inference nor the next waits until the heartbeat gives it up."""
    with Fleet.load() as fleet:
        fleet.infer(model, picture())
        freeze = Saboteur(1, lambda: shelf.signal("pi-3", signal.SIGSTOP))
        try:
            report = fleet.infer(model, picture(), options=Options(check=True), progress=freeze)
            again = fleet.infer(model, picture(), options=Options(check=True))
        finally:
            shelf.signal("pi-3", signal.SIGCONT)
    for each in (report, again):
        assert right(each)
        assert sum(row.host for row in each.stages) == 0
        # Had the heartbeat decided, it would be lost by now, and a warning would say so.
        assert [agent.state for agent in each.agents if agent.id in UP] == ["up"] * 4
        assert each.warnings == ()


def test_an_agent_that_freezes_before_it_has_the_weights_is_not_waited_for(shelf, model) -> None:
    with Fleet.load() as fleet:
        shelf.signal("pi-3", signal.SIGSTOP)
        try:
            report = fleet.infer(model, picture(), options=Options(check=True))
        finally:
            shelf.signal("pi-3", signal.SIGCONT)
        # Thawed, it takes the weights in the background, or is asked for them again, and joins.
        thawed = fleet.infer(model, picture(), options=Options(check=True))
    assert right(report)
    assert right(thawed)
    assert sum(row.host for row in report.stages) == 0
    (row,) = [agent for agent in report.agents if agent.id == "pi-3"]
    assert (row.state, row.used) == ("up", 0)
    assert report.warnings[-1] == "pi-3 is not waited for: it has not taken the weights in time"
    assert [agent.state for agent in thawed.agents if agent.id in UP] == ["up"] * 4


def test_an_agent_that_is_frozen_from_the_start_is_not_used(shelf, model) -> None:
    shelf.signal("pi-3", signal.SIGSTOP)
    try:
        with Fleet.load() as fleet:
            report = fleet.infer(model, picture(), options=Options(check=True))
    finally:
        shelf.signal("pi-3", signal.SIGCONT)
    assert right(report)
    (row,) = [agent for agent in report.agents if agent.id == "pi-3"]
    assert row.state == "down"
    assert row.reason.startswith("no answer within ")


def test_an_agent_that_ends_in_the_middle_changes_only_the_tables(home, tmp_path, repository, model) -> None:
    shelf = Shelf(repository, tmp_path, {"a": "up", "b": "up", "c": "up"}, security="none")
    try:
        shelf.start()
        with Fleet.load(str(shelf.path)) as fleet:
            kill = Saboteur(1, lambda: shelf.signal("b", signal.SIGKILL))
            report = fleet.infer(model, picture(), options=Options(check=True), progress=kill)
            again = fleet.infer(model, picture(), options=Options(check=True))
        assert right(report)
        assert right(again)
        (row,) = [agent for agent in again.agents if agent.id == "b"]
        assert row.state == "lost"
        assert row.reason
    finally:
        shelf.close()


# --- rehearsals ------------------------------------------------------------------------------


def test_a_second_process_does_not_rehearse_again(shelf, model, home, monkeypatch) -> None:
    with Fleet.load() as fleet:
        fleet.infer(model, picture())
    assert (home / "cache" / "rehearsals.json").is_file()

    async def never(*_: object) -> None:
        raise AssertionError("rehearsed again")

    monkeypatch.setattr(settling, "within_budget", never)
    with Fleet.load() as fleet:  # as another process would
        assert right(fleet.infer(model, picture(), options=Options(check=True)))
        with pytest.raises(AssertionError, match="rehearsed again"):
            fleet.infer(model, picture(), options=Options(k=2))


def test_a_wrong_entry_never_gives_a_wrong_answer(shelf, tmp_path, home) -> None:
    """A network that needs more than float16, and a file that says float16 will do."""
    network = amplifier(tmp_path)
    noise = np.random.default_rng(2).standard_normal((1, 3, 32, 32)).astype(np.float32)
    tensors, path = {"x": np.float32(1) + np.float32(1e-3) * noise}, home / "cache" / "rehearsals.json"
    path.unlink(missing_ok=True)
    with Fleet.load() as fleet:
        honest = fleet.infer(network, tensors, options=Options(check=True))
    document = json.loads(path.read_text())
    ((key, entry),) = document["entries"].items()
    assert entry
    path.write_text(json.dumps(document | {"entries": {key: []}}))
    with Fleet.load() as fleet:
        report = fleet.infer(network, tensors, options=Options(check=True))
    assert right(honest)
    assert right(report)
    assert any("it is computed again" in text for text in report.warnings)
    assert json.loads(path.read_text())["entries"][key] == entry


# --- status and drain ------------------------------------------------------------------------


def test_status_tells_who_answers_and_why_the_others_do_not(shelf, cocoi, home) -> None:
    found, out, err = cocoi("status")
    assert (found, err) == (4, "")
    states = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:10]}
    assert states == {
        "pi-1": "up", "pi-2": "down", "pi-3": "up", "pi-4": "refused", "pi-5": "refused", "pi-6": "other",
        "pi-7": "no", "pi-8": "up", "pi-9": "up",
    }  # fmt: skip
    assert max(map(len, out.splitlines()[:10])) <= 80
    assert "pi-2: connection refused" in out
    last = "redundancy: 4 of 9 up, k = 7 by default: 3 too few; inference uses (4,3)"
    assert out.splitlines()[-1] == last
    assert cocoi("status", "--quiet") == (4, last + "\n", "")
    assert set(json.loads((home / "data" / "shelf" / "seen.json").read_text())) == set(UP)


def test_the_document_of_status_is_one(shelf, cocoi) -> None:
    found, out, err = cocoi("status", "--json")
    document = json.loads(out)
    assert (found, err) == (4, "")
    assert [name for name, each in document["devices"].items() if each["answers"]] == UP
    assert document["devices"]["pi-1"]["vitals"]["queued"] == 0
    assert document["redundancy"]["margin"] == -3


def test_status_is_ready_with_k_agents(home, tmp_path, repository, cocoi) -> None:
    shelf = Shelf(repository, tmp_path, {"a": "up", "b": "up", "c": "down"}, security="none")
    try:
        shelf.start()
        found, out, _ = cocoi("status", "--fleet", shelf.path)
        assert (found, out.splitlines()[-1]) == (0, "redundancy: 2 of 3 up, k = 2 by default: 0 more may fail")
    finally:
        shelf.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--watch", "--json"], "`--watch --json`: a table that is kept up to date is for people"),
        (["--watch"], "`status --watch`: standard error is no terminal that can be redrawn"),
    ],
)
def test_a_watch_needs_a_terminal(shelf, cocoi, options, message) -> None:
    found, _, err = cocoi("status", *options)
    assert found == 2
    assert message in err or "--json" in options


def test_a_watch_ends_with_ctrl_c_and_leaves_its_table(shelf, repository) -> None:
    main, side = pty.openpty()
    code = (
        "import typer; from cocoi_cli import __main__; from cocoi_cli.commands import status;"
        "app = typer.Typer(); app.command('status')(status.status); app.callback()(lambda: None);"
        "__main__.app = app; __main__.leave(__main__.run(['status', '--watch']))"
    )
    paths = os.pathsep.join([str(repository), str(repository / "agent")])
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=side, stdout=side, stderr=side, start_new_session=True,
        env={**os.environ, "PYTHONPATH": paths, "TERM": "xterm", "COLUMNS": "80", "LINES": "40"},
    )  # fmt: skip
    os.close(side)
    text = b""
    try:
        while text.count(b"redundancy: 4 of 9 up") < 2:  # it is drawn, and drawn again
            text += os.read(main, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
        assert b"Traceback" not in text
    finally:
        process.kill()
        process.wait(PATIENCE_S)
        os.close(main)


def test_drained_devices_stay_out_until_they_are_undrained(shelf, cocoi, model) -> None:
    found, out, err = cocoi("drain", "pi-1", "pi-2")
    assert found == 0, err
    assert out.splitlines()[:2] == [
        "pi-1: drained; nothing is queued, it is safe to unplug",
        "pi-2: drained; it does not answer: connection refused",
    ]
    assert out.splitlines()[2].startswith("redundancy: 3 of 9 up")
    assert "warning: fewer devices are left than k = 7" in err
    assert [device.name for device in shelf.inventory.devices if device.drained] == ["pi-1", "pi-2"]
    with Fleet.load() as fleet:
        states = {agent.id: agent.state for agent in fleet.infer(model, picture()).agents}
    assert (states["pi-1"], states["pi-2"], states["pi-3"]) == ("drained", "drained", "up")
    document = json.loads(cocoi("status", "--json")[1])
    assert (document["devices"]["pi-1"]["state"], document["devices"]["pi-1"]["answers"]) == ("drained", True)

    found, out, _ = cocoi("drain", "pi-1", "pi-2", "--undo")
    assert (found, out.splitlines()[:2]) == (0, ["pi-1: used again", "pi-2: used again"])
    assert not any(device.drained for device in shelf.inventory.devices)


@pytest.mark.parametrize(
    ("options", "found", "code"), [(["pi-77"], 2, "unknown-device"), (["pi-1", "--wait", "nan"], 2, "bad-option")]
)
def test_what_cannot_be_drained_changes_nothing(shelf, cocoi, options, found, code) -> None:
    before = shelf.path.read_text()
    status_, out, _ = cocoi("drain", *options, "--json")
    assert (status_, json.loads(out)["error"]) == (found, code)
    assert shelf.path.read_text() == before


class BusyAgent:
    """Answers every question, always with something in its queue; lives in a thread of its own."""

    def __init__(self, queued: Iterator[int]) -> None:
        self._queued = queued
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self.port = 0

    def __enter__(self) -> BusyAgent:
        self._thread.start()
        self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        server = self._loop.run_until_complete(
            serve(
                *("127.0.0.1", 0),
                ssl_context=None,
                on_connect=lambda _: None,
                on_message=self._answer,
                on_lost=lambda _, __: None,
            )
        )
        self.port = server.port
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(server.aclose())

    def _answer(self, connection: Connection, message: Message, _: tuple) -> None:
        match message:
            case Hello():
                reply: Message = Welcome(1, "busy", "cocoi-agent 0.0.1", (), {}, 1 << 20, 1 << 20, 9, 1 << 20)
            case Ping():
                reply = Pong(message.token, 1.0)
            case AskVitals():
                reply = Vitals(None, None, None, None, None, None, None, next(self._queued), 5, 0, 1.0)
            case _:
                assert isinstance(message, Bye)
                connection.close()
                return
        connection.send_nowait_control(reply)


def fleet_of(path: Path, port: int) -> Path:
    text = f'id = "busy"\nsecurity = "none"\n[devices.busy]\nssh = "x"\naddress = "127.0.0.1"\nport = {port}\n'
    path.write_text(text)
    return path


def test_a_device_that_stays_busy_is_drained_and_told(home, cocoi, tmp_path) -> None:
    with BusyAgent(iter(lambda: 3, None)) as agent:
        path = fleet_of(tmp_path / "f.toml", agent.port)
        found, _, err = cocoi("drain", "busy", "--fleet", path, "--wait", 0)
        assert found == 4
        assert "error: `busy` is drained and still works after" in err
        assert "3 parts in its queue" in err
        document = json.loads(cocoi("drain", "busy", "--fleet", path, "--wait", 0, "--json")[1])
    assert (document["devices"]["busy"]["safe"], document["devices"]["busy"]["error"]) == (False, "still-busy")
    assert "drained = true" in path.read_text()


def test_an_empty_queue_between_two_stages_is_not_the_end(home, cocoi, tmp_path) -> None:
    with BusyAgent(iter([2, 0, 1, 0, 0, 7])) as agent:
        path = fleet_of(tmp_path / "f.toml", agent.port)
        found, out, err = cocoi("drain", "busy", "--fleet", path, "--yes")
    assert found == 0, err
    assert out.startswith("busy: drained; nothing is queued, it is safe to unplug\n")


def test_the_command_uses_the_fleet_file(shelf, cocoi, repository) -> None:
    sample = repository / "models" / "samples" / "stop.png"
    found, out, err = cocoi("infer", sample, "--json", "--check")
    document = json.loads(out)
    assert found == 0, err
    assert document["top1_equal"] is True
    assert [agent["id"] for agent in document["agents"]] == list(MIXED)
    assert document["agents"][1]["reason"] == "connection refused"
    assert "pi-2 is not used: connection refused" in document["warnings"]
    assert "share this machine's cores" not in err
