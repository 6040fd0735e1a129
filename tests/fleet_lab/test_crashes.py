"""`cocoi deploy` dies at any moment: the old version serves until the switch, and the next run completes the work."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fleet_lab.fleet import Fleet, other_unit
from tests.fleet_lab.host import Host
from tests.fleet_lab.lab import FLEET, SPARE, Lab
from tests.fleet_lab.listing import difference
from tests.fleet_lab.waiting import until

MOMENTS = 10


@pytest.fixture(scope="module")
def lines(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many lines of progress a deploy of another version has."""
    done = fleet.deploy(patch=other_unit(tmp_path_factory.mktemp("unit"), "measured"))
    return len(done.err.splitlines())


@pytest.mark.parametrize("moment", range(1, MOMENTS + 1))
def test_killed_while_it_replaces_a_version(fleet: Fleet, lines: int, moment: int, tmp_path: Path):
    old = {each: fleet.version(each) for each in FLEET}
    patch = other_unit(tmp_path, f"moment-{moment}")
    running = fleet.host.start("deploy", "--yes", patch=patch)
    running.read(1 + (lines - 2) * (moment - 1) // (MOMENTS - 1))
    running.kill()
    meanwhile = {each: fleet.version(each) for each in FLEET}
    fleet.right("--no-fallback")
    # An agent that was just being restarted comes up by itself.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")
    fleet.deploy(patch=patch)
    new = {each: fleet.version(each) for each in FLEET}
    assert all(new[each] not in ("", old[each]) for each in FLEET)
    assert len(set(new.values())) == 1
    assert all(meanwhile[each] in (old[each], new[each]) for each in FLEET)
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_killed_while_it_installs_the_first_version(lab: Lab, share: float, lines: int, figure):
    del figure
    host: Host = lab.host("first-install")
    single = Fleet(lab, host)
    single.add(SPARE)
    before = lab.listing(SPARE)
    running = host.start("deploy", "--yes")
    running.read(max(1, round(share * lines / len(FLEET))))
    running.kill()
    single.deploy()
    assert lab.agent(SPARE)["ActiveState"] == "active"
    host.cocoi("uninstall", "--yes").ok()
    assert difference(before, lab.listing(SPARE)) == []


def test_interrupted_by_hand_it_says_so_and_the_fleet_serves(fleet: Fleet, lines: int, tmp_path: Path):
    running = fleet.host.start("deploy", "--yes", patch=other_unit(tmp_path, "interrupted"))
    running.read(lines // 2)
    running.interrupt()
    done = running.finish().ok(130)
    assert "error: interrupted" in done.err
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


def test_power_lost_on_a_device_while_it_is_staged(fleet: Fleet, lines: int, tmp_path: Path):
    patch = other_unit(tmp_path, "powerless")
    running = fleet.host.start("deploy", "--yes", patch=patch)
    running.read(lines // 2)
    fleet.lab.cut_power(1)
    done = running.finish()
    assert done.status in (0, 4), done
    fleet.lab.restart(1)
    fleet.deploy(patch=patch)
    assert len({fleet.version(each) for each in FLEET}) == 1
    fleet.deploy()
