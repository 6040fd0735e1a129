"""A rig that is up: who runs where, under which quota, and what commands see inside."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bench.lab.quota import quota
from cocoi_cli.fleet.inventory import load

pytestmark = [pytest.mark.lab, pytest.mark.slow]

NODES = {"node-1": 9, "node-2": 9, "node-3": 27}


def groups_of(pid: int | str) -> set[str]:
    """The cgroups that a process is in, by hierarchy."""
    return {line.split(":", 1)[1] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()}


def network_of(pid: int | str) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


def test_every_agent_listens_in_its_own_place(place) -> None:
    networks = set()
    for name in NODES:
        row = place.device(name)
        assert row["listens"]
        assert row["pid"] in place.groups.members(name)
        networks.add(network_of(row["pid"]))
    assert len({*networks, network_of("self")}) == 4


def test_every_device_has_its_quota(place) -> None:
    for name, percent in NODES.items():
        assert place.groups.quota(name) == quota(percent)
    assert place.groups.quota("host-kernels") == quota(9)
    assert place.groups.quota("host") is None


def test_what_keeps_the_rig_true_runs_ahead_of_everything_and_in_no_group(place) -> None:
    pids = json.loads((place.folder / "rig.json").read_text())["pids"]
    for name in {"ticker", "delayline"} & set(pids):
        policies = {os.sched_getscheduler(int(thread.name)) for thread in Path(f"/proc/{pids[name]}/task").iterdir()}
        assert os.SCHED_FIFO in policies
        assert not any("cocoi-rig" in group for group in groups_of(pids[name]))


def test_the_fleet_file_is_printed_and_read(place) -> None:
    path = Path(place.rig("fleet").stdout.strip())
    assert [device.name for device in load(path).devices] == list(NODES)
    assert place.rig("names", door="faults").stdout.split() == list(NODES)


def test_a_command_inside_a_device_is_a_part_of_it(place) -> None:
    inside = place.rig("exec", "2", "--", "cat", "/proc/self/cgroup").stdout
    assert "cocoi-rig-rigtest/node-2" in inside
    assert "10.81.0.12/24" in place.rig("exec", "node-2", "--", "ip", "-brief", "address").stdout


def test_a_command_of_the_coordinator_knows_the_fleet(place) -> None:
    told = place.rig("exec", "host", "--", "env").stdout.splitlines()
    assert f"COCOI_FLEET={place.folder / 'fleet.toml'}" in told
    assert "COCOI_RIG_PREFIX=rigtest" in told
    # The rig's own commands work from there: what they need of the system is visible.
    assert place.rig("exec", "host", "--", "bench/lab/faults", "names").stdout.split() == list(NODES)


def test_the_exit_status_of_a_command_is_passed_on(place) -> None:
    place.rig("exec", "host", "--", "sh", "-c", "exit 7", status=7)
    assert "no device `9`" in place.rig("exec", "9", "--", "true", status=2).stderr
    assert "no command" in place.rig("exec", "host", status=2).stderr


def test_the_coordinators_kernels_can_be_put_under_a_quota(place) -> None:
    with subprocess.Popen(["/bin/sleep", "1000"]) as kernels:
        place.rig("host-quota", str(kernels.pid))
        assert place.groups.members("host-kernels") == [kernels.pid]
        kernels.kill()
    assert "no process" in place.rig("host-quota", str(kernels.pid), status=1).stderr


def test_a_second_one_of_the_same_name_is_refused(place) -> None:
    done = place.rig("up", "--net", "10.81.0", status=2)
    assert done.stderr.startswith("error: the rig `rigtest` is up already\nhint: ")
    assert place.device("node-1")["listens"]


def test_everything_can_be_measured(place) -> None:
    found = json.loads(place.rig("measure", "--seconds", "0.5", "--json").stdout)["places"]
    assert list(found) == [*NODES, "host"]
    assert all(each["speed"]["gflops"] > 0 for each in found.values())
    assert all(found[name]["reach"]["down_mbit"] > 0 for name in NODES)
    assert found["host"]["reach"] is None
