"""Taking everything off again, and releases that are broken: nothing of them stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet_lab.fleet import Fleet, other_agent
from tests.fleet_lab.host import told
from tests.fleet_lab.lab import FLEET, SPARE, Lab
from tests.fleet_lab.listing import Listing, difference
from tests.fleet_lab.waiting import until

UNTESTED = """
def main():
    raise ImportError("deliberately broken")
"""

FALLS = """
import sys
from cocoi_agent.true_main import main as true_main

def main():
    if "--self-test" in sys.argv:
        return true_main()
    sys.exit("deliberately broken")
"""

DEAF = """
import os, socket, sys, time
from cocoi_agent.true_main import main as true_main

def main():
    if "--self-test" in sys.argv:
        return true_main()
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", address.replace("@", "\\0", 1) if address[0] == "@" else address)
    time.sleep(600)
"""

BROKEN = {"cannot be imported": UNTESTED, "falls over": FALLS, "is deaf": DEAF}


@pytest.fixture(scope="module")
def bare(single: Fleet) -> Listing:
    """The device's disk before anything was installed."""
    return single.lab.listing(SPARE)


def leftovers(lab: Lab) -> str:
    """What of ours the running system still has, beside its disk."""
    # The brackets keep this command from finding itself.
    return lab.root(
        SPARE,
        # Of a unit that is gone systemd may remember the name, until it tidies up.
        "systemctl list-units --all --no-legend '[c]ocoi*' | grep -v ' not-found inactive dead ';"
        "systemctl list-unit-files --no-legend '[c]ocoi*';"
        "getent passwd | grep '^[c]ocoi'; pgrep -af '[c]ocoi-agent';"
        "ls -d /run/[c]ocoi* /run/*/*[c]ocoi* /run/systemd/*/*[c]ocoi* /tmp/*[c]ocoi*;"
        "ls /var/lib/systemd/linger; true",
    )


@pytest.mark.parametrize("attempt", [1, 2])
def test_uninstall_leaves_the_disk_as_it_was(single: Fleet, bare: Listing, attempt: int, figure):
    single.deploy()
    assert single.lab.listens(SPARE) == [single.lab.address(SPARE)]
    done = single.host.cocoi("uninstall", "--yes").ok()
    assert difference(bare, single.lab.listing(SPARE)) == []
    assert leftovers(single.lab) == ""
    figure(f"uninstall of one device, time {attempt}: {done.seconds:.1f} s")


def test_a_second_uninstall_succeeds_and_does_nothing(single: Fleet, bare: Listing):
    single.host.cocoi("uninstall", "--yes").ok()
    assert difference(bare, single.lab.listing(SPARE)) == []


@pytest.fixture
def no_root(single: Fleet) -> Iterator[None]:
    """`pi` may not become root without a password, which nobody types."""
    single.lab.forbid_sudo(SPARE)
    yield
    single.lab.allow_sudo(SPARE)


@pytest.fixture
def lingering(single: Fleet) -> Iterator[None]:
    """Services of `pi` run without a login because the owner of the device wants that."""
    single.lab.root(SPARE, "loginctl enable-linger pi")
    yield
    single.lab.root(SPARE, "loginctl disable-linger pi")


@pytest.mark.usefixtures("no_root")
def test_a_user_whose_services_end_at_logout_gets_nothing_installed(single: Fleet, bare: Listing):
    """Without polkit, as here, a user may not ask for linger."""
    text = told(single.host.cocoi("deploy", "--user", "--yes"), 4)
    assert "enable-linger" in text
    single.lab.allow_sudo(SPARE)
    assert difference(bare, single.lab.listing(SPARE)) == []
    assert leftovers(single.lab) == ""


@pytest.mark.usefixtures("no_root", "lingering")
def test_an_install_without_root_serves_survives_and_goes(single: Fleet, bare: Listing):
    single.deploy("--user")
    assert single.lab.listens(SPARE) == [single.lab.address(SPARE)]
    assert single.lab.root(SPARE, "ls -d /opt/* /etc/cocoi", check=False) == ""
    assert single.lab.root(SPARE, "pgrep -u pi -f '[c]ocoi-agent'")
    again = single.deploy("--user")
    assert "unchanged" in again.out + again.err, again
    # The power cycle logs in and out; that is not what keeps the agent there.
    assert single.lab.root(SPARE, "loginctl show-user pi -p Linger") == "Linger=yes"
    single.lab.restart(SPARE)
    until(lambda: single.lab.listens(SPARE) == [single.lab.address(SPARE)], "the user's agent listens again")
    single.host.cocoi("uninstall", "--yes").ok()
    # What the owner wanted stays.
    assert single.lab.root(SPARE, "ls /var/lib/systemd/linger") == "pi"
    single.lab.root(SPARE, "loginctl disable-linger pi")
    single.lab.allow_sudo(SPARE)
    assert difference(bare, single.lab.listing(SPARE)) == []
    assert leftovers(single.lab) == ""


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_is_rolled_back_and_the_fleet_serves(fleet: Fleet, how: str, tmp_path: Path):
    before = [fleet.version(each) for each in FLEET]
    patch = other_agent(tmp_path, "broken", BROKEN[how])
    done = fleet.host.cocoi("deploy", "--yes", patch=patch).ok(4)
    assert all(name in done.err + done.out for name in fleet.devices()), done
    assert [fleet.version(each) for each in FLEET] == before
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_release_as_the_first_leaves_nothing_that_runs(single: Fleet, bare: Listing, how: str, tmp_path: Path):
    patch = other_agent(tmp_path, "broken", BROKEN[how])
    single.host.cocoi("deploy", "--yes", patch=patch).ok(4)
    assert single.version(SPARE) == ""
    assert single.lab.listens(SPARE) == []
    single.host.cocoi("uninstall", "--yes").ok()
    assert difference(bare, single.lab.listing(SPARE)) == []
    assert leftovers(single.lab) == ""
