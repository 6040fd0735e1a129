"""The host's calls against the scripts as they run on a device, and a real environment made of wheels."""

from __future__ import annotations

import ast
import asyncio
import base64
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pip
import pytest

from cocoi_cli.fleet import scripts
from cocoi_cli.fleet.installation import VersionPlan, WheelEntry
from cocoi_cli.fleet.installer import HELPERS, SCRIPT, Installer
from cocoi_cli.fleet.records import Device
from tests.fleet.installed_device import AGENT_WHEEL, PIP_WHEEL, UNIT, InstalledDevice, configuration

OLDEST_SYNTAX = (3, 7)


class RefusedError(Exception):
    """What a script tells as a failure."""


class LocalScripts:
    """Runs scripts as `Remote` does, by a process of their own that reads standard input."""

    device = Device("pi", "pi@192.0.2.1", "192.0.2.1")

    def __init__(self) -> None:
        self.as_root: list[bool] = []

    async def script(
        self,
        name: str,
        request: scripts.Tree,
        *helpers: str,
        root: bool = False,
        payload: AsyncIterator[bytes] | Iterable[bytes] = (),
        timeout_s: float = 60.0,
        on_progress: Callable[[str], None] | None = None,
    ) -> scripts.Tree:
        assert not isinstance(payload, AsyncIterator)
        assert timeout_s > 0
        self.as_root.append(root)
        process = await asyncio.create_subprocess_exec(
            sys.executable, *scripts.COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(scripts.pack(name, request, *helpers) + b"".join(payload))
        for line in output.splitlines():
            match scripts.read_line(line):
                case scripts.Progress(text) if on_progress is not None:
                    on_progress(text)
                case scripts.Result(reply):
                    return reply
                case scripts.ScriptFailure(code):
                    raise RefusedError(code)
                case _:
                    pass
        raise AssertionError("the script told nothing")


def entry(name: str, data: bytes) -> WheelEntry:
    return WheelEntry(name, len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize("mode", ["system", "user"])
def test_a_life_of_an_install_through_the_scripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Any) -> None:
    device = InstalledDevice(tmp_path, monkeypatch, mode)
    before = device.listing()
    remote = LocalScripts()
    told: list[str] = []
    installer = Installer(remote, mode, str(device.root), told.append)

    async def live() -> None:
        assert (await installer.inspect()).current is None
        await installer.receive([entry(PIP_WHEEL, b"pip"), entry(AGENT_WHEEL, b"agent")], [b"pip", b"agent"])
        plan = VersionPlan(
            id="1.0-a",
            python=str(device.python),
            requirements="",
            wheels=[PIP_WHEEL, AGENT_WHEEL],
            unit=UNIT,
            online=False,
            manifest={"version": "1.0"},
        )
        assert await installer.stage(plan)
        assert not await installer.stage(plan)
        assert (await installer.try_out("1.0-a"))["ok"]
        config = await installer.configure(configuration())
        assert (await installer.switch("1.0-a", config)).how == "restarted"
        assert (await installer.switch("1.0-a", config)).changed is False
        assert await installer.confirm("1.0-a") == ()
        found = await installer.inspect()
        assert found.has("1.0-a")
        assert (found.unit.active, found.config, found.pending) == ("active", config, False)
        for operate in (installer.restart, installer.reload, installer.stop, installer.start):
            await operate()
        assert await installer.rollback("1.0-other") == "1.0-a"
        with pytest.raises(RefusedError, match="no-previous"):
            await installer.rollback()
        assert await installer.undo() == "1.0-a"
        assert str(device.layout.base) in await installer.remove()
        assert await installer.remove() == ()

    asyncio.run(live())
    assert device.listing() == before
    assert set(remote.as_root) == {mode == "system"}
    assert "making the virtual environment" in told


def test_every_module_that_runs_on_a_device_is_written_in_old_syntax() -> None:
    folder = resources.files(scripts.PACKAGE)
    for name in ("common", *HELPERS, SCRIPT):
        source = folder.joinpath(f"{name}.py").read_text(encoding="utf-8")
        ast.parse(source, feature_version=OLDEST_SYNTAX)
        imported = {node.module for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
        own = {module for module in imported if module and module.startswith("cocoi")}
        assert own <= {scripts.PACKAGE, *(f"{scripts.PACKAGE}.{each}" for each in ("common", *HELPERS))}


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Folders where pip would leave something if it were let."""
    folders = [tmp_path / "home", tmp_path / "temporary"]
    for folder in folders:
        folder.mkdir()
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.invalid/")
    monkeypatch.setenv("TMPDIR", str(folders[1]))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folders
    assert [list(folder.iterdir()) for folder in folders] == [[], []]


def test_a_real_environment_is_made_of_wheels_and_nothing_is_left_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: list[Path]
) -> None:
    device = InstalledDevice(tmp_path, monkeypatch)
    monkeypatch.setenv("HOME", str(places[0]))
    agent = 'import tiny\n\ndef main():\n    print(\'{"ok": true, "tiny": %d}\' % tiny.NUMBER)\n'
    wheels = dict(
        (
            wheel(
                "cocoi_agent", {"cocoi_agent/__init__.py": agent}, "[console_scripts]\ncocoi-agent = cocoi_agent:main\n"
            ),
            wheel("tiny", {"tiny/__init__.py": "NUMBER = 7\n", "tiny/tests/x.py": "", "tiny/bad.py": "old syntax\n"}),
            wheel_of_pip(),
        )
    )
    device.receive(wheels)
    request = {**device.stage_request("1.0-a"), "python": sys.executable, "wheels": list(wheels)}
    wrong = "".join(f"{name}==1 --hash=sha256:{'0' * 64}\n" for name in ("cocoi-agent", "tiny"))
    lines = [(name, wheels[f"{name}-1-py3-none-any.whl"]) for name in ("cocoi_agent", "tiny")]
    right = "".join(f"{name}==1 --hash=sha256:{hashlib.sha256(data).hexdigest()}\n" for name, data in lines)

    with pytest.raises(Exception, match="pip could not install") as caught:
        device.call("stage", **{**request, "requirements": wrong})
    assert "DO NOT MATCH THE HASHES" in str(vars(caught.value)["details"]["output"])
    assert list(device.layout.versions.iterdir()) == []
    assert device.call("stage", **{**request, "requirements": right}) == {"changed": True}

    version = device.layout.versions / "1.0-a"
    done = subprocess.run([version / "bin/cocoi-agent"], capture_output=True, text=True, check=True)
    assert done.stdout == '{"ok": true, "tiny": 7}\n'
    compiled = {path.name.partition(".")[0] for path in version.rglob("__pycache__/*.pyc")}
    assert compiled == {"__init__"}
    assert not (version / ".work").exists()
    assert "pip" not in {path.name for path in version.rglob("*")}


def wheel(name: str, files: dict[str, str], entry_points: str = "") -> tuple[str, bytes]:
    """File name and bytes of a wheel of version 1."""
    folder = f"{name}-1.dist-info"
    texts = {
        **files,
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if entry_points:
        texts[f"{folder}/entry_points.txt"] = entry_points
    rows = [f"{path},sha256={record_hash(text)},{len(text)}\n" for path, text in texts.items()]
    texts[f"{folder}/RECORD"] = "".join(rows) + f"{folder}/RECORD,,\n"
    return f"{name}-1-py3-none-any.whl", zipped(texts)


def record_hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def wheel_of_pip() -> tuple[str, bytes]:
    """The pip of this environment as a wheel that can be run; it is never installed."""
    folder = Path(pip.__file__).parent
    texts: dict[str, str | bytes] = {
        str(path.relative_to(folder.parent)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    return f"pip-{pip.__version__}-py3-none-any.whl", zipped(texts)


def zipped(files: dict[str, Any]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return data.getvalue()


def test_the_umask_of_the_host_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent's user must be able to read what root has put there, whatever root's shell says."""
    device = InstalledDevice(tmp_path, monkeypatch)
    old = os.umask(0o077)
    try:
        device.prepare("1.0-a")
    finally:
        os.umask(old)

    folders = [device.layout.base, device.layout.versions, device.layout.versions / "1.0-a"]
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o755}
    assert (device.layout.versions / "1.0-a/openssl.cnf").stat().st_mode & 0o777 == 0o644
