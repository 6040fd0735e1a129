"""Rules on the source tree that no linter holds."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = {"cocoi_cli": REPOSITORY / "cocoi_cli", "cocoi_agent": REPOSITORY / "agent" / "cocoi_agent"}
LAZY = REPOSITORY / "cocoi_cli" / "__init__.py"  # the public names, each imported when first used

# Reads module names; for each, forks a child that has imported nothing of ours yet, and prints those
# that fail. What others wrote is imported once, in the parent: it cannot hide a cycle of ours.
IMPORT_EACH = """
import os, sys, traceback, warnings
import asyncio, ssl, numpy, onnx, PIL.Image
warnings.simplefilter("error")
for name in sys.stdin.read().split():
    child = os.fork()
    if child == 0:
        try:
            __import__(name)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(name, flush=True)
"""

# What names a developer's own machine or a package index, assembled so that this file does not hold them.
PRIVATE = re.compile(
    "|".join([r"(?<![\w.])/" + "work/", "/" + "root/", "/opt/" + "pypi", "pypi" + r"\.org", "python" + "hosted"])
)


def modules() -> list[str]:
    names = []
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            if parts[-1] != "__main__":
                names.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def test_each_module_can_be_the_first_that_is_imported() -> None:
    """No import order hides a cycle: every module is imported by an interpreter that has imported nothing."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH],
        input="\n".join(modules()),
        cwd=REPOSITORY,
        env={"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'agent'}", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [], done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_package_files_hold_no_imports(package: str) -> None:
    for path in PACKAGES[package].rglob("__init__.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if is_import(node)]
        assert path == LAZY or not imports, path


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.module != "__future__")


def test_no_tracked_file_names_a_private_machine_or_an_index() -> None:
    found = []
    for name in tracked_files():
        try:
            text = (REPOSITORY / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue  # a picture, a model, or a file that is being removed
        found += [f"{name}: {match.group()}" for match in PRIVATE.finditer(text)]
    assert found == []


def tracked_files() -> list[str]:
    done = subprocess.run(
        ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607 - from PATH, as any git
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("not a git checkout, so nothing says which files are tracked")
    return [name for name in done.stdout.split("\0") if name]
