from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
import zipfile

import pytest

from cocoi_cli.fleet import scripts, throwaway
from cocoi_cli.fleet.errors import ScriptFailedError
from cocoi_cli.fleet.ondevice import scratch
from cocoi_cli.fleet.ondevice.common import Failure
from cocoi_cli.fleet.targets import Target
from cocoi_cli.fleet.wheelhouse import WheelFile, Wheelhouse
from tests.fleet.ssh_server import fake_device

# Stands in for pip: unpacks the wheels that it is given.
PIP = """\
import sys, zipfile, site
target = next(path for path in sys.path if path.endswith("site-packages"))
for name in sys.argv:
    if name.endswith(".whl"):
        zipfile.ZipFile(name).extractall(target)
"""
MODULE = "import sys\nplace = sys.prefix\n"
# Stands in for the measurement: tells where it runs and what it was sent.
BODY = """\
import json, sys, speedy
print(json.dumps({"progress": "measuring"}))
print("a library that talks")
text = sys.stdin.read()
print(json.dumps(%s))
"""


def wheel(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return data.getvalue()


WHEELS = {
    "speedy-1-py3-none-any.whl": wheel({"speedy.py": MODULE}),
    "pip-1-py3-none-any.whl": wheel({"pip/__main__.py": PIP}),
}


@pytest.fixture
def places(monkeypatch, tmp_path):
    folders = [tmp_path / "disk", tmp_path / "memory"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(scratch, "PLACES", tuple(map(str, folders)))
    monkeypatch.setattr("signal.signal", lambda *_: None)  # this process keeps its own
    return folders


def run(reply='{"result": {"place": speedy.place, "text": text}}', *, room=1, spoiled=None, text="hello"):
    listed = [{"name": n, "size": len(d), "sha256": hashlib.sha256(d).hexdigest()} for n, d in WHEELS.items()]
    if spoiled is not None:
        listed[0].update(spoiled)
    request = {"python": sys.executable, "wheels": listed, "command": ["-I", "-c", BODY % reply], "room": room}
    return scratch.main(request, io.BytesIO(b"".join(WHEELS.values()) + text.encode()))


def test_runs_in_an_environment_of_its_own_and_leaves_nothing(places, capsys):
    result = run()
    assert result["text"] == "hello"
    assert result["place"].startswith(str(places[0] / scratch.PREFIX))
    assert [list(folder.iterdir()) for folder in places] == [[], []]
    said = [json.loads(line)["progress"] for line in capsys.readouterr().out.splitlines()]
    assert said == ["receiving wheels", "making a temporary environment", "measuring"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"reply": '{"failure": {"code": "odd", "message": "it is odd", "details": {"x": 1}}}'}, "odd"),
        ({"reply": "1 / 0"}, "no-runtime"),
        ({"reply": "__import__('os').kill(__import__('os').getpid(), 4)"}, "no-runtime"),
        ({"spoiled": {"sha256": "0" * 64}}, "bad-wheel"),
        ({"spoiled": {"size": 1 << 30}}, "bad-wheel"),
        ({"room": 1 << 62}, "disk-full"),
    ],
)
def test_leaves_nothing_when_it_fails(places, changes, code):
    with pytest.raises(Failure) as caught:
        run(**changes)
    assert caught.value.code == code
    assert [list(folder.iterdir()) for folder in places] == [[], []]


def test_a_crash_is_told_by_its_signal(places):
    with pytest.raises(Failure, match="ended by signal 4"):
        run(reply="__import__('os').kill(__import__('os').getpid(), 4)")


def test_what_an_earlier_power_cut_left_is_removed_and_what_is_fresh_is_not(places, monkeypatch):
    for name in ("old", "new"):
        (places[1] / f"{scratch.PREFIX}{name}").mkdir()
    (places[1] / "other").mkdir()
    os.utime(places[1] / f"{scratch.PREFIX}old", (0, 0))
    os.utime(places[1] / "other", (0, 0))
    run()
    assert {path.name for path in places[1].iterdir()} == {f"{scratch.PREFIX}new", "other"}


def test_a_file_name_cannot_lead_out_of_the_folder(places):
    with pytest.raises(Failure):
        run(spoiled={"name": "../../outside.whl", "sha256": "0"})
    assert not (places[0].parent / "outside.whl").exists()


def house(folder):
    files = []
    for name, data in WHEELS.items():
        (folder / name).write_bytes(data)
        files.append(WheelFile(folder / name, name, len(data), hashlib.sha256(data).hexdigest()))
    return Wheelhouse(Target((3, 11), "x86_64", (2, 36)), tuple(files), "")


def test_a_script_runs_on_a_device_in_a_throwaway_environment(tmp_path):
    async def run_there():
        async with fake_device(tmp_path) as pi, pi.connected() as remote:
            source = scripts.pack("facts", {"only": "condition"}, "reading", "hardware", "network", "software")
            return await throwaway.run(remote, sys.executable, house(tmp_path), source, timeout_s=60.0)

    assert "condition" in asyncio.run(run_there())


def test_a_failure_in_it_is_an_error_of_the_device(tmp_path):
    async def run_there():
        async with fake_device(tmp_path) as pi, pi.connected() as remote:
            source = scripts.pack("probe", {"op": "listen", "address": "192.0.2.1", "token": "t", "idle_s": 1})
            await throwaway.run(remote, sys.executable, house(tmp_path), source, timeout_s=60.0)

    with pytest.raises(ScriptFailedError, match="cannot listen") as caught:
        asyncio.run(run_there())
    assert caught.value.details["failure"] == "no-listen"
