from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from cocoi_cli.benchmark.errors import FaultsFailedError, NoFaultsError
from cocoi_cli.benchmark.faults import NoFaults, PassingFaults, ScriptFaults, SignalFaults
from cocoi_cli.benchmark.scenarios import SCENARIOS, Fault, TimedFault

SCRIPT = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$1" in
  names) printf 'node-1\\n\\n node-2\\n' ;;
  kill) echo 'a first line' >&2; echo 'error: no node `'"$2"'`' >&2; exit 3 ;;
  freeze) exit 4 ;;
  cut) sleep 60 & wait ;;
  loss) printf 'odd \\033[2J word\\n' >&2; exit 1 ;;
esac
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "faults"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    return path


def calls(script):
    return (script.parent / "calls").read_text().splitlines()


def test_calls_the_script_with_words(script):
    faults = ScriptFaults(str(script))
    assert faults.names() == ("node-1", "node-2")
    faults.apply(Fault("slow", "node-1", ("3",)))
    faults.apply(Fault("delay", "node-2", ("exp", "0.5")))
    faults.place_kernels(123)
    faults.clear()
    assert calls(script) == ["names", "slow node-1 3", "delay node-2 exp 0.5", "host-kernels 123", "clear"]


def test_its_last_line_of_complaint_becomes_the_error(script):
    with pytest.raises(FaultsFailedError) as caught:
        ScriptFaults(str(script)).apply(Fault("kill", "node-9"))
    assert caught.value.message == f"`{script} kill node-9`: no node `node-9`"
    assert caught.value.details == {"script": str(script), "call": ["kill", "node-9"], "cause": "no node `node-9`"}


def test_without_a_word_the_status_is_said(script):
    with pytest.raises(FaultsFailedError, match="it ended with status 4"):
        ScriptFaults(str(script)).apply(Fault("freeze", "node-1"))


def test_a_script_that_hangs_is_ended_with_what_it_started(script):
    with pytest.raises(FaultsFailedError, match=r"cut node-1`: no end after 0\.2 s"):
        ScriptFaults(str(script), limit_s=0.2).apply(Fault("cut", "node-1"))


def test_what_it_prints_cannot_steer_the_terminal(script):
    with pytest.raises(FaultsFailedError) as caught:
        ScriptFaults(str(script)).apply(Fault("loss", "node-1", ("2",)))
    assert "\x1b" not in caught.value.message


def test_a_script_that_cannot_be_run_is_said(tmp_path, script):
    with pytest.raises(FaultsFailedError, match="no such file or directory"):
        ScriptFaults(str(tmp_path / "absent")).names()
    script.chmod(0o644)
    with pytest.raises(FaultsFailedError, match="permission denied"):
        ScriptFaults(str(script)).names()


def test_a_script_without_devices_is_refused(tmp_path):
    path = tmp_path / "empty"
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)
    with pytest.raises(FaultsFailedError, match="names`: it printed no device"):
        ScriptFaults(str(path)).names()


def test_a_script_is_found_without_its_folder(script, monkeypatch):
    monkeypatch.chdir(script.parent)
    assert ScriptFaults("faults").names() == ("node-1", "node-2")


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    yield process
    with process:
        process.kill()


def state(process):
    """Waits for the next change of a child, which the kernel reports."""
    _, status = os.waitpid(process.pid, os.WUNTRACED | os.WCONTINUED)
    return "stopped" if os.WIFSTOPPED(status) else "continued" if os.WIFCONTINUED(status) else "ended"


def test_agents_of_this_machine_are_frozen_and_thawed_and_killed(sleeper):
    faults = SignalFaults(lambda: {"agent-1": sleeper.pid})
    assert faults.names() == ("agent-1",)
    faults.apply(Fault("freeze", "agent-1"))
    assert state(sleeper) == "stopped"
    faults.apply(Fault("freeze", "agent-1").undoing)
    assert state(sleeper) == "continued"
    faults.apply(Fault("freeze", "agent-1"))
    assert state(sleeper) == "stopped"
    faults.clear()
    assert state(sleeper) == "continued"
    faults.apply(Fault("kill", "agent-1"))
    assert sleeper.wait() == -signal.SIGKILL
    faults.apply(Fault("kill", "agent-1"))  # it is gone already
    faults.apply(Fault("kill", "agent-1").undoing)
    faults.clear()


def test_other_words_are_refused_on_this_machine():
    faults = SignalFaults(dict)
    with pytest.raises(NoFaultsError, match="scenario `delay` needs `delay`, and agents on this machine can only be"):
        faults.check(SCENARIOS["delay"])
    for name in ("none", "dead-2", "frozen-1", "dying-1"):
        faults.check(SCENARIOS[name])
    with pytest.raises(FaultsFailedError, match="can only be frozen or killed"):
        faults.apply(Fault("slow", "agent-1", ("3",)))
    with pytest.raises(FaultsFailedError, match="no such agent"):
        faults.apply(Fault("kill", "agent-1"))


def test_without_a_script_only_nothing_can_happen():
    faults = NoFaults(("pi-1",))
    assert faults.names() == ("pi-1",)
    faults.check(SCENARIOS["none"])
    faults.clear()
    with pytest.raises(NoFaultsError, match="scenario `both-1` needs `delay`, `kill`, and no faults script was named"):
        faults.check(SCENARIOS["both-1"])
    with pytest.raises(FaultsFailedError):
        faults.apply(Fault("kill", "pi-1"))


class Recorder(NoFaults):
    """Notes what it is asked for, and says when."""

    def __init__(self, failure=None):
        super().__init__(())
        self.asked = []
        self.happened = threading.Event()
        self._failure = failure

    def apply(self, fault):
        self.asked.append(fault)
        self.happened.set()
        if self._failure:
            raise self._failure


def test_a_fault_in_the_middle_happens_while_the_inference_runs():
    faults, kill = Recorder(), Fault("kill", "a")
    with PassingFaults(faults, [TimedFault(kill, 0.0)], 1.0) as passing:
        assert faults.happened.wait(10)
    assert (faults.asked, passing.fired) == ([kill], [kill])


def test_a_fault_that_comes_too_late_does_not_happen():
    faults = Recorder()
    with PassingFaults(faults, [TimedFault(Fault("kill", "a"), 0.5)], 7200.0) as passing:
        pass
    assert (faults.asked, passing.fired) == ([], [])


def test_a_call_that_fails_is_raised_when_the_inference_is_over():
    faults = Recorder(FaultsFailedError("f", ("kill", "a"), "why not"))
    with (
        pytest.raises(FaultsFailedError, match="why not"),
        PassingFaults(faults, [TimedFault(Fault("kill", "a"), 0)], 0),
    ):
        assert faults.happened.wait(10)
