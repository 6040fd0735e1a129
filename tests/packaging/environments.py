"""Throw-away environments that reuse what is installed here, so that no test downloads anything."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


class Environment:
    """A fresh virtual environment without pip.

    Args:
        folder: Where to make it.
        visible: A folder of packages that it may import beside its own.
    """

    def __init__(self, folder: Path, visible: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
        self.packages = Path(paths["purelib"])
        # A plain line in a .pth file: the .pth files in that folder (our own editable install) stay unread.
        (self.packages / "visible.pth").write_text(f"{visible}\n", encoding="utf-8")

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """Run its interpreter, alone: no variable of ours, no folder of ours. Returns what it prints."""
        done = subprocess.run(
            [str(self.folder / "bin" / "python"), *arguments],
            cwd=cwd or self.folder,
            env={"PATH": str(self.folder / "bin"), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self, *what: str) -> None:
        """`pip install` without dependencies, index and build environment."""
        run_here(
            "-m", "pip", "--python", str(self.folder / "bin" / "python"), "--disable-pip-version-check",
            "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", *what,
        )  # fmt: skip


def run_here(*arguments: str) -> str:
    """Run this very interpreter; returns what it prints."""
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of `project` with the backend installed here."""
    run_here("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(project))
    (wheel,) = folder.glob("*.whl")
    return wheel


def link_packages(requirements: list[str], folder: Path) -> None:
    """Link the packages that `requirements` need, and what those need, and nothing else, into `folder`."""
    folder.mkdir()
    waiting = [Requirement(line) for line in requirements]
    done: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in done or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        done.add(name)
        found = metadata.distribution(name)
        waiting += [Requirement(line) for line in found.requires or ()]
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():  # namespace packages have several owners
                link.symlink_to(Path(str(found.locate_file(top))))
