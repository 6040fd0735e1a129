"""The guard of `.ci/run`: tests on the development data may not be skipped."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SUITE = """
import os, pytest

@pytest.fixture
def shared():
    if "ABSENT" in os.environ:
        pytest.skip("the development data is absent")

@pytest.mark.shared
@pytest.mark.parametrize("name", ["a.png", "b::c"])
def test_uses_it(shared, name): pass

class TestGroup:
    @pytest.mark.shared
    def test_uses_it(self, shared): pass

def test_other(): pass

@pytest.mark.skip(reason="no such platform")
def test_elsewhere(): pass
"""


def judge(
    repository: Path, folder: Path, *, suite: str = SUITE, absent: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run the suite as `.ci/run` does, then the guard over what it wrote."""
    (folder / "tests" / "part").mkdir(parents=True)
    (folder / "tests" / "part" / "test_suite.py").write_text(suite, encoding="utf-8")
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers = shared\naddopts = --import-mode=importlib\n", encoding="utf-8"
    )
    environment = {"ABSENT": "1"} if absent else {}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )

    run("-m", "pytest", "--junitxml=report.xml")
    collected = run("-m", "pytest", "-m", "shared", "--collect-only", "-q")
    (folder / "shared.txt").write_text(collected.stdout, encoding="utf-8")
    return run(str(repository / "tools" / "shared_ran.py"), "report.xml", "shared.txt")


def test_accepts_a_run_of_all_of_them_whatever_else_was_skipped(repository: Path, tmp_path: Path) -> None:
    verdict = judge(repository, tmp_path)
    assert (verdict.returncode, verdict.stdout) == (0, "==> all 3 tests on the development data ran\n"), verdict.stderr


def test_refuses_skipped_ones_and_names_them(repository: Path, tmp_path: Path) -> None:
    verdict = judge(repository, tmp_path, absent=True)
    assert verdict.returncode == 1
    assert "of 3 tests on the development data, 3 did not run" in verdict.stderr
    assert "tests.part.test_suite::test_uses_it[a.png]" in verdict.stderr


def test_refuses_a_suite_without_any(repository: Path, tmp_path: Path) -> None:
    assert judge(repository, tmp_path, suite="def test_other(): pass\n").returncode == 1
