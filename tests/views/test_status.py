from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from cocoi_agent.wire.messages import Vitals
from cocoi_cli.runtime.inquiry import Condition
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.status import (
    DeviceStatus,
    FleetStatus,
    redundancy_text,
    remarks,
    status_document,
    status_table,
)

NOW = 1_800_000_000.0
VITALS = Vitals(61.4, False, False, 0.5, 80 << 20, 612_000_000, 12.0, 3, 15_432, 5 << 20, 4 * 86400 + 7200.0)
CONDITION = Condition("pi-1", "up", "", "cocoi-agent 0.1.0", {"cores": 4}, 0.0004, VITALS)
UP = DeviceStatus("pi-1", "10.0.0.1", 52600, "up", "", False, CONDITION, NOW)
DOWN = DeviceStatus("pi-2", "10.0.0.2", 52600, "down", "connection refused", False, None, NOW - 7300)
DEVICES = (
    UP,
    replace(UP, name="raspberrypi-shelf-2", condition=replace(CONDITION, vitals=replace(VITALS, throttled=True))),
    replace(UP, name="pi-4", condition=replace(CONDITION, vitals=replace(VITALS, undervolted=True))),
    replace(UP, name="pi-5", state="drained", drained=True),
    DOWN,
    replace(DOWN, name="pi-6", state="version", cause="the agent talks versions 7 to 7, the host 1 to 1"),
    replace(DOWN, name="pi-7", state="refused", seen=None),
    replace(DOWN, name="pi-8", state="no-agent", cause="it has no agent yet", seen=None),
)
TABLE = """\
device         state         version  temp throttled queue served   free up/seen
pi-1           up            0.1.0   61 °C no            3  15432 612 MB     4 d
raspberrypi-s… up            0.1.0   61 °C yes           3  15432 612 MB     4 d
pi-4           up            0.1.0   61 °C low power     3  15432 612 MB     4 d
pi-5           drained       0.1.0   61 °C no            3  15432 612 MB     4 d
pi-2           down                                                      2 h ago
pi-6           other version                                             2 h ago
pi-7           refused                                                     never
pi-8           no agent                                                    never
"""


def fleet(*devices: DeviceStatus, pieces: int = 6, code: tuple[int, int] | None = (3, 2)) -> FleetStatus:
    return FleetStatus(devices, NOW, pieces, code, "0.1.0")


def shown(status: FleetStatus, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(status_table(status))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_fits_80_columns_and_the_names_give_way() -> None:
    lines = shown(fleet(*DEVICES))
    assert max(map(len, lines)) <= 80
    assert lines == TABLE.splitlines()
    assert "raspberrypi-shelf-2 up" in shown(fleet(*DEVICES), 120)[2]


def test_what_the_platform_does_not_tell_is_left_blank() -> None:
    bare = Vitals(None, None, None, None, None, None, None, 0, 0, 0, 30.0)
    row = shown(fleet(replace(UP, condition=replace(CONDITION, vitals=bare))))[1]
    assert row.split() == ["pi-1", "up", "0.1.0", "0", "0", "30", "s"]


@pytest.mark.parametrize(
    ("up", "down", "pieces", "code", "text"),
    [
        (8, 0, 6, (8, 6), "8 of 8 up, k = 6 by default: 2 more may fail"),
        (7, 1, 6, (7, 5), "7 of 8 up, k = 6 by default: 1 more may fail"),
        (6, 2, 6, (6, 4), "6 of 8 up, k = 6 by default: 0 more may fail"),
        (3, 5, 6, (3, 2), "3 of 8 up, k = 6 by default: 3 too few; inference uses (3,2)"),
        (1, 7, 6, (1, 1), "1 of 8 up, k = 6 by default: 5 too few; inference uses (1,1)"),
        (0, 2, 1, None, "0 of 2 up, k = 1 by default: this machine computes alone"),
    ],
)
def test_the_margin_is_said(up, down, pieces, code, text) -> None:
    status = fleet(*[UP] * up, *[DOWN] * down, pieces=pieces, code=code)
    assert redundancy_text(status) == f"redundancy: {text}"
    assert status.ready == (up >= pieces)


def test_drained_devices_are_not_counted_as_up() -> None:
    status = fleet(UP, replace(UP, state="drained", drained=True), pieces=1)
    assert (status.up, status.margin) == (1, 0)


def test_reasons_and_odd_versions_are_told_below() -> None:
    old = replace(UP, name="pi-3", condition=replace(CONDITION, software="cocoi-agent 0.0.9"))
    assert remarks(fleet(UP, DOWN, old)) == [
        "pi-2: connection refused",
        "pi-3: its agent is of version 0.0.9, this machine of 0.1.0",
    ]


def test_the_document_names_error_and_next_step_of_each_device() -> None:
    document = json.loads(json_text(status_document(fleet(*DEVICES, pieces=6), lambda code: f"about {code}")))
    assert list(document["devices"]) == [device.name for device in DEVICES]
    first = document["devices"]["pi-1"]
    assert (first["state"], first["answers"], first["version"], first["machine"]) == ("up", True, "0.1.0", {"cores": 4})
    assert first["vitals"]["served"] == 15_432
    assert first["last_seen"] == "2027-01-15T08:00:00+00:00"
    assert "error" not in first
    second = document["devices"]["pi-2"]
    assert (second["error"], second["message"]) == ("agent-unreachable", "`pi-2`: connection refused")
    assert second["hint"] == "about agent-unreachable"
    assert second["details"] == {"device": "pi-2", "cause": "connection refused", "kind": "down"}
    assert [document["devices"][name]["error"] for name in ("pi-6", "pi-8")] == ["version", "not-deployed"]
    assert document["redundancy"] == {
        "devices": 8, "up": 3, "k": 6, "margin": -3, "ready": False, "code_now": {"n": 3, "k": 2},
    }  # fmt: skip
