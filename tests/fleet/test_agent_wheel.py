"""The agent's wheel: the same as the build backend's, byte for byte the same every time, and installable."""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import os
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import parse_wheel_filename

import cocoi_agent
from cocoi_cli.fleet import agent_wheel as module
from cocoi_cli.fleet.agent_wheel import agent_wheel
from tests.packaging.environments import Environment, build_wheel, link_packages

INFO = f"cocoi_agent-{cocoi_agent.__version__}.dist-info"


def contents(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def scripts(text: bytes) -> dict[str, str]:
    parser = ConfigParser()
    parser.read_string(text.decode())
    return dict(parser["console_scripts"])


def facts(text: bytes) -> dict[str, list[str]]:
    """The fields that installers read."""
    message = email.message_from_bytes(text)
    names = ("Name", "Version", "Summary", "License-Expression", "Requires-Python")
    needed = sorted(str(Requirement(line)) for line in message.get_all("Requires-Dist"))
    return {**{name: message.get_all(name) for name in names}, "Requires-Dist": needed}


def test_states_what_the_project_file_of_the_agent_states(repository: Path) -> None:
    project = tomllib.loads((repository / "agent/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == module.DISTRIBUTION
    assert project["description"] == module.SUMMARY
    assert project["license"] == module.LICENSE
    assert project["requires-python"] == module.REQUIRES_PYTHON
    assert tuple(project["dependencies"]) == module.REQUIRES
    assert project["scripts"] == module.SCRIPTS


def test_holds_every_source_of_the_imported_package_and_nothing_else() -> None:
    package = Path(cocoi_agent.__file__).parent
    sources = {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    inside = contents(agent_wheel().data)
    assert {name: data for name, data in inside.items() if not name.startswith(INFO)} == sources
    assert {name for name in inside if name.startswith(INFO)} == {
        f"{INFO}/{name}" for name in ("METADATA", "WHEEL", "entry_points.txt", "RECORD")
    }


def test_is_named_and_recorded_as_installers_expect() -> None:
    wheel = agent_wheel()
    name, version, _, tags = parse_wheel_filename(wheel.name)
    assert (name, str(version), {str(tag) for tag in tags}) == (
        "cocoi-agent",
        cocoi_agent.__version__,
        {"py3-none-any"},
    )
    assert wheel.sha256 == hashlib.sha256(wheel.data).hexdigest()
    inside = contents(wheel.data)
    rows = {row[0]: row[1:] for row in csv.reader(inside[f"{INFO}/RECORD"].decode().splitlines())}
    assert rows.pop(f"{INFO}/RECORD") == ["", ""]
    assert set(rows) == set(inside) - {f"{INFO}/RECORD"}
    for name, (digest, size) in rows.items():
        plain = base64.urlsafe_b64encode(hashlib.sha256(inside[name]).digest()).decode().rstrip("=")
        assert (digest, int(size)) == (f"sha256={plain}", len(inside[name]))


def test_gives_the_same_bytes_wherever_and_whenever_it_is_made(repository: Path, tmp_path: Path) -> None:
    """Another process, another folder, other dates and modes of the files, another mask, zone and hash seed."""
    copy = tmp_path / "elsewhere" / "cocoi_agent"
    package = Path(cocoi_agent.__file__).parent
    for number, path in enumerate(sorted(package.rglob("*"), reverse=True)):
        if path.suffix in {".py", ".typed"}:
            target = copy / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            target.chmod(0o755 if number % 2 else 0o600)
            os.utime(target, (number, number * 86400 * 365))
    (copy / "__pycache__").mkdir()
    (copy / "__pycache__/worker.cpython-311.pyc").write_bytes(b"x")
    (copy / "worker.py~").write_bytes(b"x")
    code = (
        "import os; os.umask(0o077); from cocoi_cli.fleet.agent_wheel import agent_wheel; print(agent_wheel().sha256)"
    )
    made = subprocess.run(
        [sys.executable, "-B", "-P", "-c", code],
        env={"PYTHONPATH": f"{copy.parent}:{repository}", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip() == agent_wheel().sha256


def test_a_changed_source_is_another_wheel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "cocoi_agent").mkdir()
    source = tmp_path / "cocoi_agent/__init__.py"
    monkeypatch.setattr(cocoi_agent, "__file__", str(source))
    hashes = set()
    for text in ("a = 1\n", "a = 2\n"):
        source.write_text(text, encoding="utf-8")
        hashes.add(agent_wheel().sha256)
    assert len(hashes) == 2


@pytest.mark.slow
def test_equals_what_the_build_backend_makes(repository: Path, tmp_path: Path) -> None:
    built = build_wheel(repository / "agent", tmp_path)
    ours, theirs = contents(agent_wheel().data), contents(built.read_bytes())
    assert built.name == agent_wheel().name
    assert set(ours) == set(theirs)
    for name, data in theirs.items():
        if not name.startswith(INFO):
            assert ours[name] == data, name
    assert scripts(ours[f"{INFO}/entry_points.txt"]) == scripts(theirs[f"{INFO}/entry_points.txt"])
    assert facts(ours[f"{INFO}/METADATA"]) == facts(theirs[f"{INFO}/METADATA"])


@pytest.mark.slow
def test_is_installed_by_pip_with_its_hash_and_starts(tmp_path: Path) -> None:
    wheel = agent_wheel()
    (tmp_path / wheel.name).write_bytes(wheel.data)
    (tmp_path / "requirements.txt").write_text(
        f"cocoi-agent=={cocoi_agent.__version__} --hash=sha256:{wheel.sha256}\n", encoding="utf-8"
    )
    link_packages(list(module.REQUIRES), tmp_path / "packages")
    environment = Environment(tmp_path / "venv", visible=tmp_path / "packages")
    environment.install(
        "--require-hashes", "--find-links", str(tmp_path), "--requirement", str(tmp_path / "requirements.txt")
    )
    assert "cocoi-agent" in environment.run(str(environment.folder / "bin" / "cocoi-agent"), "--help")
    assert (environment.packages / "cocoi_agent" / "worker.py").read_bytes() == (
        Path(cocoi_agent.__file__).parent / "worker.py"
    ).read_bytes()
