"""Devices that are absent, silent or unfit: named with stage, cause and remedy, and nothing half-installed remains."""

from __future__ import annotations

import re

import pytest

from tests.fleet_lab.fleet import Fleet
from tests.fleet_lab.host import told
from tests.fleet_lab.lab import FLEET, NET, SPARE, Lab
from tests.fleet_lab.waiting import until

# Devices that are not there


def test_twenty_unreachable_hosts_cost_the_others_nothing_but_the_time_out(lab: Lab, figure):
    fleet = Fleet(lab, lab.host("many"))
    fleet.add(*FLEET)
    good = set(fleet.devices())
    alone = fleet.host.cocoi("profile", "--json").ok()
    absent = [f"{NET}.{host}" for host in range(200, 220)]
    for address in absent[10:]:
        lab.swallow(address)
    fleet.host.cocoi("fleet", "add", *(f"pi@{address}" for address in absent), "--unchecked").ok()
    done = fleet.host.cocoi("profile", "--json").ok(4)
    devices = done.document["devices"]
    assert set(devices) == set(fleet.devices())
    assert {name for name in devices if "error" not in devices[name]} == good
    for name in set(devices) - good:
        failure = devices[name]
        assert failure["hint"], failure
        assert {"device", "stage", "cause"} <= set(failure["details"]), failure
    plain = told(fleet.host.cocoi("profile"), 4)
    assert all(name in plain for name in devices)
    more = done.seconds - alone.seconds
    figure(f"profile of three: {alone.seconds:.1f} s; with twenty unreachable hosts {more:+.1f} s (time-out 10 s)")


def test_a_refused_port(single: Fleet):
    text = told(single.host.cocoi("fleet", "add", f"pi@{single.lab.address(1)}:2222", "--accept-new"), 4)
    assert "refuse" in text


def test_a_name_that_nobody_has(single: Fleet):
    told(single.host.cocoi("fleet", "add", "pi@no-such-device.invalid", "--accept-new"), 4)


def test_no_route(single: Fleet):
    told(single.host.cocoi("fleet", "add", "pi@192.0.2.7", "--accept-new"), 4)


def test_a_frozen_device_is_given_up(single: Fleet):
    single.lab.freeze(SPARE)
    try:
        told(single.host.cocoi("profile"), 4)
    finally:
        single.lab.thaw(SPARE)


# Devices that are not what they were


def test_a_changed_host_key_stops_that_device_only(fleet: Fleet):
    lab, name = fleet.lab, fleet.name(3)
    lab.root(3, "cp -a /etc/ssh /run/ssh.kept; rm /etc/ssh/ssh_host_*; ssh-keygen -q -A; systemctl restart ssh")
    try:
        devices = fleet.host.cocoi("deploy", "--yes", "--json").ok(4).document["devices"]
        assert {each for each in devices if "error" in devices[each]} == {name}
        assert devices[name]["error"] == "host-key-changed"
        assert {"expected", "found"} <= set(devices[name]["details"])
        until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")
        # Not even somebody who accepts new keys accepts changed ones.
        told(fleet.host.cocoi("deploy", name, "--yes", "--accept-new"), 4)
    finally:
        lab.root(3, "cp -a /run/ssh.kept/. /etc/ssh/; systemctl restart ssh")
    fleet.deploy()


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("userland", ["armhf", "riscv64"])
def test_a_device_of_the_wrong_architecture(single: Fleet, userland: str):
    dpkg = "/usr/local/bin/dpkg"
    single.lab.root(SPARE, f"printf '#!/bin/sh\\necho {userland}\\n' >{dpkg}; chmod 755 {dpkg}")
    try:
        text = told(single.host.cocoi("deploy", "--yes"), 4)
    finally:
        single.lab.root(SPARE, f"rm {dpkg}")
    assert userland in text or "32-bit" in text, text


@pytest.mark.usefixtures("untouched")
def test_a_device_without_room(single: Fleet):
    single.lab.root(SPARE, "mount -t tmpfs -o size=20m,mode=755 tmpfs /opt")
    try:
        text = told(single.host.cocoi("deploy", "--yes"), 4)
        assert single.lab.root(SPARE, "find /opt -mindepth 1") == ""
    finally:
        single.lab.root(SPARE, "umount /opt")
    assert re.search(r"disk|space|room|free", text), text


@pytest.mark.usefixtures("untouched")
def test_a_port_that_is_taken(single: Fleet):
    single.lab.root(SPARE, "systemd-run -q --unit=squatter python3 -m http.server 52600 --bind 0.0.0.0")
    try:
        told(single.host.cocoi("deploy", "--yes"), 4)
        assert single.version(SPARE) == ""
    finally:
        single.lab.root(SPARE, "systemctl stop squatter")
        single.host.cocoi("uninstall", "--yes").ok()
