"""`cocoi profile` and `cocoi doctor` on fake devices, from the fleet file to the exit status."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager

import pytest

from cocoi_cli.commands import doctor_work, profile_work
from cocoi_cli.commands.options import Way
from cocoi_cli.errors import CocoiError
from cocoi_cli.files import OutputNotWritableError
from cocoi_cli.fleet.findings import Finding
from cocoi_cli.fleet.inventory import UnknownDeviceError
from cocoi_cli.planning.profile_file import from_json
from tests.fleet.ssh_server import fake_device

FLEET = 'id = "f1"\n[devices.pi-1]\nssh = "pi@127.0.0.1:{port}"\naddress = "127.0.0.1"\nport = 1\n'
GONE = '[devices.gone]\nssh = "pi@127.0.0.1:1"\naddress = "127.0.0.1"\nport = 2\n'


@contextmanager
def device_in_a_thread(folder):
    """A fake device with an event loop of its own, since a command runs one too."""
    started, stop, found = threading.Event(), asyncio.Event(), []

    async def serve():
        async with fake_device(folder) as pi:
            found.extend([pi, asyncio.get_running_loop()])
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(10)
    try:
        yield found[0]
    finally:
        found[1].call_soon_threadsafe(stop.set)
        thread.join(10)


@pytest.fixture
def pi(tmp_path, monkeypatch):
    with device_in_a_thread(tmp_path) as device:
        (tmp_path / "fleet.toml").write_text(FLEET.format(port=device.port))
        for module in (profile_work, doctor_work):
            monkeypatch.setattr(module, "access", lambda *_, **__: device.access())
        yield device


def way(tmp_path, **changes):
    return Way(fleet=str(tmp_path / "fleet.toml"), **changes)


def profile(tmp_path, *names, output=None, **changes):
    return profile_work.run(names, way(tmp_path, **changes), full=False, rounds=1, output=output)


def add_gone(tmp_path):
    with (tmp_path / "fleet.toml").open("a") as file:
        file.write(GONE)


def test_a_profile_is_written_and_shown(pi, tmp_path, capsys):
    output = tmp_path / "p.json"
    assert profile(tmp_path, output=str(output)) == 0
    written = from_json(output.read_text(), "p.json")
    assert (written.fleet, list(written.devices)) == ("f1", ["pi-1"])
    shown = capsys.readouterr()
    assert shown.out.startswith("device ")
    assert "pi-1: nothing was computed: no agent is installed" in shown.err
    lines = shown.err.splitlines()
    assert lines[:4] == ["pi-1: connect", "pi-1: facts", "pi-1: link", "pi-1: link, round 1 of 1"]
    assert "pi-1: done" not in lines
    assert f"written: {output}" in shown.err


def test_a_device_that_is_gone_costs_only_its_own_row(pi, tmp_path, capsys):
    add_gone(tmp_path)
    assert profile(tmp_path, output=str(tmp_path / "p.json"), json=True) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["devices"]["gone"]["error"] == "ssh-unreachable"
    assert document["devices"]["pi-1"]["link"]["through"] == "direct"
    assert list(from_json((tmp_path / "p.json").read_text(), "p").devices) == ["pi-1"]


def test_without_any_figures_nothing_is_written(pi, tmp_path):
    add_gone(tmp_path)
    assert profile(tmp_path, "gone", output=str(tmp_path / "p.json")) == 4
    assert not (tmp_path / "p.json").exists()


def test_figures_of_other_devices_are_kept_in_the_fleets_own_profile(pi, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COCOI_DATA", str(tmp_path / "data"))
    path = tmp_path / "data" / "f1" / "profile.json"
    add_gone(tmp_path)
    assert profile(tmp_path, "pi-1") == 0
    document = json.loads(path.read_text())
    document["devices"] |= {"gone": document["devices"]["pi-1"], "removed": document["devices"]["pi-1"]}
    path.write_text(json.dumps(document))
    assert profile(tmp_path, "pi-1") == 0
    assert sorted(from_json(path.read_text(), "p").devices) == ["gone", "pi-1"]
    path.write_text("{")
    capsys.readouterr()
    assert profile(tmp_path, "pi-1") == 0
    assert "the profile that was there is replaced" in capsys.readouterr().err
    assert list(from_json(path.read_text(), "p").devices) == ["pi-1"]


def test_an_output_that_cannot_be_is_refused_before_anything_is_measured(pi, tmp_path):
    with pytest.raises(OutputNotWritableError):
        profile(tmp_path, output=str(tmp_path / "absent" / "p.json"))
    assert pi.logins == 0


def test_an_unknown_device_is_refused(pi, tmp_path):
    with pytest.raises(UnknownDeviceError):
        profile(tmp_path, "pi-9")


def test_a_doctor_tells_findings_and_hints(pi, tmp_path, capsys):
    status = doctor_work.run([], way(tmp_path), fix=False)
    shown = capsys.readouterr().out
    assert shown.startswith("pi-1: ")
    assert "no agent is installed" in shown
    assert status in (0, 4)  # what this machine itself lacks decides
    assert not pi.sudo_calls


def test_a_doctors_document_has_every_device(pi, tmp_path, capsys):
    add_gone(tmp_path)
    assert doctor_work.run([], way(tmp_path, json=True), fix=False) == 4
    document = json.loads(capsys.readouterr().out)
    assert document["devices"]["gone"]["error"] == "ssh-unreachable"
    assert "no-agent" in [each["code"] for each in document["devices"]["pi-1"]["findings"]]
    assert document["devices"]["pi-1"]["repaired"] == []


@pytest.fixture
def ill(monkeypatch):
    """Every device has Wi-Fi power save on, and a governor that could be faster."""
    wifi = Finding("wifi-power-save", "warning", "it is on", "safe", {"interface": "wlan0"})
    slow = Finding("slow-governor", "note", "it is slow", "asked", {"governor": "ondemand"})
    monkeypatch.setattr("cocoi_cli.fleet.doctor.findings", lambda *_, **__: (wifi, slow))


@pytest.mark.usefixtures("ill")
def test_repairs_are_not_made_without_a_word(pi, tmp_path):
    with pytest.raises(CocoiError, match="nobody can be asked"):
        doctor_work.run([], way(tmp_path), fix=True)
    assert not pi.sudo_calls


@pytest.mark.usefixtures("ill")
def test_with_yes_only_the_safe_repairs_are_made(pi, tmp_path, capsys):
    iw = pi.folder / "bin" / "iw"
    iw.write_text('#!/bin/sh\necho "$@" > told\n')
    iw.chmod(0o755)
    assert doctor_work.run([], way(tmp_path, yes=True, json=True), fix=True) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["devices"]["pi-1"]["repaired"] == ["wifi-power-save"]
    assert "sudo iw dev wlan0 set power_save off" in shown.err
    assert (pi.home / "told").read_text() == "dev wlan0 set power_save off\n"


@pytest.mark.usefixtures("ill")
def test_a_repair_that_fails_is_told(pi, tmp_path, capsys):
    iw = pi.folder / "bin" / "iw"
    iw.write_text("#!/bin/sh\necho no such device >&2\nexit 19\n")
    iw.chmod(0o755)
    assert doctor_work.run([], way(tmp_path, yes=True, json=True), fix=True) == 4
    document = json.loads(capsys.readouterr().out)["devices"]["pi-1"]
    assert (document["error"], document["repaired"]) == ("command-failed", [])
    assert document["findings"]
