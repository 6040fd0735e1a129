from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from cocoi_cli.fleet.doctor import Examination, Repair
from cocoi_cli.fleet.facts import Disk, Interface, Interpreter
from cocoi_cli.fleet.facts_tree import device_facts
from cocoi_cli.fleet.findings import Finding, Reach
from cocoi_cli.fleet.profiler import Profiled, described
from cocoi_cli.planning.profile import Compute, Condition, Convolution, DeviceProfile, Link, Round, Samples
from cocoi_cli.views import doctor
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.profile import devices_table, outcome, profile_document, remarks, speeds_table

GB = 10**9
COOL = Condition("before", 48.5, (), (), "ondemand", 600_000_000)
FACTS = replace(
    device_facts({}, asked=0.0, answered=0.0),
    model="Raspberry Pi 4 Model B Rev 1.5",
    cores=4,
    memory_total=4 * GB,
    memory_available=3_392_000_000,
    architecture="aarch64",
    interpreters=(Interpreter("/usr/bin/python3.11", (3, 11, 2), 64, venv=True, ssl=True),),
    disks=(Disk("/opt", 24_100_000_000, 31 * GB, "ext4", read_only=False),),
    interfaces=(Interface("eth0", "wired", ("10.0.0.1",), up=True, speed_mbit=1000, power_save=None),),
    condition=COOL,
)
ROUND = Round((0.0005, 0.00061), Samples(1 << 20, (0.0101, 0.0102)), Samples(1 << 20, (0.0111,)))
COMPUTE = Compute(
    "1.31.1",
    (Convolution(3, 64, 64, 56, 7, Samples(28_901_376, (0.0031, 0.0029))),),
    2,
    {"to-float16": Samples(3_211_264, (0.0012,))},
    {"chacha20-seal": Samples(262_144, (0.002,)), "chacha20-open": Samples(262_144, (0.004,))},
)
PROFILE = DeviceProfile(
    "2026-11-21T12:00:00+00:00", "0" * 32, described(FACTS, ["10.0.0.1"]), (COOL,), 0.1, 0.01,
    Link("direct", (ROUND,)), COMPUTE,
)  # fmt: skip
WELL = Profiled(PROFILE, FACTS, (), ())
HOT = replace(COOL, throttled=("throttled",))
BARE_FACTS = device_facts({}, asked=0.0, answered=0.0)
LEFT_OUT = (
    "the link was measured through ssh: no connection to 10.0.0.2: timed out",
    "nothing was computed: no agent is installed",
)
BARE = Profiled(
    replace(PROFILE, facts={}, link=Link("ssh", (replace(ROUND, rtt_s=(0.0123,)),)), compute=None), BARE_FACTS,
    (Finding("no-python", "error", "it has no Python 3"), Finding("no-time-service", "note", "unkept")), LEFT_OUT,
)  # fmt: skip
MEASURED = {
    "pi-1": WELL,
    "raspberrypi-of-the-upper-shelf": replace(WELL, profile=replace(PROFILE, conditions=(COOL, HOT))),
    "pi-3": BARE,
    "pi-4": replace(BARE, profile=replace(BARE.profile, link=None), findings=(), gaps=()),
}
DEVICES = """\
device            model        cores  memory     disk  system   Python    °C
pi-1              Pi 4 B r1.5      4  3.4 GB  24.1 GB  aarch64  3.11.2    48
raspberrypi-of-…  Pi 4 B r1.5      4  3.4 GB  24.1 GB  aarch64  3.11.2    48
pi-3              -                -       -        -  -        none fit   -
pi-4              -                -       -        -  -        none fit   -
"""
SPEEDS = """\
device            link      rtt ms  up MB/s  down MB/s  GFLOP/s  TLS MB/s
pi-1              wired  0.55/0.61      103         94      9.6        66
raspberrypi-of-…  wired  0.55/0.61      103         94      9.6        66
pi-3              ssh        12/12      103         94        -         -
pi-4              -              -        -          -        -         -
"""


def drawn(table, width=80):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def test_tables_fit_80_columns_and_read_so():
    devices, speeds = drawn(devices_table(MEASURED)), drawn(speeds_table(MEASURED))
    assert max(len(line) for line in (devices + speeds).splitlines()) <= 80
    assert devices == DEVICES
    assert speeds == SPEEDS


