"""From bare devices to an answer, by the commands of the guide and nothing else."""

from __future__ import annotations

from tests.fleet_lab.fleet import PICTURE, Fleet
from tests.fleet_lab.host import Host
from tests.fleet_lab.lab import FLEET, Lab
from tests.fleet_lab.waiting import until


def test_five_commands_lead_from_bare_devices_to_an_answer(lab: Lab, host: Host, figure):
    fleet = Fleet(lab, host)
    added = host.cocoi("fleet", "add", *(lab.target(each) for each in FLEET), "--accept-new").ok()
    assert sorted(each["address"] for each in fleet.devices().values()) == [lab.address(each) for each in FLEET]
    profiled = host.cocoi("profile").ok()
    deployed = host.cocoi("deploy", "--yes").ok()
    status = host.cocoi("status").ok()
    inferred = host.cocoi("infer", PICTURE).ok()
    assert "stop" in inferred.out
    seconds = {"fleet add": added, "profile": profiled, "deploy": deployed, "status": status, "infer": inferred}
    for name, done in seconds.items():
        figure(f"first time, {name}: {done.seconds:.1f} s")


def test_every_agent_takes_part(fleet: Fleet):
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


def test_a_second_deploy_changes_nothing_and_says_so(fleet: Fleet, figure):
    before = [fleet.lab.agent(each) for each in FLEET]
    again = fleet.deploy()
    assert (again.out + again.err).count("unchanged") >= len(FLEET), again
    assert [fleet.lab.agent(each) for each in FLEET] == before
    figure(f"second deploy, unchanged: {again.seconds:.1f} s")


def test_status_has_a_row_for_every_device(fleet: Fleet):
    done = fleet.host.cocoi("status").ok()
    assert all(name in done.out for name in fleet.devices()), done
    assert set(fleet.host.document("status")["devices"]) == set(fleet.devices())


def test_doctor_and_logs_know_every_device(fleet: Fleet):
    doctor = fleet.host.document("doctor")["devices"]
    assert set(doctor) == set(fleet.devices())
    logs = fleet.host.cocoi("logs").ok()
    assert all(name in logs.out for name in fleet.devices()), logs


def test_profile_with_agents_measures_convolutions(fleet: Fleet, figure):
    done = fleet.host.cocoi("profile", "--json").ok()
    devices = done.document["devices"]
    assert set(devices) == set(fleet.devices())
    for name, each in devices.items():
        assert each["link"] is not None, name
        assert each["compute"]["flops_per_s"] > 0, name
    figure(f"profile with agents: {done.seconds:.1f} s")


def test_dry_run_changes_nothing(fleet: Fleet):
    before = [fleet.lab.listing(each) for each in FLEET]
    fleet.host.cocoi("deploy", "--dry-run").ok()
    assert [fleet.lab.listing(each) for each in FLEET] == before
