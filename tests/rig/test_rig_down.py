"""What is left of a rig: nothing, however it ended, and however often it is asked for."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.rig.place import NET, Place
from tests.rig.test_rig_inference import INFER, PICTURE
from tests.system.processes import alive, until

pytestmark = [pytest.mark.lab, pytest.mark.slow]

UP = ("up", "--nodes", "2", "--net", NET, "--python", sys.executable)


def recorded(place: Place) -> dict[str, int]:
    """Processes that the rig has written down so far."""
    try:
        return json.loads((place.folder / "rig.json").read_text())["pids"]
    except (OSError, ValueError):
        return {}


def half_made(place: Place) -> tuple[subprocess.Popen[str], dict[str, int]]:
    """An `up` whose agents are just starting."""
    process = place.start(*UP)
    until(lambda: "node-2" in recorded(place), "agents that start")
    return process, recorded(place)


def test_down_ends_everything_and_may_be_said_again(other) -> None:
    other.up("--nodes", "2")
    pids = [*recorded(other).values(), *other.groups.members("host")]
    user = other.start("exec", "host", "--", "sleep", "1000")
    until(lambda: other.groups.members("host"), "somebody in the coordinator's place")
    kernels = subprocess.Popen(["/bin/sleep", "1000"])
    other.rig("host-quota", str(kernels.pid))
    try:
        assert other.rig("down").stdout == "rig `rigother` is down\n"
        assert other.left == []
        assert not any(alive(pid) for pid in pids)
        assert user.wait(30) == -signal.SIGKILL
        assert kernels.poll() is None  # a guest, who was only let out
    finally:
        user.communicate()
        kernels.kill()
        kernels.wait()
    assert other.rig("down").stdout == "there is nothing of a rig `rigother`\n"


def test_an_up_that_is_told_to_stop_leaves_nothing(other) -> None:
    process, pids = half_made(other)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert other.left == []
    assert not any(alive(pid) for pid in pids.values())


def test_what_a_killed_up_left_is_not_up_and_the_next_one_removes_it(other) -> None:
    process, pids = half_made(other)
    process.kill()
    process.communicate()
    assert "no rig `rigother` is up" in other.rig("status", status=1).stderr
    assert other.left
    done = other.rig(*UP)
    assert "removed what an earlier one left" in done.stderr
    assert all(row["listens"] for row in other.status()["devices"])
    assert not any(alive(pid) for pid in pids.values())


def test_down_removes_what_a_killed_up_left_even_without_its_record(other) -> None:
    process, pids = half_made(other)
    process.kill()
    process.communicate()
    (other.folder / "rig.json").unlink()
    other.rig("down")
    assert other.left == []
    assert not any(alive(pid) for pid in pids.values())


def test_an_agent_that_cannot_start_is_said_and_nothing_is_left(other) -> None:
    done = other.rig("up", "--nodes", "1", "--net", NET, "--python", "/bin/false", status=3)
    assert done.stderr.startswith("error: `/bin/false` has no msgpack, numpy, onnxruntime for the agents\nhint: ")
    assert other.left == []


def test_a_fleet_with_certificates(other) -> None:
    other.up("--nodes", "2", "--security", "tls")
    assert (other.folder / "node-1" / "agent.key").stat().st_mode & 0o777 == 0o600
    assert "passed" in other.rig(*INFER, PICTURE).stdout
