"""Looking after a fleet that runs: back and forth between versions, new keys, another host, another address."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet_lab.fleet import Fleet, other_unit
from tests.fleet_lab.lab import FLEET
from tests.fleet_lab.strangers import connect, copied, host_identity, hung_up, talk
from tests.fleet_lab.waiting import until

ELSEWHERE = "10.78.0.91"


def test_rollback_brings_the_version_before_and_deploy_the_new_one(fleet: Fleet, tmp_path: Path, figure):
    old = [fleet.version(each) for each in FLEET]
    newer = other_unit(tmp_path, "newer")
    fleet.deploy(patch=newer)
    new = [fleet.version(each) for each in FLEET]
    assert set(old).isdisjoint(new)
    done = fleet.host.cocoi("rollback", "--yes").ok()
    figure(f"rollback of three devices: {done.seconds:.1f} s")
    assert [fleet.version(each) for each in FLEET] == old
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")
    fleet.deploy()
    assert [fleet.version(each) for each in FLEET] == old


def test_rollback_of_one_device_leaves_the_others(fleet: Fleet, tmp_path: Path):
    newer = other_unit(tmp_path, "newest")
    old = [fleet.version(each) for each in FLEET]
    fleet.deploy(fleet.name(1), patch=newer)
    assert fleet.version(1) != old[0]
    assert [fleet.version(each) for each in FLEET[1:]] == old[1:]
    fleet.host.cocoi("rollback", fleet.name(1), "--yes").ok()
    assert [fleet.version(each) for each in FLEET] == old


def test_restart_gives_every_agent_a_new_process(fleet: Fleet):
    before = [fleet.lab.agent(each)["MainPID"] for each in FLEET]
    fleet.host.cocoi("restart", "--yes").ok()
    after = [fleet.lab.agent(each)["MainPID"] for each in FLEET]
    assert all(a != b for a, b in zip(before, after, strict=True))
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


def test_a_drained_device_gets_no_work_until_it_is_taken_back(fleet: Fleet):
    name = fleet.name(2)
    fleet.host.cocoi("drain", name, "--yes").ok()
    assert fleet.devices()[name]["drained"] is True
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()) - {name}, "every other device serves")
    fleet.host.cocoi("drain", name, "--undo", "--yes").ok()
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


def test_another_host_can_use_an_exported_fleet(fleet: Fleet, tmp_path: Path):
    bundle = tmp_path / "fleet-bundle"
    fleet.host.cocoi("fleet", "export", bundle).ok()
    assert bundle.stat().st_mode & 0o077 == 0
    other = Fleet(fleet.lab, fleet.lab.host("second-home"))
    other.host.cocoi("fleet", "import", bundle, "--yes").ok()
    assert other.devices() == fleet.devices()
    until(lambda: other.used(other.right()) == set(fleet.devices()), "every other device serves")


def test_rotation_closes_old_doors_and_stops_nobody(fleet: Fleet, tmp_path: Path, figure):
    stolen = copied(host_identity(fleet), tmp_path)
    assert b"welcome" in talk(fleet, 1, stolen)
    processes = [fleet.lab.agent(each) for each in FLEET]
    with connect(fleet, 1, stolen) as old:
        done = fleet.host.cocoi("rotate", "--yes").ok()
        figure(f"rotation of three devices: {done.seconds:.1f} s")
        assert hung_up(old)
    assert talk(fleet, 1, stolen) == b""
    assert b"welcome" in talk(fleet, 1, host_identity(fleet))
    assert [fleet.lab.agent(each) for each in FLEET] == processes
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


def test_logs_follow_all_devices(fleet: Fleet):
    running = fleet.host.start("logs", "--follow", "--lines", "1")
    seen: set[str] = set()
    names = set(fleet.devices())
    fleet.right()
    fleet.lab.root(1, "systemctl kill -s HUP --kill-whom=main cocoi-agent")
    stream = running.process.stdout
    assert stream is not None
    for line in stream:
        seen |= {name for name in names if name in line}
        if seen == names:
            break
    assert seen == names
    running.interrupt()
    assert running.finish().status in (0, 130)


@pytest.fixture
def moved(fleet: Fleet) -> Iterator[str]:
    """The first device gets another address, as from a DHCP server that has forgotten it."""
    fleet.lab.move(1, fleet.lab.address(1), ELSEWHERE)
    yield ELSEWHERE
    fleet.lab.move(1, ELSEWHERE, fleet.lab.address(1))
    until(lambda: fleet.lab.listens(1) == [fleet.lab.address(1)], "the agent follows back")


def test_an_agent_follows_its_interface_to_another_address(fleet: Fleet, moved: str):
    until(lambda: fleet.lab.listens_at(1, moved), "the agent follows its network interface")
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()) - {fleet.name(1)}, "every other device serves")
