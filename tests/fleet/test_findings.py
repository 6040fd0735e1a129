from __future__ import annotations

import io
from dataclasses import replace

import pytest

from cocoi_cli.fleet.facts import Disk, Installed, Interpreter, Listener, Unit
from cocoi_cli.fleet.facts_tree import device_facts
from cocoi_cli.fleet.findings import GB, MB, Reach, findings, health, preflight, shared_identities
from cocoi_cli.fleet.ondevice import facts as script
from cocoi_cli.fleet.records import Device
from tests.fleet import trees

DEVICE = Device("pi-1", "pi@192.168.1.11", "192.168.1.11")
HERE = ("192.168.1.11",)
UNIT = Unit("active", "success", 0)
AGENT = Installed("system", "0.1.0-aaaaaaaaaaaa", None, "/opt/cocoi/current/bin/python", "0.1.0", "1.31.1", UNIT)
FULL = Disk("/opt", 80 * MB, 15 * GB, "ext4", read_only=False)


@pytest.fixture(scope="module")
def well(tmp_path_factory):
    """A Pi 4 about which there is nothing to say."""
    tree = trees.pi4(tmp_path_factory.mktemp("pi"))
    tree.tool("iw", 'echo "Power save: off"', "/usr/sbin").file("/sys/fs/cgroup/cgroup.controllers", "memory")
    tree.file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance")
    found = script.main({"prefix": str(tree.root)}, io.BytesIO())
    time = found["clock"]["time"]
    facts = device_facts(found, asked=time, answered=time + found["clock"]["seconds"])
    room = tuple(replace(disk, free=8 * GB, read_only=False) for disk in facts.disks)
    return replace(facts, home="/home/pi", disks=(*room, Disk("/home/pi", 8 * GB, 15 * GB, "ext4", read_only=False)))


def codes(found):
    return {each.code: each.severity for each in found}


def test_a_healthy_device_has_no_findings(well):
    assert findings(replace(well, installed=(AGENT,)), DEVICE, addresses=HERE, reach=Reach(connected=True)) == ()


def test_without_an_agent_that_is_all_there_is_to_say(well):
    assert codes(findings(well, DEVICE, addresses=HERE)) == {"no-agent": "note"}


OLD = Interpreter("/usr/bin/python3.9", (3, 9, 2), 64, venv=True, ssl=True)
BARE = Interpreter("/usr/bin/python3.11", (3, 11, 2), 64, venv=False, ssl=True)
OPEN = Interpreter("/usr/bin/python3.11", (3, 11, 2), 64, venv=True, ssl=False)


