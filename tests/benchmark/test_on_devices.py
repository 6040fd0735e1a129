"""`cocoi bench` on devices with a faults script: what is asked of the script, and when."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import replace

import pytest

from cocoi_cli import __main__
from cocoi_cli.benchmark.errors import AgentsStayAwayError, FaultsFailedError, NoFaultsError, UnknownDeviceError
from cocoi_cli.benchmark.rows import ROWS
from cocoi_cli.commands import bench_fleet, bench_request
from cocoi_cli.commands.bench import Request
from cocoi_cli.commands.bench_fleet import BenchFleet
from cocoi_cli.commands.bench_work import run
from cocoi_cli.commands.request import Source
from cocoi_cli.errors import ConfigurationError
from cocoi_cli.fleet.agents import Agents
from cocoi_cli.runtime.addresses import Absentee, AgentAddress
from cocoi_cli.runtime.inquiry import Condition

NAMES = ("pi-1", "pi-2", "pi-3")
SCRIPT = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$1" in
  names) printf 'pi-1\\npi-2\\npi-3\\nother\\n' ;;
  loss) echo 'no netem' >&2; exit 1 ;;
esac
"""


@pytest.fixture
def source():
    members = tuple(AgentAddress(name, "127.0.0.1", 1, None) for name in NAMES)
    return Source(agents=Agents((*members, Absentee("pi-9", "down", "it has no agent yet")), None))


@pytest.fixture
def away(monkeypatch):
    """Agents that do not answer for a number of rounds."""
    rounds = {}

    def ask(members, _):
        found = {}
        for member in members:
            left = rounds.get(member.id, 0)
            rounds[member.id] = max(left - 1, 0)
            state = "up" if not left else "down"
            found[member.id] = Condition(member.id, state, "", "", {"cores": 4}, None, None)
        return found

    monkeypatch.setattr(bench_fleet, "ask_agents", ask)
    monkeypatch.setattr(bench_fleet, "PAUSE_S", 0.0)
    return rounds


@pytest.fixture
def bench(shelf, model, source, away, monkeypatch, tmp_path):
    script = tmp_path / "faults"
    script.write_text(SCRIPT)
    script.chmod(0o755)
    monkeypatch.setattr(bench_request, "_source", lambda _: source)
    out = tmp_path / "out.json"

    def bench(**changes):
        fields = {"models": (model,), "faults": str(script), "schemes": "uncoded,coded", "output": str(out)}
        fields |= {"inferences": 2, "warm_up": 1, "quiet": True}
        assert run(Request(**fields | changes)) == 0
        return json.loads(out.read_text())

    bench.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    bench.out = out
    return bench


def test_faults_stand_while_a_scenario_is_measured(bench):
    document = bench(scenarios="none,two-slow")
    first, second = document["standing"]["small_16_4/two-slow"]
    assert bench.calls() == ["clear", "names", "clear", " ".join(first), " ".join(second), "clear", "clear"]
    assert {first[0], first[2]} == {"slow", "3"}
    assert document["standing"]["small_16_4/none"] == []
    assert document["settings"]["devices"] == list(NAMES)
    assert document["conditions"]["devices"]["pi-1"]["cores"] == 4


def test_a_pipe_is_told_of_every_scenario(bench, capsys):
    bench(quiet=False, scenarios="none,two-slow")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("small_16_4, ")]
    assert told == ["small_16_4, none: 0 of 8 inferences done", "small_16_4, two-slow: 4 of 8 inferences done"]


def test_every_scenario_begins_with_connections_of_its_own(bench, shelf):
    bench(scenarios="none,dead-1,two-slow")
    assert (shelf.opened, shelf.closed) == (3, 3)


def test_agents_that_come_back_are_waited_for(bench, away):
    away["pi-2"] = 4
    bench(scenarios="none")
    assert away["pi-2"] == 0


def test_agents_that_stay_away_end_the_benchmark(source, away):
    away["pi-2"] = 10**6
    said = "`pi-2` did not answer within 0 s after the faults were undone"
    with BenchFleet(source, None, "thread") as fleet, pytest.raises(AgentsStayAwayError, match=said):
        fleet.renew(within_s=0.0)


def test_one_that_is_away_on_purpose_is_not_waited_for(source, away, shelf):
    away["pi-2"] = 10**6
    with BenchFleet(source, None, "thread") as fleet:
        fleet.renew(away={"pi-2"}, within_s=0.0)
    assert shelf.opened == 1


def test_the_best_device_is_one_that_is_not_harmed(bench, shelf):
    document = bench(scenarios="two-slow", schemes="device")
    slow = {call[1] for call in document["standing"]["small_16_4/two-slow"]}
    assert {options.device for options in shelf.asked} == set(NAMES) - slow