def test_a_name_cannot_style_the_table():
    assert "[red]x" in drawn(devices_table({"[red]x": WELL}))


def test_remarks_tell_what_the_figures_do_not_mean():
    assert remarks(MEASURED) == [
        "pi-1: too slow for 2 shapes of the grid within the time allowed",
        "raspberrypi-of-the-upper-shelf: not its usual speed (throttled before); marked as invalid",
        "raspberrypi-of-the-upper-shelf: too slow for 2 shapes of the grid within the time allowed",
        "pi-3: the link was measured through ssh: no connection to 10.0.0.2: timed out",
        "pi-3: nothing was computed: no agent is installed",
        "pi-3: it has no Python 3",
    ]


@pytest.mark.parametrize(
    ("each", "text"),
    [
        (WELL, "rtt 0.55 ms, 103 MB/s up, 9.6 GFLOP/s"),
        (BARE, "rtt 12 ms, 103 MB/s up"),
        (MEASURED["pi-4"], "nothing measured"),
    ],
)
def test_an_outcome_is_one_line(each, text):
    assert outcome(each) == text


def test_the_document_holds_figures_and_hints():
    document = json.loads(json_text(profile_document(BARE, lambda code, details: f"mend {code}")))
    assert document["link"]["through"] == "ssh"
    assert document["link"]["rtt_s"]["p50"] == pytest.approx(0.0123)
    assert document["findings"][0]["hint"] == "mend no-python"
    assert document["gaps"] == list(LEFT_OUT)
    document = json.loads(json_text(profile_document(WELL, lambda code, details: None)))
    assert document["valid"] is True
    assert document["compute"]["bytes_per_s"]["chacha20-open"] == pytest.approx(65_536_000)
    assert document["facts"]["interface"] == "eth0"


FINDINGS = (
    Finding(
        "old-python",
        "error",
        "its newest Python is too old: 3.11 or newer is needed, it has /usr/bin/python3.9 (3.9.2)",
    ),
    Finding("wifi-power-save", "warning", "Wi-Fi power save is on (wlan0)", "safe"),
    Finding("no-time-service", "note", "nothing keeps its clock right"),
)
EXAMINED = """\
pi-1: 1 error, 1 warning, 1 note
  error    its newest Python is too old: 3.11 or newer is needed, it has
           /usr/bin/python3.9 (3.9.2)
           reinstall it
  warning  Wi-Fi power save is on (wlan0)
           `cocoi doctor --fix`
  note     nothing keeps its clock right"""
ADVICE = {"old-python": "reinstall it", "wifi-power-save": "`cocoi doctor --fix`"}


def test_an_examination_reads_so_at_80_columns():
    lines = doctor.examination_lines("pi-1", FINDINGS, lambda code, details: ADVICE.get(code))
    assert "\n".join(lines) == EXAMINED
    brief = doctor.examination_lines("pi-1", FINDINGS, lambda code, details: None, notes=False)
    assert brief[-1] == "  warning  Wi-Fi power save is on (wlan0)"


def test_a_device_without_findings_is_healthy():
    assert doctor.examination_lines("pi-1", (), lambda code, details: None) == ["pi-1: healthy"]


def test_a_repair_is_shown_with_its_command():
    repair = Repair("pi-1", "x", "mend it", "mend --all", root=True, asked=False)
    assert doctor.repair_text(repair) == "pi-1: mend it:\n    sudo mend --all"
    assert doctor.repair_text(replace(repair, root=False)) == "pi-1: mend it:\n    mend --all"
    assert doctor.repair_question(repair) == "mend it on `pi-1`?"


def test_the_document_of_an_examination_holds_findings_with_hints():
    examination = Examination(FACTS, Reach(connected=False, kind="refused"), FINDINGS)
    document = json.loads(json_text(doctor.examination_document(examination, lambda code, details: ADVICE.get(code))))
    assert [each["hint"] for each in document["findings"]] == ["reinstall it", "`cocoi doctor --fix`", None]
    assert document["port"] == {"reached": False, "cause": "refused"}
