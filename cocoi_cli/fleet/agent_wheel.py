"""The agent's wheel, made of the very `cocoi_agent` that this host imports.

What is deployed is thus what was tested here, whether cocoi runs from a checkout or from
its own wheel, which has no build backend and no `pyproject.toml` of the agent. The same
sources always give the same bytes: entries are sorted, dates fixed, and nothing is
compressed, because zlib's output differs between machines.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cocoi_agent

if TYPE_CHECKING:
    from collections.abc import Mapping

DISTRIBUTION: Final = "cocoi-agent"

# What agent/pyproject.toml says; a test keeps them equal.
SUMMARY: Final = "The agent of cocoi: computes shares of neural networks on a Raspberry Pi"
LICENSE: Final = "Apache-2.0"
REQUIRES_PYTHON: Final = ">=3.11"
REQUIRES: Final = ("msgpack>=1.1", "numpy>=2.1", "onnxruntime>=1.22.1")
SCRIPTS: Final = {"cocoi-agent": "cocoi_agent.__main__:main"}

_DATE: Final = (2020, 2, 2, 0, 0, 0)  # of every entry; zip knows no year before 1980
_MODE: Final = 0o100644
_UNIX: Final = 3  # the system that zip says made an entry; decides whether its mode is read
_PACKAGED: Final = frozenset({".py", ".typed"})


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel in memory.

    Attributes:
        name: File name.
        data: Its bytes.
        sha256: Hex digest of `data`.
    """

    name: str
    data: bytes
    sha256: str


def agent_wheel() -> Wheel:
    """Make the wheel of the agent that is imported here; it takes milliseconds.

    Raises:
        OSError: If a source file cannot be read: the installation is damaged.
    """
    files = dict(sorted(_sources(Path(cocoi_agent.__file__).parent).items()))
    folder = f"cocoi_agent-{cocoi_agent.__version__}.dist-info"
    files[f"{folder}/METADATA"] = _metadata()
    files[f"{folder}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: cocoi\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{folder}/entry_points.txt"] = _entry_points()
    files[f"{folder}/RECORD"] = _record(files, f"{folder}/RECORD")
    data = _zip(files)
    return Wheel(f"cocoi_agent-{cocoi_agent.__version__}-py3-none-any.whl", data, hashlib.sha256(data).hexdigest())


def _sources(package: Path) -> dict[str, bytes]:
    """The package's files by their names in the wheel; no bytecode, and nothing an editor left behind."""
    found = [path for path in package.rglob("*") if path.suffix in _PACKAGED and path.is_file()]
    return {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in found}


def _metadata() -> bytes:
    lines = [
        "Metadata-Version: 2.4",  # the first with License-Expression
        f"Name: {DISTRIBUTION}",
        f"Version: {cocoi_agent.__version__}",
        f"Summary: {SUMMARY}",
        f"License-Expression: {LICENSE}",
        f"Requires-Python: {REQUIRES_PYTHON}",
        *(f"Requires-Dist: {each}" for each in REQUIRES),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _entry_points() -> bytes:
    lines = ["[console_scripts]", *(f"{name} = {target}" for name, target in sorted(SCRIPTS.items()))]
    return "".join(f"{line}\n" for line in lines).encode()


def _record(files: Mapping[str, bytes], own_name: str) -> bytes:
    """Hash and size of every file; the record itself has neither."""
    rows = [f"{name},sha256={_urlsafe(data)},{len(data)}\n" for name, data in files.items()]
    return "".join([*rows, f"{own_name},,\n"]).encode()


def _urlsafe(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _zip(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as wheel:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            wheel.writestr(entry, data)
    return archive.getvalue()
