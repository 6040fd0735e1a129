"""The emulated devices themselves: what the other tests here rely on."""

from __future__ import annotations

import sys

from tests.fleet_lab.host import Host
from tests.fleet_lab.lab import FLEET, SPARE, Lab
from tests.fleet_lab.listing import difference


def test_devices_differ_and_run_systemd(lab: Lab):
    identities = {
        (lab.root(each, "cat /etc/machine-id"), lab.root(each, "cat /etc/ssh/*_ed25519_key.pub")) for each in FLEET
    }
    assert len(identities) == len(FLEET)
    assert {lab.root(each, "ps -o comm= 1") for each in FLEET} == {"systemd"}


def test_what_a_device_changes_by_itself_is_not_listed(lab: Lab):
    before = lab.listing(SPARE)
    assert len(before) > 5_000
    assert (
        lab.login(SPARE, "sudo -k; sudo true; python3 -c 'import venv, ssl, json'; sudo systemctl daemon-reload") == ""
    )
    lab.root(
        SPARE,
        "systemd-run --wait -q -p DynamicUser=yes -p StateDirectory=once true; rm -r /var/lib/*/once /var/lib/once",
    )
    lab.restart(SPARE)
    assert difference(before, lab.listing(SPARE)) == []


def test_whatever_is_left_on_a_device_is_listed(lab: Lab):
    before = lab.listing(SPARE)
    lab.root(SPARE, "mkdir -m 700 /var/lib/left; ln -s /nowhere /etc/left; echo >>/etc/hosts.allow; touch ~pi/.left")
    lines = difference(before, lab.listing(SPARE))
    assert [line.split(":")[0] for line in lines] == [
        "/etc/hosts.allow",
        "/etc/left",
        "/home/pi/.left",
        "/var/lib/left",
    ]
    lab.fresh(SPARE)


def test_a_cut_cable_and_a_frozen_device_are_silent(lab: Lab):
    assert lab.answers_ssh(SPARE)
    lab.cut(SPARE)
    assert not lab.answers_ssh(SPARE)
    lab.heal(SPARE)
    lab.freeze(SPARE)
    assert not lab.answers_ssh(SPARE)
    lab.thaw(SPARE)
    assert lab.answers_ssh(SPARE)


def test_a_killed_command_is_gone_at_once(lab: Lab, host: Host):
    running = host.start("infer", "--help", patch=_talker(host))
    assert running.read("first") == "first\n"
    running.kill()
    assert running.process.returncode == -9


def _talker(host: Host):
    path = host.home / "talker.py"
    path.write_text("import sys, time\nprint('first', file=sys.stderr, flush=True)\ntime.sleep(600)\n")
    return path


def test_the_host_has_no_way_out_of_its_network(lab: Lab):
    routes = lab.on_host(["ip", "route", "show", "default"])
    assert routes.stdout == ""
    assert lab.on_host([sys.executable, "-c", ""]).returncode == 0


def test_connections_of_this_process_start_at_the_host(lab: Lab):
    with lab.connect(1, port=22) as connection:
        assert connection.getsockname()[0] == lab.address(-9)
        assert connection.recv(4) == b"SSH-"
