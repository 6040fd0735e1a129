from __future__ import annotations

import ast
import io
from pathlib import Path

import pytest

from cocoi_cli.fleet.facts_tree import clock, device_facts
from cocoi_cli.fleet.ondevice import facts as script
from tests.fleet import trees

ONDEVICE = Path(script.__file__).parent


def read(tree: trees.Tree, **request):
    return script.main({"prefix": str(tree.root), "port": 52600, **request}, io.BytesIO())


def facts_of(tree: trees.Tree):
    found = read(tree)
    return device_facts(
        found, asked=found["clock"]["time"], answered=found["clock"]["time"] + found["clock"]["seconds"]
    )


def test_reads_a_pi_with_bookworm(tmp_path):
    facts = facts_of(trees.pi4(tmp_path))
    assert (facts.model, facts.processor, facts.cores, facts.aes) == (
        "Raspberry Pi 4 Model B Rev 1.5",
        "Cortex-A72",
        4,
        False,
    )
    assert (facts.memory_total, facts.memory_available) == (3884392 * 1024, 3312000 * 1024)
    assert facts.memory_cgroup is False
    assert (facts.architecture, facts.os) == ("aarch64", "Debian GNU/Linux 12 (bookworm)")
    assert facts.condition.temperature_c == 48.2
    assert (facts.condition.throttled, facts.condition.since_boot) == ((), ())
    assert (facts.condition.governor, facts.governors) == ("ondemand", ("ondemand", "performance"))
    assert facts.condition.frequency_hz == 600_000_000
    assert (facts.systemd_running, facts.systemd, facts.journal_kept) == (True, 252, True)
    assert facts.machine_id == trees.MACHINE_ID
    assert facts.synchronised is True
    python = facts.python()
    assert python is not None
    assert (python.path, python.version) == ("/usr/bin/python3.11", (3, 11, 2))
    assert len(facts.interpreters) == 1  # `python3` is a link to it
    assert facts.installed == ()


def test_reads_interfaces_with_their_kinds_addresses_and_power_save(tmp_path):
    facts = facts_of(trees.pi4(tmp_path))
    eth0, lo, wlan0 = facts.interfaces
    assert (eth0.kind, eth0.addresses, eth0.speed_mbit) == ("wired", ("192.168.1.11", "fe80::1"), 1000)
    assert (lo.kind, wlan0.kind, wlan0.power_save, wlan0.speed_mbit) == ("loopback", "wireless", True, None)
    assert facts.owner(["192.168.1.11"]) is eth0
    assert facts.owner(["192.168.1.12"]) is None


def test_reads_trixie(tmp_path):
    python = facts_of(trees.trixie(tmp_path)).python()
    assert python is not None
    assert python.version == (3, 13, 5)


def test_a_32_bit_system_is_told_from_its_kernel(tmp_path):
    facts = facts_of(trees.small(tmp_path))
    assert facts.architecture == "armhf"
    assert facts.python() is None


def test_a_container_lacks_most_things_and_is_read_all_the_same(tmp_path):
    facts = facts_of(trees.container(tmp_path))
    assert (facts.model, facts.processor, facts.aes, facts.cores) == (None, "Some Processor", True, 1)
    assert facts.condition.temperature_c is None
    assert (facts.condition.throttled, facts.condition.since_boot) == ((), None)
    assert facts.memory_cgroup is None
    assert facts.systemd_running is False
    assert [each.addresses for each in facts.interfaces] == [()]


def test_an_empty_machine_is_read_too(tmp_path):
    facts = facts_of(trees.Tree(tmp_path))
    assert facts.interpreters == ()
    assert facts.python() is None


