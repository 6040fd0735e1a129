"""Making a virtual environment out of wheels, so that not a byte lands outside its folder."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from cocoi_cli.fleet.ondevice import disk
from cocoi_cli.fleet.ondevice.common import Failure, progress

if TYPE_CHECKING:
    from pathlib import Path

AGENT = "cocoi-agent"

_WORK = ".work"
# Parts of packages that an agent never imports; three quarters of the time to compile would be theirs.
_NOT_COMPILED = r"/(tests|testing|f2py|transformers|tools|quantization)/"
_TAIL = 2000
_FULL = ("No space left on device", "Disk quota exceeded")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy")

# Everybody's settings are kept out.
_PIP = (
    "install",
    "--no-cache-dir",
    "--no-input",
    "--no-warn-script-location",
    "--disable-pip-version-check",
    "--root-user-action=ignore",
    "--progress-bar=off",
    "--quiet",
    "--no-compile",
    "--no-deps",
    "--require-hashes",
    "--only-binary=:all:",
)


def make(folder: Path, python: str) -> None:
    """Make an environment in `folder`, which exists; pip is not in it.

    Raises:
        Failure: `no-venv`, `disk-full`.
    """
    _tell("making the virtual environment")
    # The file itself, not a link such as `python3` that a system upgrade points elsewhere.
    command = [os.path.realpath(python), "-I", "-B", "-m", "venv", "--without-pip", str(folder)]
    status, text = _run(command, folder)
    if status:
        raise _failure("no-venv", f"`{python}` makes no virtual environment", text, python=python)


def install(folder: Path, wheels: Path, names: list[str], requirements: Path, *, online: bool) -> None:
    """Install wheels into an environment by the pip among them.

    Args:
        folder: The environment.
        wheels: Folder of wheels.
        names: Those of this environment, pip's among them.
        requirements: File of exact versions with hashes.
        online: Whether what is not in `wheels` may be fetched by the device itself.

    Raises:
        Failure: `missing-wheel`, `pip-failed`, `disk-full`.
    """
    carried = [name for name in names if name.startswith("pip-")]
    if not carried:
        raise Failure("missing-wheel", "no wheel of pip was named", name="pip")
    _tell("fetching and installing packages" if online else f"installing {len(names) - 1} wheels")
    command = [str(folder / "bin/python"), "-B", str(wheels / carried[0] / "pip"), *_PIP]
    # Online, the device's own settings say which index and mirror; the hashes hold either way.
    command += [*([] if online else ["--isolated", "--no-index"]), "--find-links", str(wheels)]
    command += ["--requirement", str(requirements)]
    status, text = _run(command, folder, online=online)
    if status:
        raise _failure("pip-failed", "pip could not install the wheels", text, status=status)
    if not (folder / "bin" / AGENT).is_file():
        raise Failure("pip-failed", f"the wheels hold no `{AGENT}`", output="", status=0)


def compile_modules(folder: Path) -> None:
    """Compile what the agent imports: its user may not write here, and would compile at every start.

    What does not compile is of no version of this Python, and nothing imports it.

    Raises:
        Failure: `disk-full`.
    """
    _tell("compiling modules")
    command = [str(folder / "bin/python"), "-I", "-m", "compileall", "-q", "-x", _NOT_COMPILED, str(folder / "lib")]
    _, text = _run(command, folder)
    if any(words in text for words in _FULL):
        raise _failure("disk-full", "the modules could not be compiled", text)


def settle(folder: Path) -> None:
    """Drop what was only needed for the making, and have the rest on the disk."""
    disk.remove_now(folder / _WORK)
    os.sync()


def _tell(text: str) -> None:
    # Without a host the work is worth finishing all the same: the next one finds it done.
    with contextlib.suppress(BrokenPipeError):
        progress(text)


def _run(command: list[str], folder: Path, *, online: bool = False) -> tuple[int, str]:
    work = folder / _WORK
    work.mkdir(exist_ok=True)
    try:
        done = subprocess.run(  # noqa: S603 - the host names the interpreter, and its user could run it anyway
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=str(work),
            env=_environment(work, online=online),
            check=False,
            close_fds=False,  # the installers' lock is held until this command has ended too
        )
    except FileNotFoundError:
        raise Failure("no-venv", f"the device has no `{command[0]}`", python=command[0], output="") from None
    return done.returncode, done.stdout.decode("utf-8", "replace")


def _environment(work: Path, *, online: bool) -> dict[str, str]:
    # Temporary files go to the disk of the version: /tmp may be small memory, and a cut leaves nothing there.
    own = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "HOME": str(work),
        "TMPDIR": str(work),
    }
    if not online:
        own["PIP_CONFIG_FILE"] = os.devnull
    else:
        own.update({name: os.environ[name] for name in _PROXIES if name in os.environ})
    return own


def _failure(code: str, message: str, text: str, **details: object) -> Failure:
    tail = text.strip()[-_TAIL:]
    if any(words in text for words in _FULL):
        return Failure("disk-full", message + ": no space is left", output=tail, **details)
    last = tail.splitlines()[-1:] or ["no output"]
    return Failure(code, f"{message}: {last[0].strip()}", output=tail, **details)
