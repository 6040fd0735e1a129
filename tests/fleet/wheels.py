"""Tiny wheels in a folder that stands for the package index, and pips that go wrong."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

# One distribution per kind of wheel: compiled for one Python, for its stable interface, for any.
FILES = (
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
    "numpy-2.4.6-cp313-cp313-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "onnxruntime-1.31.1-cp311-cp311-manylinux_2_28_aarch64.whl",
    "onnxruntime-1.27.0-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
    "protobuf-7.36.2-cp310-abi3-manylinux2014_aarch64.whl",
    "pip-26.3-py3-none-any.whl",
)
PINS = ("numpy==2.4.6", "onnxruntime==1.31.1", "protobuf==7.36.2", "pip==26.3")


def make_wheel(folder: Path, name: str, note: str = "") -> Path:
    """A wheel without contents that pip accepts; another note is another hash."""
    distribution, version = name.split("-")[:2]
    info = f"{distribution}-{version}.dist-info"
    with zipfile.ZipFile(folder / name, "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", note)
    return folder / name


def make_lock(index: Path, path: Path) -> None:
    """A lock file of `PINS`, with the hash of every file that the index has of them."""
    lines = []
    for pin in PINS:
        prefix = pin.replace("==", "-") + "-"
        hashes = [sha256(each) for each in sorted(index.iterdir()) if each.name.startswith(prefix)]
        lines.append(" \\\n    ".join([pin, *(f"--hash=sha256:{each}" for each in hashes)]) + "\n")
    path.write_text("".join(lines), encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def script(path: Path, body: str) -> str:
    """An executable to stand where Python is, and thus pip."""
    path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)