@pytest.mark.parametrize(
    ("word", "now", "since"),
    [
        ("0x0", (), ()),
        ("0x50005", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("0xe0008", ("soft-temperature-limit",), ("frequency-capped", "throttled", "soft-temperature-limit")),
        ("0x2", ("frequency-capped",), ()),
    ],
)
def test_reads_every_flag_of_the_firmware(tmp_path, word, now, since):
    tree = trees.pi4(tmp_path).tool("vcgencmd", f"echo throttled={word}")
    condition = facts_of(tree).condition
    assert (condition.throttled, condition.since_boot) == (now, since)


def test_asks_the_kernel_where_the_firmware_does_not_answer(tmp_path):
    tree = trees.pi4(tmp_path).tool("vcgencmd", "exit 1")
    tree.file("/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    tree.file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "1000000\n")
    condition = facts_of(tree).condition
    assert (condition.throttled, condition.since_boot) == (("under-voltage", "frequency-capped"), None)


def test_the_firmware_tells_the_temperature_where_no_zone_does(tmp_path):
    tree = trees.pi4(tmp_path).without("/sys/class/thermal/thermal_zone0/temp").tool("vcgencmd", 'echo "temp=51.5\'C"')
    assert facts_of(tree).condition.temperature_c == 51.5


@pytest.mark.parametrize(("controllers", "expected"), [("cpu memory pids", True), ("cpu pids", False)])
def test_the_memory_cgroup_of_either_hierarchy_counts(tmp_path, controllers, expected):
    tree = trees.pi4(tmp_path).file("/sys/fs/cgroup/cgroup.controllers", controllers)
    assert facts_of(tree).memory_cgroup is expected
    tree.file("/sys/fs/cgroup/cgroup.controllers", "").file("/proc/cgroups", "memory\t4\t80\t1\n")
    assert facts_of(tree).memory_cgroup is True


def test_finds_every_python_newest_first_and_one_that_does_not_answer_last(tmp_path):
    tree = trees.pi4(tmp_path).python((3, 9, 2)).tool("python3.12", "exit 1")
    tree.tool("python3-config", "exit 0").tool(
        "python3.13", trees.PYTHON % "[[3, 13, 1], 64, false, false, true]", "/usr/local/bin"
    )
    facts = facts_of(tree)
    assert [(each.path, each.version, each.venv) for each in facts.interpreters] == [
        ("/usr/local/bin/python3.13", (3, 13, 1), False),
        ("/usr/bin/python3.11", (3, 11, 2), True),
        ("/usr/bin/python3.9", (3, 9, 2), True),
        ("/usr/bin/python3.12", (), None),
    ]
    python = facts.python()
    assert python is not None
    assert python.path == "/usr/bin/python3.11"  # the newest one lacks `venv`


def test_tells_what_is_installed_and_how_its_service_is(tmp_path):
    facts = facts_of(trees.installed(trees.pi4(tmp_path), state="failed"))
    (install,) = facts.installed
    assert (install.mode, install.current, install.previous) == ("system", "0.1.0-aaaaaaaaaaaa", "0.0.9-bbbbbbbbbbbb")
    assert (install.agent, install.onnxruntime) == ("0.1.0", "1.31.1")
    assert install.python == "/opt/cocoi/current/bin/python"
    assert install.unit is not None
    assert (install.unit.active, install.unit.restarts) == ("failed", 1)


def test_finds_a_test_that_a_deploy_left(tmp_path):
    tree = trees.pi4(tmp_path).file("/run/systemd/system/cocoi-agent-test.service")
    tree.file("/run/systemd/system/cocoi-agent.service.d/x.conf")
    assert facts_of(tree).test_units == ("/run/systemd/system",)


def test_names_who_listens_on_the_agents_port(tmp_path):
    tree = trees.pi4(tmp_path)
    line = "   0: 0100007F:CD78 00000000:0000 {} 00000000:00000000 00:00000000 00000000     0        0 4711 1\n"
    tree.file("/proc/net/tcp", "  sl\n" + line.format("0A"))
    tree.link("/proc/77/fd/3", "socket:[4711]").file("/proc/77/comm", "nginx\n")
    listener = facts_of(tree).listener
    assert listener is not None
    assert (listener.user, listener.process) == ("root", "nginx")
    tree.file("/proc/net/tcp", "  sl\n" + line.format("01"))  # connected, not listening
    assert facts_of(tree).listener is None


def test_a_folder_that_is_absent_counts_as_its_parent(tmp_path):
    tree = trees.pi4(tmp_path)
    (tmp_path / "opt").rmdir()
    disks = {disk.path: disk for disk in facts_of(tree).disks}
    assert disks["/opt"].free == disks["/"].free > 0
    assert [disk.filesystem for disk in disks.values()][:4] == ["ext4", "ext4", "ext4", "tmpfs"]


def test_only_the_condition_is_read_where_only_that_is_asked_for(tmp_path):
    assert set(read(trees.pi4(tmp_path), only="condition")) == {"condition", "clock"}


def test_reading_this_machine_itself_works():
    found = script.main({"port": 1}, io.BytesIO())
    facts = device_facts(found, asked=found["clock"]["time"], answered=found["clock"]["time"] + 60)
    assert facts.interpreters or facts.user


@pytest.mark.parametrize(
    ("told", "worked", "asked", "answered", "offset", "uncertainty"),
    [
        (1000.0, 0.0, 1000.0, 1000.0, 0.0, 0.0),
        (1000.0, 2.0, 999.0, 1003.0, 0.0, 1.0),  # two of the four seconds were spent after the clock was read
        (500.0, 1.0, 1000.0, 1001.0, -500.0, 0.0),
        (1000.0, 9.0, 1000.0, 1001.0, 0.0, 0.0),  # it says that it worked for longer than we waited
    ],
)
def test_the_clock_is_bounded_by_question_and_answer(told, worked, asked, answered, offset, uncertainty):
    tree = {"clock": {"time": told, "seconds": worked}}
    assert clock(tree, asked=asked, answered=answered) == (offset, uncertainty)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"hardware": None, "system": [], "disks": {}, "interfaces": [3], "installed": {"system": 7}},
        {"hardware": {"cores": "four", "memory": {"total": True}}, "system": {"libc": [2]}, "listener": "x"},
    ],
)
def test_what_a_device_does_not_tell_is_unknown(tree):
    facts = device_facts(tree, asked=0.0, answered=1.0)
    assert (facts.cores, facts.memory_total, facts.libc, facts.listener) == (None, None, None, None)
    assert (facts.disks, facts.interfaces, facts.installed) == ((), (), ())


@pytest.mark.parametrize("path", sorted(ONDEVICE.glob("*.py")), ids=lambda path: path.stem)
def test_scripts_keep_to_the_syntax_of_python_3_7(path):
    ast.parse(path.read_text(), feature_version=(3, 7))
