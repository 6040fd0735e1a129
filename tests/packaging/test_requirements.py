from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

if TYPE_CHECKING:
    from pathlib import Path


def declared(file: Path) -> dict[str, str]:
    """Name to version specifier of an `.in` file."""
    lines = [line.split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    found = [Requirement(line) for line in lines if line and not line.startswith("-")]
    return {requirement.name: str(requirement.specifier) for requirement in found}


def pinned(file: Path) -> dict[str, list[str]]:
    """Name to version and hashes of a lock."""
    text = file.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return {line[0].split("==")[0]: [line[0].split("==")[1], *line[1:]] for line in lines}


def test_what_runs_is_what_the_project_declares(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = [Requirement(line) for line in project["dependencies"]]
    assert declared(repository / "requirements/run.in") == {each.name: str(each.specifier) for each in stated}


@pytest.mark.parametrize("name", ["run", "build", "dev"])
def test_a_lock_pins_what_is_asked_for_with_hashes_and_names_no_index(repository: Path, name: str) -> None:
    lock = repository / "requirements" / f"{name}.txt"
    versions = pinned(lock)
    for wanted, specifier in declared(lock.with_suffix(".in")).items():
        version, *hashes = versions[wanted]
        assert Requirement(f"{wanted}{specifier}").specifier.contains(version), wanted
        assert hashes
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), wanted
    assert not re.search(r"://|--index|--find-links|--trusted", lock.read_text(encoding="utf-8"))


def test_the_locks_agree_with_each_other(repository: Path) -> None:
    dev = pinned(repository / "requirements/dev.txt")
    for name in ("run", "build"):
        for package, entry in pinned(repository / "requirements" / f"{name}.txt").items():
            assert dev[package] == entry, package
