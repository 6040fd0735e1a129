"""Fleet files and keys that are unfit: said in the project's form, and no device is touched."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet_lab.fleet import PICTURE, Fleet
from tests.fleet_lab.host import told
from tests.fleet_lab.lab import FLEET, NET, SPARE
from tests.fleet_lab.waiting import until

SECOND_ADDRESS = f"{NET}.92"


def test_one_device_under_two_addresses_is_a_duplicate(single: Fleet):
    before = single.host.fleet_file.read_bytes()
    single.lab.give(SPARE, SECOND_ADDRESS)
    text = told(single.host.cocoi("fleet", "add", f"pi@{SECOND_ADDRESS}", "--accept-new"), 3)
    assert single.name(SPARE) in text
    told(single.host.cocoi("fleet", "add", single.lab.target(SPARE), "--accept-new"), 3)
    assert single.host.fleet_file.read_bytes() == before


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (2, 'id = "6f1c2a90b3d44e17"\n[devices.a\nssh = "pi@a"\n'),
        (3, 'id = "6f1c2a90b3d44e17"\n[devices.a]\nport = "many"\nssh = "pi@a"\naddress = "a"\n'),
        (4, 'id = "6f1c2a90b3d44e17"\n[devices.a]\nssh = "pi@a"\naddres = "10.0.0.1"\n'),
        (2, 'id = "6f1c2a90b3d44e17"\nsecurity = "some"\n'),
        (5, 'id = "6f1c2a90b3d44e17"\n[devices.a]\nssh = "pi@a"\naddress = "a"\n[devices.a]\nssh = "pi@b"\n'),
        (1, 'id = 7\n'),
        (1, '\x00\x01'),
    ],
)  # fmt: skip
def test_a_malformed_fleet_file_is_named_with_its_line(single: Fleet, tmp_path: Path, line: int, text: str):
    path = tmp_path / "fleet.toml"
    path.write_text(text)
    for command in (["fleet", "list"], ["status"], ["deploy", "--yes"], ["infer", PICTURE]):
        said = told(single.host.cocoi(*command, "--fleet", path), 3)
        assert re.search(rf"{re.escape(str(path))}\W*(:|line )\W*{line}\b", said), said


def test_an_absent_fleet_file(single: Fleet, tmp_path: Path):
    for command in (["status"], ["deploy", "--yes"], ["uninstall", "--yes"], ["infer", PICTURE]):
        told(single.host.cocoi(*command, "--fleet", tmp_path / "none.toml"), 3)


def test_a_device_that_the_fleet_does_not_have(single: Fleet):
    for command in ("deploy", "profile", "restart", "rollback", "logs", "uninstall", "drain"):
        told(single.host.cocoi(command, "nobody"), 2)


@pytest.fixture
def harm(fleet: Fleet, tmp_path: Path) -> Iterator[Callable[[str, str], None]]:
    """Damages a file of the fleet's keys until the test is over; the fleet serves before and after."""
    places: list[Path] = []

    def damage(file: str, how: str) -> None:
        place = fleet.host.data / file
        places.append(place)
        shutil.copy2(place, tmp_path / "kept")
        data = place.read_bytes()
        place.unlink()
        if how == "half":
            place.write_bytes(data[: len(data) // 2])

    processes = [fleet.lab.agent(each) for each in FLEET]
    yield damage
    assert [fleet.lab.agent(each) for each in FLEET] == processes
    for place in places:
        shutil.copy2(tmp_path / "kept", place)
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")


@pytest.mark.parametrize("file", ["host.crt", "host.key"])
@pytest.mark.parametrize("how", ["half", "gone"])
def test_half_a_certificate_of_the_host(fleet: Fleet, harm: Callable[[str, str], None], file: str, how: str):
    harm(file, how)
    for command in (["infer", PICTURE], ["deploy", "--yes"], ["status"], ["rotate", "--yes"]):
        assert file.partition(".")[0] in told(fleet.host.cocoi(*command), 3)


@pytest.mark.parametrize("kind", ["crt", "key"])
@pytest.mark.parametrize("how", ["half", "gone"])
def test_half_a_certificate_of_an_agent(fleet: Fleet, harm: Callable[[str, str], None], kind: str, how: str):
    name = fleet.name(1)
    harm(f"agents/{name}.{kind}", how)
    assert name in told(fleet.host.cocoi("deploy", "--yes"), 3)
    if kind == "crt":
        # The others are not drawn in.
        done = fleet.host.cocoi("infer", PICTURE, "--json").ok()
        assert fleet.used(done.document) <= set(fleet.devices()) - {name}
        assert any(name in warning for warning in done.document["warnings"]), done


def test_the_fleet_file_is_what_it_was(fleet: Fleet):
    assert set(tomllib.loads(fleet.host.fleet_file.read_text())["devices"]) == set(fleet.names(FLEET))
    fleet.deploy()
    # One inference may do without the slowest of them: k answers are enough.
    until(lambda: fleet.used(fleet.right()) == set(fleet.devices()), "every device serves")
