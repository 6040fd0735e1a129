"""Power cuts: every operation is ended before each of its changes, then repeated.

A child does the operation and ends itself, without any clean-up, at the n-th change of the
file system or start of a command, for every n until it comes through. After each cut the
old version must be whole, and a repetition must end where an undisturbed run ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from cocoi_cli.fleet.ondevice.common import Failure
from tests.fleet.installed_device import AGENT_WHEEL, PIP_WHEEL, InstalledDevice, configuration

_CUT = 99
_CHANGES = frozenset(
    ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "os.truncate", "subprocess.Popen")
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

Work = Callable[[], Any]


@pytest.fixture
def device(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InstalledDevice]:
    old = os.umask(0o022)
    yield InstalledDevice(tmp_path, monkeypatch, getattr(request, "param", "system"))
    os.umask(old)


both_modes = pytest.mark.parametrize("device", ["system", "user"], indirect=True)


def cut_at(number: int, work: Work) -> bool:
    """Do `work` in a child that ends before its `number`-th change; whether it came through."""
    child = os.fork()
    if child == 0:
        _run_until(number, work)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, _CUT)
    return code == 0


def _run_until(number: int, work: Work) -> None:
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
            left -= 1
            if left < 0:
                os._exit(_CUT)

    sys.addaudithook(watch)
    try:
        with suppress(Failure):
            work()
        os._exit(0)
    except BaseException as error:
        os.write(2, repr(error).encode())
        os._exit(1)


def cut_everywhere(device: InstalledDevice, work: Work, check: Callable[[], None] = lambda: None) -> int:
    """Cut `work` at each of its changes; repeated, it must end as if never cut. How many changes there were."""
    device.save()
    work()
    expected, serving = device.listing(), device.serving
    for number in range(500):
        device.restore()
        if cut_at(number, work):
            return number
        check()
        work()
        assert device.listing() == expected, f"cut before change {number}"
        assert device.serving == serving
    raise AssertionError("it never came through")


@both_modes
def test_the_very_first_change(device: InstalledDevice) -> None:
    before = device.listing()

    def check() -> None:
        if device.listing() != before:
            assert device.call("inspect")["leftovers"]

    assert cut_everywhere(device, lambda: device.call("configure", files=configuration()), check) > 5
    device.call("rollback", undo=True)
    assert device.listing() == before


def test_receiving(device: InstalledDevice) -> None:
    assert cut_everywhere(device, lambda: device.receive({PIP_WHEEL: b"pip", AGENT_WHEEL: b"agent"})) > 5


def test_staging_beside_what_serves(device: InstalledDevice) -> None:
    device.deploy("1.0-a")

    def check() -> None:
        assert device.layout.current.resolve().name == device.serving == "1.0-a"

    assert cut_everywhere(device, lambda: device.call("stage", **device.stage_request("1.0-b")), check) > 5


def test_the_trial(device: InstalledDevice) -> None:
    device.prepare("1.0-a")
    device.call("try", id="1.0-a")  # so that the folder of the manager is there

    assert cut_everywhere(device, lambda: device.call("try", id="1.0-a")) > 5


def test_configuring(device: InstalledDevice) -> None:
    device.deploy("1.0-a")

    assert cut_everywhere(device, lambda: device.call("configure", files=configuration(key="newer"))) > 5


@both_modes
def test_the_first_switch(device: InstalledDevice) -> None:
    config = device.prepare("1.0-a")

    assert cut_everywhere(device, lambda: device.call("switch", id="1.0-a", config=config)) > 5


def test_the_switch_of_an_upgrade(device: InstalledDevice) -> None:
    device.deploy("1.0-a")
    config = device.prepare("1.0-b", port=52601)

    def check() -> None:
        current = device.layout.current.resolve()
        assert (current / ".complete").exists()
        assert device.serving in ("1.0-a", "1.0-b")
        if device.serving == "1.0-b":
            assert current.name == "1.0-b"

    assert cut_everywhere(device, lambda: device.call("switch", id="1.0-b", config=config), check) > 5


def test_a_switch_that_was_cut_can_be_taken_back(device: InstalledDevice) -> None:
    device.deploy("1.0-a")
    before = device.listing()
    config = device.prepare("1.0-b", port=52601)

    def work() -> None:
        device.call("switch", id="1.0-b", config=config)

    device.save()
    for number in range(500):
        device.restore()
        if cut_at(number, work):
            return
        assert device.call("rollback", undo=True) == {"current": "1.0-a"}
        assert device.listing() == before
        assert device.serving == "1.0-a"


def test_confirming(device: InstalledDevice) -> None:
    for ident in ("1.0-a", "1.0-b"):
        device.deploy(ident)
    device.call("switch", id="1.0-c", config=device.prepare("1.0-c", port=52601))

    def check() -> None:
        assert device.layout.current.resolve().name == device.serving == "1.0-c"

    assert cut_everywhere(device, lambda: device.call("confirm", id="1.0-c"), check) > 5


def test_going_back_by_hand(device: InstalledDevice) -> None:
    for ident in ("1.0-a", "1.0-b"):
        device.deploy(ident)

    def check() -> None:
        assert (device.layout.current.resolve() / ".complete").exists()

    assert cut_everywhere(device, lambda: device.call("rollback", leave="1.0-b"), check) > 5
    assert device.serving == "1.0-a"


def test_taking_back(device: InstalledDevice) -> None:
    device.deploy("1.0-a")
    device.call("switch", id="1.0-b", config=device.prepare("1.0-b", port=52601))

    assert cut_everywhere(device, lambda: device.call("rollback", undo=True)) > 5


@both_modes
def test_removal(device: InstalledDevice) -> None:
    before = device.listing()
    for ident in ("1.0-a", "1.0-b"):
        device.deploy(ident)

    def check() -> None:
        if device.listing() != before:  # whoever looks sees that there is something left to remove
            assert device.call("inspect")["leftovers"]

    assert cut_everywhere(device, lambda: device.call("remove"), check) > 5
    assert device.listing() == before
