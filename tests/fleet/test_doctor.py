from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import profiler, survey
from cocoi_cli.fleet.doctor import Examination, Repair, carry_out, examine, repairs
from cocoi_cli.fleet.errors import CommandFailedError, UnreachableError
from cocoi_cli.fleet.findings import Finding
from cocoi_cli.fleet.profiler import Profiled, Settings
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.wheelhouse import MissingWheelsError
from tests.fleet.ssh_server import fake_device

DEVICE = Device("pi-1", "pi@192.168.1.11", "192.168.1.11")
NOBODY = Device("gone", "pi@127.0.0.1:1", "127.0.0.1", port=1)
AGENT = {"device": "pi-1", "mode": "system"}


def found(code, fix, **details):
    return Finding(code, "warning", "", fix, details)


@pytest.mark.parametrize(
    ("finding", "command", "root", "asked"),
    [
        (found("wifi-power-save", "safe", interface="wlan0"), "iw dev wlan0 set power_save off", True, False),
        (
            found("slow-governor", "asked", governor="ondemand"),
            "echo performance | tee /sys/devices/system/cpu/cpufreq/policy*/scaling_governor",
            True,
            True,
        ),
        (
            found("agent-down", "safe", mode="system"),
            "systemctl reset-failed cocoi-agent.service; systemctl restart cocoi-agent.service",
            True,
            False,
        ),
    ],
)
def test_each_repair_is_a_command_that_can_be_shown(finding, command, root, asked):
    (repair,) = repairs(DEVICE, [finding])
    assert (repair.command, repair.root, repair.asked) == (command, root, asked)
    assert (repair.device, repair.code) == ("pi-1", finding.code)


def test_a_users_own_agent_is_restarted_without_root():
    (repair,) = repairs(DEVICE, [found("agent-deaf", "safe", mode="user")])
    assert not repair.root
    assert repair.command.count("systemctl --user") == 2


@pytest.mark.parametrize(
    ("folder", "root", "removed"),
    [
        (
            "/run/systemd/system",
            True,
            "rm -rf /run/systemd/system/cocoi-agent-test.service /var/lib/private/cocoi-",
        ),
        ("/run/user/1000/systemd/user", False, "rm -f /run/user/1000/systemd/user/cocoi-agent-test.service"),
    ],
)
def test_what_a_test_left_is_removed_where_it_is(folder, root, removed):
    (repair,) = repairs(DEVICE, [found("test-left", "safe", folder=folder)])
    assert removed in repair.command
    assert repair.root is root


def test_what_only_the_owner_can_mend_gets_no_repair():
    codes = ("under-voltage", "wrong-clock", "little-disk", "port-blocked", "same-identity", "bad-installed-runtime")
    assert repairs(DEVICE, [found(code, "none") for code in codes]) == ()
    assert repairs(DEVICE, [found("agent-down", "none", **AGENT)]) == ()


def test_examines_devices_and_one_that_is_gone_does_not_matter_to_the_others(tmp_path):
    stages: list[tuple[str, str]] = []

    async def run():
        async with fake_device(tmp_path) as pi:
            devices = [pi.device(port=1), NOBODY]
            return await examine(devices, pi.access(), on_stage=lambda *told: stages.append(told))

    results = asyncio.run(run())
    assert list(results) == ["pi-1", "gone"]
    assert isinstance(results["gone"], UnreachableError)
    examination = results["pi-1"]
    assert isinstance(examination, Examination)
    assert not examination.reach.connected
    assert "no-agent" in [finding.code for finding in examination.findings]
    assert ("pi-1", "facts") in stages


def test_two_names_for_one_device_are_told_of_each_other(tmp_path):
    async def run():
        async with fake_device(tmp_path) as pi:
            return await examine([pi.device(), pi.device(name="twin")], pi.access())

    results = asyncio.run(run())
    for name, other in (("pi-1", "twin"), ("twin", "pi-1")):
        examination = results[name]
        assert isinstance(examination, Examination)
        first = examination.findings[0]
        assert (first.code, first.details["others"]) == ("same-identity", [other])


def test_repairs_run_in_order_as_root_where_they_need_it(tmp_path):
    def repair(device, command, root):
        return Repair(device, "x", "mend it", command, root=root, asked=False)

    async def run():
        async with fake_device(tmp_path) as pi:
            wanted = [
                repair("pi-1", "id -u >> done", root=True),
                repair("pi-1", "id -u >> done", root=False),
                repair("other", "echo no >> done", root=False),
            ]
            devices = [pi.device(), pi.device(name="other")]
            results = await carry_out(wanted, devices, pi.access())
            failed = await carry_out([repair("pi-1", "exit 3", root=False), wanted[0]], devices, pi.access())
            return results, failed, (pi.home / "done").read_text()

    results, failed, done = asyncio.run(run())
    assert results == {"pi-1": None, "other": None}
    assert sorted(done.split()) == sorted(["0", "1000", "no"])
    assert isinstance(failed["pi-1"], CommandFailedError)


@pytest.mark.parametrize(
    ("device", "kind"),
    [(NOBODY, "refused"), (replace(NOBODY, address="no.such.host.invalid"), "unresolved")],
)
def test_a_port_out_of_reach_is_told_by_its_kind(device, kind):
    assert asyncio.run(survey.reach(device)).kind == kind


def test_an_open_port_is_reached():
    async def run():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            return await survey.reach(replace(NOBODY, port=server.sockets[0].getsockname()[1]))

    assert asyncio.run(run()).connected


def test_an_address_is_resolved_and_a_name_that_stands_for_nothing_is_none():
    assert asyncio.run(survey.resolve(NOBODY)) == ("127.0.0.1",)
    assert asyncio.run(survey.resolve(replace(NOBODY, address="no.such.host.invalid"))) == ()


def test_a_device_that_cannot_compute_keeps_the_rest_of_its_profile(tmp_path, monkeypatch):
    async def none(*_, **__):
        raise MissingWheelsError("Python 3.11 on aarch64", ("onnxruntime==1.31.1",))

    monkeypatch.setattr("cocoi_cli.fleet.throwaway.wheelhouse", none)

    async def run():
        async with fake_device(tmp_path) as pi:
            return await profiler.profile([pi.device()], pi.access(), Settings(rounds=1, full=True), made="now")

    each = asyncio.run(run())["pi-1"]
    assert isinstance(each, Profiled)
    assert each.profile.link is not None
    assert each.gaps == ("nothing was computed: not in the cache for Python 3.11 on aarch64: `onnxruntime==1.31.1`",)


def test_profiles_bare_devices_beside_one_that_is_gone(tmp_path):
    stages: dict[str, list[str]] = {}

    async def run():
        async with fake_device(tmp_path) as pi:
            devices = [pi.device(), pi.device(name="twin"), NOBODY]
            return await profiler.profile(
                devices,
                pi.access(),
                Settings(rounds=1),
                made="2026-11-21T12:00:00+00:00",
                on_stage=lambda name, stage: stages.setdefault(name, []).append(stage),
            )

    results = asyncio.run(run())
    assert isinstance(results["gone"], CocoiError)
    for name in ("pi-1", "twin"):
        each = results[name]
        assert isinstance(each, Profiled)
        assert each.profile.link is not None
        assert each.profile.link.through == "direct"
        assert each.profile.compute is None
        assert each.gaps == ("nothing was computed: no agent is installed",)
        assert [condition.when for condition in each.profile.conditions] == ["before", "after"]
        assert each.findings[0].code == "same-identity"
        assert stages[name][0] == "connect"
        assert stages[name][-1] == "done"
        assert "link, round 1 of 1" in stages[name]
