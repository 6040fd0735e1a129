"""A virtual environment that lives as long as one script which needs it, and leaves nothing.

The request: `python` (path of the interpreter to build on), `wheels` (`name`, `size` and
`sha256` of each; pip's among them), `command` (arguments of the new interpreter) and
`room` (bytes that must be free). The payload: the wheels in order, then what the new
interpreter reads from its standard input. Its lines are the answer, as of any script.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice.common import Failure, progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, BinaryIO

PREFIX = "cocoi-profile-"
PLACES = ("/var/tmp", "/tmp")  # noqa: S108 - the first is on a disk; the second may take half of the memory
STALE_S = 3600.0
BLOCK = 1 << 20
PIP_S = 600.0  # on an emulated device pip alone takes more than a minute


def main(request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """Make the environment, run the command in it, and remove everything.

    Raises:
        Failure: `disk-full`, `bad-wheel`, `no-venv`, `pip-failed`, or the command's own.
    """
    # A dropped connection ends this process with a signal: the folder must go then too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with _folder(int(request["room"])) as folder:
        progress("receiving wheels")
        wheels = [_receive(folder, wheel, payload) for wheel in request["wheels"]]
        progress("making a temporary environment")
        python = _environment(folder, request["python"], wheels)
        return _run([python, *request["command"]], payload)


@contextlib.contextmanager
def _folder(room: int) -> Iterator[Path]:
    for place in PLACES:
        _remove_stale(Path(place))
    free = {place: _free(place) for place in PLACES}
    roomy = [place for place in PLACES if free[place] >= room]
    if not roomy:
        most = max(free.values())
        raise Failure("disk-full", f"{most} bytes free, {room} needed for a temporary environment", free=most)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=roomy[0]))
    try:
        yield folder
    finally:
        shutil.rmtree(str(folder), ignore_errors=True)


def _remove_stale(place: Path) -> None:
    """What a power cut left here earlier."""
    for folder in place.glob(PREFIX + "*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > STALE_S and folder.is_dir():
                shutil.rmtree(str(folder), ignore_errors=True)


def _free(place: str) -> int:
    try:
        status = os.statvfs(place)
    except OSError:
        return 0
    return status.f_bavail * status.f_frsize


def _receive(folder: Path, wheel: dict[str, Any], payload: BinaryIO) -> Path:
    path, digest, left = folder / Path(wheel["name"]).name, hashlib.sha256(), int(wheel["size"])
    try:
        with path.open("wb") as file:
            while left:
                block = payload.read(min(BLOCK, left))
                if not block:
                    raise Failure("bad-wheel", f"`{path.name}` ended early", name=path.name)
                digest.update(block)
                file.write(block)
                left -= len(block)
    except OSError as error:
        raise Failure("disk-full", f"cannot write `{path.name}`: {error.strerror}", name=path.name) from error
    if digest.hexdigest() != wheel["sha256"]:
        raise Failure("bad-wheel", f"`{path.name}` is not what was sent", name=path.name)
    return path


def _environment(folder: Path, python: str, wheels: list[Path]) -> str:
    """Path of the interpreter of a new environment that has these wheels."""
    environment = folder / "venv"
    _must("no-venv", [python, "-I", "-m", "venv", "--without-pip", str(environment)])
    made = str(environment / "bin" / "python")
    pip = next(wheel for wheel in wheels if wheel.name.startswith("pip-"))
    others = [str(wheel) for wheel in wheels if wheel != pip]
    options = ["--no-index", "--no-deps", "--no-cache-dir", "--no-compile", "--disable-pip-version-check", "--quiet"]
    _must("pip-failed", [made, "-I", str(pip / "pip"), "install", *options, *others])
    for wheel in wheels:  # their room may be needed, on a small device that has little
        with contextlib.suppress(OSError):
            wheel.unlink()
    return made


def _must(code: str, command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and the host chose every word
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PIP_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Failure(code, f"`{command[0]}` does not run: {error}") from error
    if done.returncode:
        tail = done.stdout.decode("utf-8", "replace").strip().splitlines()[-8:]
        raise Failure(code, tail[-1] if tail else f"status {done.returncode}", output="\n".join(tail))


def _run(command: list[str], payload: BinaryIO) -> dict[str, Any]:
    """Run a script of ours in the environment; its progress is ours, and so is its end."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as errors:
        shutil.copyfileobj(payload, source)
        source.seek(0)
        process = subprocess.Popen(  # noqa: S603 - as above
            command, stdin=source, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        with process:
            try:
                for line in process.stdout or ():
                    result = _relayed(_document(line))
                    if result is not None:
                        return result
                raise _died(process.wait(), errors)
            finally:
                process.kill()


def _relayed(document: dict[str, Any]) -> dict[str, Any] | None:
    """Pass on what a line says; the result, once it is there."""
    if "progress" in document:
        progress(str(document["progress"]))
    elif "failure" in document:
        failure = document["failure"]
        raise Failure(failure["code"], failure["message"], **failure["details"])
    result = document.get("result")
    return result if isinstance(result, dict) else None


def _died(status: int, errors: IO[bytes]) -> Failure:
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace").strip().splitlines()
    text = f"ended by signal {-status}" if status < 0 else said[-1] if said else f"status {status}"
    return Failure("no-runtime", f"ONNX Runtime does not work here: {text}", status=status)


def _document(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _end(number: int, frame: object) -> None:
    del frame
    sys.exit(128 + number)
