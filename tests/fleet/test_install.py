"""Every operation of the device's side of deploy, on a made-up device with real files."""

from __future__ import annotations

import fcntl
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import pytest

from cocoi_cli.fleet.ondevice.common import Failure
from tests.fleet.installed_device import AGENT_WHEEL, PIP_WHEEL, InstalledDevice, configuration


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The script sets its own."""
    old = os.umask(0o022)
    yield
    os.umask(old)


@pytest.fixture(params=["system", "user"])
def device(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstalledDevice:
    return InstalledDevice(tmp_path, monkeypatch, request.param)


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstalledDevice:
    return InstalledDevice(tmp_path, monkeypatch)


def test_inspecting_a_bare_device_finds_nothing_and_changes_nothing(device: InstalledDevice) -> None:
    before = device.listing()

    found = device.call("inspect")

    assert (found["current"], found["previous"], found["config"], found["pending"]) == (None, None, None, False)
    assert (found["versions"], found["wheels"], found["leftovers"]) == ([], {}, [])
    assert found["unit"]["active"] == "inactive"
    assert device.listing() == before


def test_a_deploy_serves_the_version(device: InstalledDevice) -> None:
    config = device.deploy("1.0-a")

    found = device.call("inspect")
    assert device.serving == "1.0-a"
    assert (found["current"], found["previous"], found["config"]) == ("1.0-a", None, config)
    assert found["versions"] == [{"id": "1.0-a", "complete": True, "confirmed": True}]
    assert set(found["wheels"]) == {AGENT_WHEEL, PIP_WHEEL}
    assert found["unit"]["active"] == "active"
    assert device.layout.unit_link.resolve() == device.layout.versions / "1.0-a/cocoi-agent.service"
    assert device.layout.wants_link.resolve() == device.layout.unit_link.resolve()


def test_a_second_deploy_of_the_same_changes_nothing(device: InstalledDevice) -> None:
    config = device.deploy("1.0-a")
    before = device.listing()
    device.calls()

    assert device.call("stage", **device.stage_request("1.0-a")) == {"changed": False}
    assert device.call("configure", files=configuration()) == {"changed": False, "config": config}
    reply = device.call("switch", id="1.0-a", config=config)
    assert device.call("confirm", id="1.0-a") == {"removed": []}

    assert reply == {"changed": False, "how": "unchanged", "previous": None}
    assert device.listing() == before
    assert device.calls() == []


def test_removal_leaves_the_device_as_it_was(device: InstalledDevice) -> None:
    before = device.listing()
    device.deploy("1.0-a")
    device.deploy("1.0-b")

    removed = device.call("remove")["removed"]

    assert str(device.layout.base) in removed
    assert device.listing() == before
    assert device.serving is None
    assert device.call("remove") == {"removed": []}


def test_removal_keeps_what_others_put_into_folders_that_we_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = InstalledDevice(tmp_path, monkeypatch, "user")
    device.deploy("1.0-a")
    other = device.root / "home/pi/.config/systemd/user/other.service"
    other.write_text("theirs")

    device.call("remove")

    assert other.read_text() == "theirs"
    assert not (device.root / "home/pi/.local").exists()


def test_what_the_manager_made_goes_too(system: InstalledDevice) -> None:
    before = system.listing()
    system.deploy("1.0-a")
    system.root.joinpath("var/lib/private/cocoi/blobs").mkdir(parents=True)
    system.root.joinpath("var/lib/cocoi").symlink_to("private/cocoi")
    system.root.joinpath("run/cocoi-agent").mkdir()

    system.call("remove")

    assert system.listing() == before


@pytest.mark.parametrize("name", ["opt/cocoi", "etc/cocoi", "etc/systemd/system/cocoi-agent.service", "var/lib/cocoi"])
def test_what_is_not_ours_is_neither_used_nor_removed(system: InstalledDevice, name: str) -> None:
    (system.root / name).mkdir()
    before = system.listing()

    with pytest.raises(Failure) as caught:
        system.receive({PIP_WHEEL: b"pip"})

    assert caught.value.code == "not-ours"
    assert system.call("remove") == {"removed": []}
    assert system.listing() == before


def test_a_wheel_with_the_wrong_hash_is_refused_and_not_kept(system: InstalledDevice) -> None:
    with pytest.raises(Failure) as caught:
        system.call("receive", b"evil", files=[{"name": AGENT_WHEEL, "size": 4, "sha256": "0" * 64}])

    assert caught.value.code == "bad-wheel"
    assert system.call("inspect")["wheels"] == {}


@pytest.mark.parametrize("size", [5, 0])
def test_a_wheel_that_ends_early_is_refused(system: InstalledDevice, size: int) -> None:
    with pytest.raises(Failure) as caught:
        system.call("receive", b"evil"[:size], files=[{"name": AGENT_WHEEL, "size": 6, "sha256": "0" * 64}])

    assert caught.value.code == "bad-wheel"
    assert list(system.layout.wheels.iterdir()) == []


@pytest.mark.parametrize("name", ["../x.whl", "a/b.whl", ".x.whl", "x.tar.gz"])
def test_a_name_that_is_no_wheel_is_refused(system: InstalledDevice, name: str) -> None:
    with pytest.raises(Failure) as caught:
        system.call("receive", b"", files=[{"name": name, "size": 0, "sha256": ""}])

    assert caught.value.code == "bad-wheel"


def test_wheels_that_cannot_fit_are_refused_before_they_are_sent(system: InstalledDevice) -> None:
    with pytest.raises(Failure) as caught:
        system.call("receive", b"", files=[{"name": AGENT_WHEEL, "size": 1 << 60, "sha256": ""}])

    assert caught.value.code == "disk-full"


@pytest.mark.parametrize(
    ("fault", "text", "code"),
    [
        ("no-venv", "", "no-venv"),
        ("pip-fails", "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "pip-failed"),
        ("pip-fails", "OSError: [Errno 28] No space left on device", "disk-full"),
    ],
)
def test_a_version_that_cannot_be_made_leaves_nothing_of_itself(
    system: InstalledDevice, fault: str, text: str, code: str
) -> None:
    system.receive({PIP_WHEEL: b"pip", AGENT_WHEEL: b"agent"})
    system.says(fault, text)

    with pytest.raises(Failure) as caught:
        system.call("stage", **system.stage_request("1.0-a"))

    assert caught.value.code == code
    assert text in str(caught.value.details["output"])
    assert list(system.layout.versions.iterdir()) == []
    system.silent(fault)
    assert system.call("stage", **system.stage_request("1.0-a")) == {"changed": True}


def test_an_interpreter_that_is_not_there_makes_no_version(system: InstalledDevice) -> None:
    system.receive({PIP_WHEEL: b"pip", AGENT_WHEEL: b"agent"})

    with pytest.raises(Failure) as caught:
        system.call("stage", **{**system.stage_request("1.0-a"), "python": "/usr/bin/python3.99"})

    assert caught.value.code == "no-venv"


def test_a_version_is_not_made_without_its_wheels(system: InstalledDevice) -> None:
    with pytest.raises(Failure) as caught:
        system.call("stage", **system.stage_request("1.0-a"))

    assert (caught.value.code, caught.value.details["name"]) == ("missing-wheel", PIP_WHEEL)


@pytest.mark.parametrize("ident", ["..", "a/b", "", ".hidden"])
def test_an_unfit_name_of_a_version_is_refused(system: InstalledDevice, ident: str) -> None:
    with pytest.raises(Failure) as caught:
        system.call("try", id=ident)

    assert caught.value.code == "bad-request"


def test_the_trial_tells_what_the_self_test_tells_and_leaves_nothing(device: InstalledDevice) -> None:
    device.prepare("1.0-a")
    before = device.listing()
    device.says("self-test", 'a remark\n{"ok": true, "seconds": 0.1}\n')

    assert device.call("try", id="1.0-a") == {"ok": True, "seconds": 0.1}

    after = device.listing()
    assert {key for key in after if key not in before} <= {"run/user/1000/systemd", "run/user/1000/systemd/user"}
    assert {key: after.get(key) for key in before} == before


@pytest.mark.parametrize(("signal", "expected"), [("4", 4), ("11", 11)])
def test_a_trial_that_dies_tells_the_signal(system: InstalledDevice, signal: str, expected: int) -> None:
    system.prepare("1.0-a")
    system.says("agent-dies", signal)

    with pytest.raises(Failure) as caught:
        system.call("try", id="1.0-a")

    assert caught.value.code == "self-test-failed"
    assert (caught.value.details["signal"], caught.value.details["status"]) == (expected, 0)


@pytest.mark.parametrize("told", ['{"ok": false}', "", "no JSON"])
def test_a_trial_that_does_not_say_ok_fails(system: InstalledDevice, told: str) -> None:
    system.prepare("1.0-a")
    system.says("self-test", told)

    with pytest.raises(Failure) as caught:
        system.call("try", id="1.0-a")

    assert caught.value.code == "self-test-failed"


def test_credentials_are_readable_by_their_owner_alone(device: InstalledDevice) -> None:
    config = device.prepare("1.0-a")

    folder = device.layout.config / config
    assert device.layout.config.stat().st_mode & 0o777 == 0o700
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_an_unknown_file_of_a_configuration_is_refused(system: InstalledDevice) -> None:
    with pytest.raises(Failure) as caught:
        system.call("configure", files={**configuration(), "../x": ""})

    assert caught.value.code == "bad-request"


def test_switching_to_what_is_not_there_is_refused(system: InstalledDevice) -> None:
    config = system.prepare("1.0-a")

    for ident, name, code in (("1.0-x", config, "not-staged"), ("1.0-a", "0" * 16, "not-configured")):
        with pytest.raises(Failure) as caught:
            system.call("switch", id=ident, config=name)
        assert caught.value.code == code
    assert system.serving is None


def test_an_upgrade_keeps_two_versions(device: InstalledDevice) -> None:
    for ident in ("1.0-a", "1.0-b", "1.0-c"):
        device.deploy(ident)

    found = device.call("inspect")
    assert (found["current"], found["previous"], device.serving) == ("1.0-c", "1.0-b", "1.0-c")
    assert [version["id"] for version in found["versions"]] == ["1.0-b", "1.0-c"]


def test_a_version_that_does_not_start_is_taken_back(device: InstalledDevice) -> None:
    old = device.deploy("1.0-a")
    new = device.prepare("1.0-b", port=52601)
    device.says("start-fails", "1.0-b")

    with pytest.raises(Failure) as caught:
        device.call("switch", id="1.0-b", config=new)
    assert caught.value.code == "start-failed"
    assert caught.value.details["output"] == "the end of the journal\n"
    assert device.call("inspect")["pending"]

    assert device.call("rollback", undo=True) == {"current": "1.0-a"}

    found = device.call("inspect")
    assert (found["current"], found["previous"], found["config"]) == ("1.0-a", None, old)
    assert (found["pending"], device.serving) == (False, "1.0-a")
    assert [version["id"] for version in found["versions"]] == ["1.0-a"]
    assert {path.name for path in device.layout.config.iterdir()} == {old, "current"}


def test_a_switch_that_was_reached_is_not_repeated(system: InstalledDevice) -> None:
    config = system.prepare("1.0-a")
    system.call("switch", id="1.0-a", config=config)
    system.calls()

    assert system.call("switch", id="1.0-a", config=config)["how"] == "unchanged"
    assert system.calls() == []


def test_a_first_install_that_does_not_start_leaves_nothing(device: InstalledDevice) -> None:
    before = device.listing()
    config = device.prepare("1.0-a")
    device.says("start-fails", "1.0-a")
    with pytest.raises(Failure):
        device.call("switch", id="1.0-a", config=config)

    assert device.call("rollback", undo=True) == {"current": None}

    assert device.listing() == before
    assert device.call("rollback", undo=True) == {"current": None}


def test_undo_after_a_failed_trial_keeps_what_serves(system: InstalledDevice) -> None:
    system.deploy("1.0-a")
    before = system.listing()
    system.prepare("1.0-b", port=1)
    system.calls()

    assert system.call("rollback", undo=True) == {"current": "1.0-a"}

    assert system.listing() == before
    assert system.calls() == []


def test_two_unconfirmed_switches_are_taken_back_to_what_served(system: InstalledDevice) -> None:
    system.deploy("1.0-a")
    for ident in ("1.0-b", "1.0-c"):
        system.call("switch", id=ident, config=system.prepare(ident))

    assert system.call("inspect")["previous"] == "1.0-a"
    assert system.call("rollback", undo=True) == {"current": "1.0-a"}
    assert system.serving == "1.0-a"


def test_a_rollback_by_hand_may_be_repeated_and_goes_both_ways(device: InstalledDevice) -> None:
    device.deploy("1.0-a")
    config = device.deploy("1.0-b", port=52601)

    for _ in range(2):
        assert device.call("rollback", leave="1.0-b") == {"current": "1.0-a"}
        assert device.serving == "1.0-a"
    found = device.call("inspect")
    assert (found["previous"], found["config"]) == ("1.0-b", config)  # the fleet file still says this port
    assert device.call("rollback", leave="1.0-a") == {"current": "1.0-b"}
    assert device.serving == "1.0-b"


def test_a_rollback_without_a_previous_version_is_refused(system: InstalledDevice) -> None:
    with pytest.raises(Failure) as caught:
        system.call("rollback")
    assert caught.value.code == "not-installed"
    system.deploy("1.0-a")
    with pytest.raises(Failure) as caught:
        system.call("rollback")
    assert caught.value.code == "no-previous"
    assert system.serving == "1.0-a"


def test_new_keys_are_read_without_a_restart(device: InstalledDevice) -> None:
    device.deploy("1.0-a")
    new = device.call("configure", files=configuration(key="newer"))["config"]
    device.calls()

    reply = device.call("switch", id="1.0-a", config=new)

    assert reply["how"] == "reloaded"
    assert "reload cocoi-agent.service" in device.calls()
    removed = device.call("confirm", id="1.0-a")["removed"]
    assert len(removed) == 1  # the old key
    assert {path.name for path in device.layout.config.iterdir()} == {new, "current"}


def test_new_settings_need_a_restart(device: InstalledDevice) -> None:
    device.deploy("1.0-a")
    new = device.call("configure", files=configuration(port=52601))["config"]

    assert device.call("switch", id="1.0-a", config=new)["how"] == "restarted"


def test_a_stopped_agent_is_started_by_the_next_deploy(system: InstalledDevice) -> None:
    config = system.deploy("1.0-a")
    assert system.call("stop") == {"active": False}
    assert system.serving is None

    assert system.call("switch", id="1.0-a", config=config)["how"] == "started"
    assert system.serving == "1.0-a"


def test_confirming_another_version_is_refused(system: InstalledDevice) -> None:
    system.deploy("1.0-a")
    system.prepare("1.0-b")

    with pytest.raises(Failure) as caught:
        system.call("confirm", id="1.0-b")

    assert caught.value.code == "not-current"


@pytest.mark.parametrize("op", ["restart", "reload", "start"])
def test_operating_what_is_not_installed_is_refused(system: InstalledDevice, op: str) -> None:
    with pytest.raises(Failure) as caught:
        system.call(op)

    assert caught.value.code == "not-installed"


def test_avahi_announces_the_agent_where_it_is_installed(system: InstalledDevice) -> None:
    services = system.root / "etc/avahi/services"
    services.mkdir(parents=True)
    before = system.listing()

    system.deploy("1.0-a", port=4711)

    text = (services / "cocoi.service").read_text()
    assert "<port>4711</port>" in text
    assert "<txt-record>id=pi-1</txt-record>" in text
    assert "<txt-record>version=1.0</txt-record>" in text
    system.call("remove")
    assert system.listing() == before


def test_linger_is_asked_for_once_and_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = InstalledDevice(tmp_path, monkeypatch, "user")
    device.deploy("1.0-a")

    assert device.calls().count("loginctl --no-ask-password enable-linger") == 1
    assert device.call("inspect")["linger"]
    device.call("remove")
    assert not device.call("inspect")["linger"]


def test_linger_that_others_enabled_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = InstalledDevice(tmp_path, monkeypatch, "user")
    (device.root / "var/lib/systemd/linger" / pwd.getpwuid(os.getuid()).pw_name).touch()

    device.deploy("1.0-a")
    device.call("remove")

    assert device.call("inspect")["linger"]


def test_a_user_whose_services_end_at_logout_gets_no_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = InstalledDevice(tmp_path, monkeypatch, "user")
    before = device.listing()
    device.says("linger-refused")

    with pytest.raises(Failure) as caught:
        device.receive({PIP_WHEEL: b"pip"})

    assert caught.value.code == "linger-refused"
    device.call("rollback", undo=True)
    assert device.listing() == before


def test_a_second_installer_is_told_that_another_is_at_work(device: InstalledDevice) -> None:
    handle = os.open(device.layout.lock, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(Failure) as caught:
            device.call("remove")
        device.call("inspect")  # looks, all the same
    finally:
        os.close(handle)

    assert caught.value.code == "busy"


def test_an_unknown_operation_is_refused(system: InstalledDevice) -> None:
    with pytest.raises(Failure) as caught:
        system.call("explode")

    assert caught.value.code == "bad-request"


def test_a_device_without_systemd_is_refused(system: InstalledDevice) -> None:
    (system.root / "etc/systemd/system").rmdir()

    with pytest.raises(Failure) as caught:
        system.receive({PIP_WHEEL: b"pip"})

    assert caught.value.code == "no-systemd"
