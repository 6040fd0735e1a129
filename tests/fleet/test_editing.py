"""Editing the fleet file: everything that is not changed stays as it was, byte for byte."""

from __future__ import annotations

import multiprocessing
import re
import tomllib
from dataclasses import replace

import pytest

from cocoi_cli.fleet.editing import DeviceExistsError, create, editing
from cocoi_cli.fleet.inventory import BadFleetFileError, DuplicateDeviceError, NoFleetError, UnknownDeviceError, load
from cocoi_cli.fleet.names import BadAddressError, BadNameError, BadTargetError
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.toml_text import line_numbers, with_table, with_value, without_table

BEFORE = """\
# My shelf. Do not sort!
id = "6f1c"   # never change this

# top board
[devices.one]  # the old one
# came with a bad card
ssh      = "pi@10.0.0.1"   # key in the agent
address  = '10.0.0.1'
# card replaced in May

# --- second board, with the fans ---

# noisy
[devices.two]
address = "10.0.0.2"
ssh = "pi@10.0.0.2"
port = 52_601  # behind the NAT
# three is above two
[devices.three]
ssh = "three"
address = "10.0.0.3"

# That is all.
"""

ADDED = (
    BEFORE
    + """
[devices.four]
ssh = "pi@10.0.0.4"
address = "10.0.0.4"
"""
)

WITHOUT_ONE = """\
# My shelf. Do not sort!
id = "6f1c"   # never change this

# --- second board, with the fans ---

# noisy
[devices.two]
address = "10.0.0.2"
ssh = "pi@10.0.0.2"
port = 52_601  # behind the NAT
# three is above two
[devices.three]
ssh = "three"
address = "10.0.0.3"

# That is all.
"""

WITHOUT_TWO = """\
# My shelf. Do not sort!
id = "6f1c"   # never change this

# top board
[devices.one]  # the old one
# came with a bad card
ssh      = "pi@10.0.0.1"   # key in the agent
address  = '10.0.0.1'
# card replaced in May

# --- second board, with the fans ---

# three is above two
[devices.three]
ssh = "three"
address = "10.0.0.3"

# That is all.
"""

WITHOUT_THREE = """\
# My shelf. Do not sort!
id = "6f1c"   # never change this

# top board
[devices.one]  # the old one
# came with a bad card
ssh      = "pi@10.0.0.1"   # key in the agent
address  = '10.0.0.1'
# card replaced in May

# --- second board, with the fans ---

# noisy
[devices.two]
address = "10.0.0.2"
ssh = "pi@10.0.0.2"
port = 52_601  # behind the NAT

# That is all.
"""