def test_a_fault_in_the_middle_is_undone_and_the_fleet_connected_anew(bench, shelf, tmp_path):
    scenario = tmp_path / "own.toml"
    scenario.write_text('[dying]\nduring = [{word = "kill", devices = ["pi-2"], at = 0}]\n')

    def lasts(options):
        # The inference lasts until the fault has happened: the script writes down what it is asked.
        while len(shelf.asked) > 1 and not any(line.startswith("kill") for line in bench.calls()):
            threading.Event().wait(0.01)

    shelf.fails = lasts
    document = bench(scenario_file=str(scenario), scenarios="dying", schemes="coded", inferences=1)
    assert bench.calls() == ["clear", "names", "kill pi-2", "revive pi-2", "clear", "clear"]
    assert document["cells"][0]["samples"][0]["faults"] == [["kill", "pi-2"]]
    assert shelf.opened == 2


def test_ctrl_c_undoes_the_faults(bench, shelf):
    def interrupts(options):
        if len(shelf.asked) == 4:
            raise KeyboardInterrupt

    shelf.fails = interrupts
    with pytest.raises(KeyboardInterrupt):
        bench(scenarios="two-slow")
    assert bench.calls()[-1] == "clear"
    assert (shelf.opened, shelf.closed) == (1, 1)
    assert json.loads(bench.out.read_text())["complete"] is False


@pytest.fixture
def terminable():
    """SIGTERM does in this process what it does in that of a command."""
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGTERM, __main__._terminate)
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


def signalling(bench, clear: int) -> None:
    """From so many calls of `clear` on the script sends its caller two signals before it undoes anything."""
    ends = f'if [ "$1" = clear ] && [ $(grep -c clear "$(dirname "$0")/calls") -ge {clear} ]; then\n'
    ends += '  kill -TERM $PPID; kill -INT $PPID\nfi\nif [ "$1" = clear ]; then echo cleared >> "$0.log"; fi\n'
    (bench.out.parent / "faults").write_text(SCRIPT + ends)


def cleared(bench) -> int:
    return len((bench.out.parent / "faults.log").read_text().splitlines())


def test_the_end_by_the_system_undoes_the_faults_and_keeps_what_was_measured(bench, shelf, terminable):
    """Also where the signal comes again, and Ctrl-C with it, while they are undone."""
    signalling(bench, clear=2)

    def ends(options):
        if len(shelf.asked) == 6:
            signal.raise_signal(signal.SIGTERM)

    shelf.fails = ends
    with pytest.raises(KeyboardInterrupt):  # the last one that was heard; the first is its context
        bench(scenarios="two-slow")
    assert bench.calls()[-2:] == ["clear", "clear"]
    assert cleared(bench) >= 2
    document = json.loads(bench.out.read_text())
    assert (document["complete"], sum(len(cell["samples"]) for cell in document["cells"])) == (False, 3)


def test_undoing_at_the_end_is_not_cut_off(bench, terminable):
    signalling(bench, clear=3)
    assert bench(scenarios="two-slow")["complete"]
    assert cleared(bench) == 3


def test_a_script_that_fails_ends_the_benchmark_and_is_asked_to_undo(bench, shelf, tmp_path):
    scenario = tmp_path / "own.toml"
    scenario.write_text('[lossy]\nbefore = [{word = "loss", devices = 1, arguments = [2]}]\n')
    with pytest.raises(FaultsFailedError, match="no netem"):
        bench(scenario_file=str(scenario), scenarios="none,lossy")
    assert bench.calls()[-1] == "clear"
    assert len(json.loads(bench.out.read_text())["cells"][0]["samples"]) == 2


def test_a_device_that_the_script_does_not_know_is_refused(bench, shelf, tmp_path):
    scenario = tmp_path / "own.toml"
    scenario.write_text('[lossy]\nbefore = [{word = "kill", devices = ["pi-7"]}]\n')
    with pytest.raises(UnknownDeviceError):
        bench(scenario_file=str(scenario), scenarios="lossy")
    assert shelf.opened == 0


def test_a_script_for_another_fleet_is_refused(bench, monkeypatch, shelf):
    monkeypatch.setattr(BenchFleet, "names", lambda _: ("node-1",))
    with pytest.raises(FaultsFailedError, match=r"none of its devices \(pi-1, pi-2, pi-3, other\) is in the fleet"):
        bench()
    assert shelf.opened == 0


def test_without_a_script_devices_can_not_be_harmed(bench):
    with pytest.raises(NoFaultsError, match="no faults script was named"):
        bench(faults=None, scenarios="dead-1")
    assert bench(faults=None, scenarios="none")["complete"]


def test_what_was_measured_of_the_fleet_is_needed_for_the_planner_alone(model, source):
    request = Request(models=(model,), fleet="absent.toml")
    rows = (ROWS["coded"], ROWS["local"])
    assert bench_request.fleet_model(request, source, rows) == (None, "")
    found, reason = bench_request.fleet_model(request, source, (*rows, ROWS["auto"]))
    assert (found, reason) == (None, "there is no fleet file `absent.toml`")
    with pytest.raises(ConfigurationError):
        bench_request.fleet_model(replace(request, schemes="auto"), source, (ROWS["auto"],))