@pytest.mark.parametrize(
    ("changes", "code", "severity", "words"),
    [
        ({"architecture": "armhf"}, "32-bit-userland", "error", "32-bit system (armhf): ONNX Runtime has no 32-bit"),
        ({"architecture": "aarch64", "bits": 32}, "32-bit-userland", "error", "32-bit"),
        ({"architecture": "riscv64"}, "unsupported-architecture", "error", "riscv64; agents run on aarch64 and x86_64"),
        ({"libc": (2, 27)}, "old-libc", "error", "glibc 2.27; ONNX Runtime needs 2.28 or newer"),
        ({"libc": None}, "old-libc", "error", "no GNU C library"),
        ({"interpreters": ()}, "no-python", "error", "no Python 3"),
        ({"interpreters": (OLD,)}, "old-python", "error", "3.11 or newer is needed, it has /usr/bin/python3.9 (3.9.2)"),
        ({"interpreters": (BARE, OLD)}, "no-venv", "error", "/usr/bin/python3.11 lacks the module `venv`"),
        ({"interpreters": (OPEN,)}, "no-ssl", "error", "lacks the module `ssl`"),
        ({"disks": (FULL,)}, "little-disk", "error", "80 MB free at `/opt`; an agent needs 300 MB"),
        (
            {"disks": (replace(FULL, free=9 * GB, read_only=True),)},
            "read-only-disk",
            "error",
            "`/opt` cannot be written",
        ),
        (
            {"memory_available": 100 * MB, "memory_total": GB},
            "little-memory",
            "error",
            "100 MB of memory free of 1.0 GB",
        ),
        ({"memory_available": 200 * MB}, "little-memory", "warning", "an agent needs 268 MB"),
        ({"systemd_running": False}, "no-systemd", "error", "systemd does not run it"),
        ({"systemd": 241}, "old-systemd", "error", "systemd 241; 247 or newer is needed"),
        (
            {"listener": Listener("www-data", "nginx")},
            "port-taken",
            "error",
            "52600 is taken by `nginx` of user `www-data`",
        ),
        ({"clock_offset_s": -200 * 86400.0}, "wrong-clock", "warning", "200 days behind"),
        ({"clock_offset_s": 300.0}, "wrong-clock", "note", "5 minutes ahead"),
        ({"synchronised": False}, "no-time-service", "note", "nothing keeps its clock right"),
    ],
)
def test_preflight_says_what_is_wrong(well, changes, code, severity, words):
    found = preflight(replace(well, **changes), DEVICE, addresses=HERE)
    assert codes(found) == {code: severity}
    assert words in found[0].message
    assert not found[0].message.endswith(".")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"libc": (2, 28)}, None),
        ({"systemd": 247}, None),
        ({"systemd": None}, None),
        ({"memory_available": None}, None),
        ({"memory_available": 256 << 20}, None),
        ({"disks": (replace(FULL, free=300 * MB),)}, None),
        ({"disks": ()}, None),
        ({"synchronised": None}, None),
        ({"clock_offset_s": 100.0, "clock_uncertainty_s": 40.0}, None),
        ({"clock_offset_s": 101.0, "clock_uncertainty_s": 40.0}, "wrong-clock"),
        ({"interpreters": (BARE, replace(OPEN, path="/usr/local/bin/python3.12", ssl=True))}, None),
        ({"listener": Listener("cocoi-agent", "cocoi-agent")}, None),
        ({"listener": Listener("61234", None), "installed": (AGENT,)}, None),
        ({"interfaces": ()}, None),
        ({"architecture": None, "bits": 64}, None),
    ],
)
def test_preflight_draws_its_lines_exactly(well, changes, code):
    assert list(codes(preflight(replace(well, **changes), DEVICE, addresses=HERE))) == ([code] if code else [])


def test_preflight_tells_everything_at_once(well):
    changed = replace(well, architecture="armhf", interpreters=(OLD,), disks=(FULL,), systemd=241, libc=(2, 24))
    found = codes(preflight(changed, DEVICE, addresses=("10.0.0.9",)))
    assert list(found) == ["32-bit-userland", "old-libc", "old-python", "little-disk", "old-systemd", "address-absent"]


def test_an_address_that_is_not_the_devices_is_told_with_those_it_has(well):
    (found,) = preflight(well, replace(DEVICE, address="10.0.0.9"), addresses=("10.0.0.9",))
    assert found.code == "address-absent"
    assert "192.168.1.11 (eth0), fe80::1 (eth0), 192.168.1.77 (wlan0)" in found.message
    assert "127.0.0.1" not in found.message


def test_one_address_of_several_that_a_name_stands_for_is_enough(well):
    assert preflight(well, replace(DEVICE, address="pi.local"), addresses=("10.0.0.9", "FE80:0::1")) == ()


def test_the_address_is_not_judged_where_its_name_stands_for_nothing(well):
    assert preflight(well, replace(DEVICE, address="pi.local"), addresses=()) == ()


def test_a_user_install_needs_room_at_home_and_linger(well):
    device = replace(DEVICE, install="user")
    home = replace(well, disks=(FULL, Disk("/home/pi", 9 * GB, 15 * GB, "ext4", read_only=False)), user="pi")
    assert preflight(home, device) == ()
    assert codes(preflight(home, DEVICE)) == {"little-disk": "error"}
    assert codes(preflight(home, DEVICE, install="user")) == {}
    running = replace(home, installed=(replace(AGENT, mode="user"),))
    assert codes(preflight(running, device)) == {"linger-off": "warning"}
    assert preflight(replace(running, linger=True), device) == ()


def test_another_machine_than_the_fleet_file_means_is_refused(well):
    assert preflight(well, replace(DEVICE, machine_id=trees.MACHINE_ID)) == ()
    assert codes(preflight(well, replace(DEVICE, machine_id="f" * 32))) == {"other-machine": "error"}