UPDATED = """\
# My shelf. Do not sort!
id = "6f1c"   # never change this

# top board
[devices.one]  # the old one
# came with a bad card
ssh      = "pi@10.0.0.9"   # key in the agent
address  = "10.0.0.9"
drained = true
# card replaced in May

# --- second board, with the fans ---

# noisy
[devices.two]
address = "10.0.0.2"
ssh = "pi@10.0.0.2"
# three is above two
[devices.three]
ssh = "three"
address = "10.0.0.3"

# That is all.
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "fleet.toml"
    path.write_text(BEFORE)
    return path


def test_a_device_is_added_at_the_end(path):
    with editing(path) as fleet:
        fleet.add(Device("four", "pi@10.0.0.4", "10.0.0.4"))
    assert path.read_text() == ADDED


@pytest.mark.parametrize(
    ("name", "after"), [("one", WITHOUT_ONE), ("two", WITHOUT_TWO), ("three", WITHOUT_THREE)], ids=str.lower
)
def test_a_removed_device_takes_its_own_comments_along_and_no_others(path, name, after):
    with editing(path) as fleet:
        fleet.remove(name)
    assert path.read_text() == after


def test_updates_keep_comments_and_spacing(path):
    with editing(path) as fleet:
        fleet.update("one", ssh="pi@10.0.0.9", address="10.0.0.9", drained=True)
        fleet.update("two", port=None, drained=False)
    assert path.read_text() == UPDATED
    with editing(path) as fleet:
        fleet.update("one", ssh="pi@10.0.0.1", drained=False)
    assert "drained" not in path.read_text()


def test_all_fields_survive_the_way_to_the_file_and_back(tmp_path):
    path = tmp_path / "new" / "fleet.toml"
    device = Device("pi.lan", "pi@[fe80::1]:22", "fe80::1", 1, "0" * 32, "SHA256:x", "user", drained=True)
    plain = Device("plain", "plain", "10.0.0.1")
    with editing(path, create=True) as fleet:
        fleet.add(device)
        fleet.add(plain)
    loaded = load(path)
    assert re.fullmatch("[0-9a-f]{16}", loaded.id)
    assert tuple(replace(each, line=0) for each in loaded.devices) == (device, plain)
    assert [each.name for each in path.parent.iterdir()] == ["fleet.toml"]
    text = path.read_text()
    assert text.startswith("# The devices of this fleet.")
    with editing(path) as fleet:
        fleet.remove("pi.lan")
        fleet.remove("plain")
    assert path.read_text() == text[: text.index("\n[devices.")]


def test_nothing_is_written_if_the_block_raises_or_changes_nothing(path, tmp_path):
    with pytest.raises(ZeroDivisionError), editing(path) as fleet:  # noqa: PT012 - it is the block that fails
        fleet.remove("one")
        _ = 1 / 0
    inode = path.stat().st_ino
    with editing(path):
        pass
    assert (path.read_text(), path.stat().st_ino) == (BEFORE, inode)
    with editing(tmp_path / "other.toml", create=True):
        pass
    assert not (tmp_path / "other.toml").exists()


@pytest.mark.parametrize(
    ("device", "error"),
    [
        (Device("one", "x", "10.1.1.1"), DeviceExistsError),
        (Device("four", "three", "10.1.1.1"), DuplicateDeviceError),
        (Device("four", "x", "10.0.0.1"), DuplicateDeviceError),
        (Device("Four", "x", "10.1.1.1"), BadNameError),
        (Device("four", "pi@", "10.1.1.1"), BadTargetError),
        (Device("four", "x", "::"), BadAddressError),
    ],
)
def test_what_cannot_be_read_again_is_not_added(path, device, error):
    with pytest.raises(error), editing(path) as fleet:
        fleet.add(device)
    assert path.read_text() == BEFORE


def test_what_cannot_be_read_again_is_not_updated(path):
    with pytest.raises(DuplicateDeviceError), editing(path) as fleet:
        fleet.update("one", ssh="three")
    with pytest.raises(BadFleetFileError, match="unknown key"), editing(path) as fleet:
        fleet.update("one", colour="red")
    with pytest.raises(UnknownDeviceError), editing(path) as fleet:
        fleet.update("five", port=1)
    with pytest.raises(UnknownDeviceError), editing(path) as fleet:
        fleet.remove("five")
    assert path.read_text() == BEFORE


def test_a_fleet_that_is_absent_is_begun_only_on_request(tmp_path):
    with pytest.raises(NoFleetError), editing(tmp_path / "none.toml"):
        pass
    with pytest.raises(NoFleetError), editing(tmp_path / "none" / "none.toml"):
        pass
    first, second = create(tmp_path / "a.toml"), create(tmp_path / "b.toml")
    assert first.id != second.id
    assert load(tmp_path / "a.toml") == first
    with pytest.raises(BadFleetFileError, match="it exists already"):
        create(tmp_path / "a.toml")


def test_a_symbolic_link_stays_one(path, tmp_path):
    link = tmp_path / "elsewhere" / "fleet.toml"
    link.parent.mkdir()
    link.symlink_to(path)
    with editing(link) as fleet:
        fleet.remove("one")
    assert link.is_symlink()
    assert path.read_text() == WITHOUT_ONE


def add_many(path, letter, count):
    for number in range(count):
        with editing(path, create=True) as fleet:
            fleet.add(Device(f"{letter}-{number}", f"{letter}-{number}", f"{letter}-{number}.lan"))


def test_edits_of_several_processes_do_not_lose_each_other(tmp_path):
    path = tmp_path / "fleet.toml"
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pool.starmap(add_many, [(path, "a", 12), (path, "b", 12)])
    names = {device.name for device in load(path).devices}
    assert names == {f"{letter}-{number}" for letter in "ab" for number in range(12)}


FORMS = {
    "tables": '[devices.a]\nssh="x"\n[devices.b]\nssh="y"\n',
    "tables in another order": '[devices.b]\nssh="y"\n[other]\nz=1\n[devices.a]\nssh="x"\n',
    "inline": 'devices = { a = {ssh="x"}, b = {ssh="y"} } # both\n',
    "inline in a table": '[devices]\na = {ssh="x"}\nb = {ssh="y"}\n',
    "dotted": 'devices.a.ssh="x"\ndevices.b.ssh="y"\n',
    "dotted in a table": '[devices]\na.ssh="x"\nb.ssh="y"',
    "quoted": '["devices"]\n[devices."a"]\n"ssh"="x"\n[devices.\'b\']\nssh="y"\n',
    "many lines": '[devices.a]\nssh="""\\\n  x"""\nmore=[\n 1, # one\n\n 2]\n[devices.b]\nssh="y"\n',
    "no end of line": '[devices.b]\nssh="y"\n[devices.a]\nssh="x"',
    "carriage returns": '[devices.a]\r\nssh="x"\r\n\r\n[devices.b]\r\nssh="y"\r\n',
    "sub-tables": '[devices.a]\nssh="x"\n[devices.a.more]\nz=1\n[devices.b]\nssh="y"\n',
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_every_form_of_table_can_be_edited(text):
    whole = tomllib.loads(text)
    a, others = whole["devices"]["a"], {key: each for key, each in whole.items() if key != "devices"}

    def said(edited):
        tree = tomllib.loads(edited)
        assert {key: each for key, each in tree.items() if key != "devices"} == others
        return tree.get("devices", {})

    b = {"ssh": "y"}
    assert said(without_table(text, ("devices", "a"))) == {"b": b}
    assert said(without_table(without_table(text, ("devices", "a")), ("devices", "b"))) == {}
    assert said(with_table(text, ("devices", "c.d"), {"ssh": "z", "port": 3})) == {
        "a": a,
        "b": b,
        "c.d": {"ssh": "z", "port": 3},
    }
    assert said(with_value(text, ("devices", "a", "ssh"), 'n"ew')) == {"a": a | {"ssh": 'n"ew'}, "b": b}
    assert said(with_value(text, ("devices", "a", "port"), 7)) == {"a": a | {"port": 7}, "b": b}
    assert said(with_value(text, ("devices", "b", "drained"), True)) == {"a": a, "b": b | {"drained": True}}
    dropped = said(with_value(text, ("devices", "a", "ssh"), None))
    assert dropped.get("a", {}) == {k: v for k, v in a.items() if k != "ssh"}


def test_lines_are_those_of_headers_and_first_mentions():
    text = 'id = "x"\n\n[devices.a]\nmore = """\n[devices.b]\n"""\n# [devices.c]\n[devices.d]\nx.y = 1\nz = {w = 2}\n'
    assert line_numbers(text) == {
        ("id",): 1, ("devices",): 3, ("devices", "a"): 3, ("devices", "a", "more"): 4, ("devices", "d"): 8,
        ("devices", "d", "x"): 9, ("devices", "d", "x", "y"): 9, ("devices", "d", "z"): 10,
        ("devices", "d", "z", "w"): 10,
    }  # fmt: skip
