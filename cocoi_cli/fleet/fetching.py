"""Fetching one wheel with pip, and reading what pip says when it cannot.

pip is used, and not an index directly, because it is what knows the user's mirrors,
proxies and certificates.
"""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from cocoi_cli.errors import FailedError
from cocoi_cli.fleet.pins import requirement

if TYPE_CHECKING:
    from pathlib import Path

    from cocoi_cli.fleet.pins import Pin
    from cocoi_cli.fleet.targets import Target

Kind = Literal["no-network", "no-wheel", "hash", "disk-full", "no-pip", "failed"]

TAIL_LINES: Final = 8

# `-P` keeps the working folder out of the import path: a stray pip.py there would run.
_PIP: Final = ("-P", "-m", "pip", "--disable-pip-version-check", "--no-input", "--no-color")
_DOWNLOAD: Final = ("download", "--no-deps", "--progress-bar", "off", "--retries", "2")

# What each kind of failure is called, and the words of pip that betray it. In this order: without a network
# pip also says that it found no version at all.
_SIGNS: Final[tuple[tuple[Kind, str, str], ...]] = (
    ("disk-full", "no space left for the cache or for temporary files", r"No space left|\[Errno 28\]"),
    ("hash", "what was downloaded is not what the lock file names", r"DO NOT MATCH THE HASHES"),
    ("no-pip", "the Python that runs cocoi has no pip", r"No module named '?pip\b"),
    ("no-network", "no package index could be reached", r"connection broken|Max retries|Connection ?Error|timed out"),
    ("no-wheel", "there is no such wheel", r"No matching distribution found"),
)


class WheelFetchError(FailedError):
    """pip could not fetch a wheel; `details` has `kind` and `output`, pip's last lines."""

    code: ClassVar[str] = "wheel-not-fetched"

    def __init__(self, pin: str, target: str, kind: Kind, cause: str, output: str) -> None:
        super().__init__(
            f"cannot fetch `{pin}` for {target}: {cause}",
            requirement=pin,
            target=target,
            kind=kind,
            cause=cause,
            output=output,
        )
        self.kind = kind


async def download(pin: Pin, target: Target, folder: Path) -> Path:
    """Download the wheel of a pin that fits the target.

    Args:
        pin: What to fetch; if it has hashes, a file with another one is refused.
        target: What it must fit.
        folder: Existing, empty; the wheel is put there.

    Returns:
        The wheel's path.

    Raises:
        WheelFetchError: If pip cannot.
        OSError: If the folder cannot be written.
    """
    wanted = folder / "requirements.txt"
    wanted.write_text(requirement(pin.name, pin.version, pin.hashes), encoding="utf-8")
    checked = ("--require-hashes",) if pin.hashes else ()
    status, output = await _run(
        *_DOWNLOAD, *checked, *target.pip_options, "--dest", str(folder), "--requirement", str(wanted)
    )
    wheel = _only_wheel(folder)
    if status == 0 and wheel is not None:
        return wheel
    kind, cause = _explain(status, output)
    raise WheelFetchError(str(pin), str(target), kind, cause, _tail(output))


def _only_wheel(folder: Path) -> Path | None:
    wheels = list(folder.glob("*.whl"))
    return wheels[0] if len(wheels) == 1 else None


async def _run(*arguments: str) -> tuple[int, str]:
    """Run pip to its end; status and everything it printed. Cancelling ends it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *_PIP,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    assert process.returncode is not None  # noqa: S101 - it has ended
    return process.returncode, output.decode(errors="replace")


def _explain(status: int, output: str) -> tuple[Kind, str]:
    for kind, cause, sign in _SIGNS:
        if re.search(sign, output):
            system = re.search(r"\[Errno -?\d+\] ([\w ,]+)", output) if kind == "no-network" else None
            return kind, f"{cause}: {system[1][:1].lower()}{system[1][1:].strip()}" if system else cause
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return "failed", (errors or lines or [f"pip ended with status {status}"])[-1]


def _tail(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-TAIL_LINES:])