@pytest.mark.parametrize(
    ("now", "since", "expected"),
    [
        (("under-voltage",), ("under-voltage",), {"under-voltage": "warning"}),
        ((), ("under-voltage",), {"under-voltage-before": "note"}),
        (("throttled", "soft-temperature-limit"), (), {"throttled": "warning"}),
        ((), ("frequency-capped",), {"throttled-before": "note"}),
        (("under-voltage", "throttled"), None, {"under-voltage": "warning", "throttled": "warning"}),
        ((), None, {}),
    ],
)
def test_throttling_now_and_before_are_told_apart(well, now, since, expected):
    facts = replace(well, condition=replace(well.condition, throttled=now, since_boot=since))
    assert codes(health(facts, DEVICE)) == {**expected, "no-agent": "note"}


def test_throttling_comes_with_the_temperature(well):
    facts = replace(well, condition=replace(well.condition, throttled=("throttled",), temperature_c=82.3))
    assert health(facts, DEVICE)[0].message == "throttled now (throttled), at 82 °C"


@pytest.mark.parametrize(
    ("governor", "governors", "expected"),
    [
        ("ondemand", ("ondemand", "performance"), {"slow-governor": "note"}),
        ("powersave", ("powersave", "performance"), {"slow-governor": "warning"}),
        ("performance", ("performance",), {}),
        ("ondemand", (), {}),
        (None, (), {}),
    ],
)
def test_a_governor_counts_where_there_is_a_better_one(well, governor, governors, expected):
    facts = replace(well, condition=replace(well.condition, governor=governor), governors=governors)
    assert codes(health(facts, DEVICE)) == {**expected, "no-agent": "note"}


def test_wifi_power_save_names_its_interface_and_can_be_repaired(well):
    wifi = tuple(replace(each, power_save=each.kind == "wireless" or None) for each in well.interfaces)
    found = health(replace(well, interfaces=wifi), DEVICE)[0]
    assert (found.code, found.fix, found.details["interface"]) == ("wifi-power-save", "safe", "wlan0")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"memory_cgroup": False}, {"memory-cgroup-off": "note"}),
        ({"memory_cgroup": None}, {}),
        ({"journal_kept": False}, {"journal-volatile": "note"}),
        ({"test_units": ("/run/systemd/system",)}, {"test-left": "warning"}),
    ],
)
def test_upkeep(well, changes, expected):
    assert codes(health(replace(well, **changes), DEVICE)) == {**expected, "no-agent": "note"}


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ({"onnxruntime": "1.21.0"}, {"bad-installed-runtime": "error"}),
        ({"onnxruntime": "1.22.0"}, {"bad-installed-runtime": "error"}),
        ({"onnxruntime": None}, {}),
        ({"agent": "0.0.9"}, {"other-version": "note"}),
        ({"unit": None}, {"agent-down": "error"}),
        ({"unit": Unit("failed", "exit-code", 9)}, {"agent-down": "error"}),
        ({"unit": Unit("active", "success", 3)}, {"agent-restarts": "warning"}),
        ({"unit": Unit("active", "success", 2)}, {}),
    ],
)
def test_an_installed_agent_is_examined(well, agent, expected):
    facts = replace(well, installed=(replace(AGENT, **agent),))
    assert codes(health(facts, DEVICE, version="0.1.0")) == expected


@pytest.mark.parametrize(
    ("listener", "kind", "code"),
    [
        (Listener("cocoi-agent", "cocoi-agent"), "timeout", "port-blocked"),
        (None, "refused", "agent-deaf"),
    ],
)
def test_a_port_out_of_reach_is_blocked_or_deaf(well, listener, kind, code):
    facts = replace(well, installed=(AGENT,), listener=listener)
    (found,) = health(facts, DEVICE, reach=Reach(connected=False, kind=kind))
    assert (found.code, kind in found.message) == (code, True)


def test_of_several_findings_errors_come_first(well):
    facts = replace(well, synchronised=False, systemd=241, clock_offset_s=1e8)
    assert [each.severity for each in findings(facts, DEVICE, addresses=HERE)] == ["error", "warning", "note", "note"]


def test_devices_that_share_an_identity_are_told_of_each_other():
    found = shared_identities(
        {"a": ("m1", "k1"), "b": ("m1", "k2"), "c": ("m3", "k2"), "d": (None, None), "e": (None, "k9")}
    )
    assert {name: each.details["others"] for name, each in found.items()} == {"a": ["b"], "b": ["a"], "c": ["b"]}
    assert "the same machine-id as `b`" in found["a"].message
    assert "ssh host key" in found["c"].message
