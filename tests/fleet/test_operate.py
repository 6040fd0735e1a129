"""What is done to installed agents, on devices in memory."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cocoi_cli.fleet import keys, operate, rotation
from cocoi_cli.fleet.access import Access
from cocoi_cli.fleet.errors import UnreachableError
from cocoi_cli.fleet.health import Health
from cocoi_cli.fleet.operate import NoPreviousError, Operation
from cocoi_cli.fleet.records import Device, Inventory
from cocoi_cli.fleet.serving import NotInstalledError
from tests.fleet.fake_install import FakeInstall, FakeRemote, Record

PI = Device("pi", "pi@127.0.0.1", "127.0.0.1")
HEALTHY = Health("pi", "0.1.0", "1.31.1", {}, 0.1, 0.001, 0.001)


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inventory:
    """Three devices, with keys in a folder of the test; agents always serve."""

    async def serving(*_: object, **__: object) -> Health:
        return HEALTHY

    monkeypatch.setattr(operate, "serving", serving)
    monkeypatch.setattr(rotation, "serving", serving)
    monkeypatch.setenv("COCOI_DATA", str(tmp_path))
    devices = tuple(Device(f"pi-{n}", f"pi@127.0.0.{n}", "127.0.0.1", port=50000 + n) for n in (1, 2, 3))
    return Inventory(tmp_path / "fleet.toml", "f" * 16, "tls", devices)


def installed(current: str = "new", previous: str | None = "old") -> FakeInstall:
    complete = {version for version in (current, previous) if version}
    return FakeInstall(
        current=current, previous=previous, config="0", active=True, complete=complete, confirmed=set(complete)
    )


def do(inventory: Inventory, what: str, install: FakeInstall, device: Device = PI):
    operation = Operation(inventory, Record(), at_once=1)
    return asyncio.run(getattr(operation, what)(FakeRemote(device, install), device))


def test_restart(inventory: Inventory):
    install = installed()
    assert do(inventory, "restart", install).version == "new"
    assert install.asked == ["inspect", "restart"]


def test_restart_and_rollback_of_nothing(inventory: Inventory):
    for what in ("restart", "rollback"):
        with pytest.raises(NotInstalledError):
            do(inventory, what, FakeInstall())


def test_rollback_and_back_again(inventory: Inventory):
    install = installed()
    there = do(inventory, "rollback", install)
    assert (there.version, there.before, install.current) == ("old", "new", "old")
    assert do(inventory, "rollback", install).version == "new"


def test_there_may_be_no_version_before(inventory: Inventory):
    with pytest.raises(NoPreviousError):
        do(inventory, "rollback", installed(previous=None))


def test_uninstall_twice(inventory: Inventory):
    install = installed()
    keys.ensure_agent_identity(inventory, PI)
    assert "/opt/cocoi" in do(inventory, "uninstall", install)
    assert keys.agent_certificate(inventory, PI) is None
    assert do(inventory, "uninstall", install) == ()
    # Both kinds of install are looked for, each time; nothing is removed where nothing is.
    assert install.asked == ["inspect", "remove", "inspect", "inspect", "inspect"]


def test_a_user_install_is_taken_off_without_asking_for_root(inventory: Inventory):
    device = Device("pi", "pi@127.0.0.1", "127.0.0.1", install="user")
    install = installed()
    do(inventory, "uninstall", install, device)
    assert install.asked == ["inspect", "remove"]


# --- new certificates


class Fleet:
    """Devices that `each` reaches, or not."""

    def __init__(self, inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
        self.installs = {device.name: installed() for device in inventory.devices}
        self.gone: set[str] = set()
        self.inventory = inventory
        monkeypatch.setattr(rotation, "each", self.each)
        for device in inventory.devices:
            keys.ensure_agent_identity(inventory, device)
        keys.ensure_host_identity(inventory)

    async def each(self, devices, access, work):
        results = {}
        for device in devices:
            if device.name in self.gone:
                results[device.name] = UnreachableError(device.name, "connect", "no route to host")
            else:
                await work(FakeRemote(device, self.installs[device.name]), device)
                results[device.name] = None
        return results

    def rotate(self, *, go_on: bool = True):
        devices = self.inventory.devices
        return asyncio.run(rotation.rotate(self.inventory, devices, Access(), Record(), lambda _: go_on))

    def host(self) -> str:
        identity = keys.host_identity(self.inventory)
        assert identity is not None
        return identity.certificate.read_text()

    def admits(self, name: str) -> str:
        install = self.installs[name]
        return install.configs[install.config or ""]["hosts.crt"]


def test_a_rotation_ends_with_agents_that_admit_the_new_host_only(inventory, monkeypatch):
    fleet = Fleet(inventory, monkeypatch)
    before = fleet.host()
    assert fleet.rotate() == {"pi-1": None, "pi-2": None, "pi-3": None}
    assert fleet.host() != before
    for device in inventory.devices:
        assert fleet.admits(device.name) == fleet.host()
        install = fleet.installs[device.name]
        pinned = keys.agent_certificate(inventory, device)
        assert pinned is not None
        assert pinned.read_text() == install.configs[install.config or ""]["agent.crt"]


def test_while_a_device_is_missing_the_old_certificates_stay_valid(inventory, monkeypatch):
    fleet = Fleet(inventory, monkeypatch)
    before = fleet.host()
    fleet.gone = {"pi-2"}
    outcome = fleet.rotate(go_on=False)
    assert isinstance(outcome["pi-2"], UnreachableError)
    assert fleet.host() == before
    for name in ("pi-1", "pi-3"):
        assert fleet.admits(name).startswith(before)
        assert fleet.admits(name).count("BEGIN CERTIFICATE") == 2


def test_a_rotation_goes_on_where_another_was_cut_off(inventory, monkeypatch):
    fleet = Fleet(inventory, monkeypatch)
    fleet.gone = {"pi-2"}
    fleet.rotate(go_on=False)
    successor = keys.next_host_identity(inventory)
    assert successor is not None
    expected = successor.certificate.read_text()
    fleet.gone = set()
    fleet.rotate()
    assert fleet.host() == expected
    assert fleet.admits("pi-2") == expected


def test_a_rotation_without_a_stolen_device_leaves_it_behind(inventory, monkeypatch):
    fleet = Fleet(inventory, monkeypatch)
    fleet.gone = {"pi-2"}
    outcome = fleet.rotate()
    assert outcome["pi-1"] is None
    assert isinstance(outcome["pi-2"], UnreachableError)
    assert fleet.admits("pi-1") == fleet.host()
