"""Pins: exact versions of distributions with the hashes of their files, as a lock file has them. Pure."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNTIME: Final = "onnxruntime"

_PIN: Final = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*)==(?P<version>[^\s;]+)(?P<hashes>(\s+--hash=sha256:[0-9a-f]{64})*)"
)


@dataclass(frozen=True, slots=True)
class Pin:
    """One distribution at one version.

    Attributes:
        name: Normalised: lower case, words joined by `-`.
        version: As in file names.
        hashes: SHA-256 of every file that is this version, for all platforms; empty where nobody knows them.
    """

    name: str
    version: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        """As a requirement without hashes."""
        return f"{self.name}=={self.version}"


def read_pins(text: str) -> tuple[Pin, ...]:
    """The pins of a lock file, in its order.

    Raises:
        ValueError: If a line is no exact version; the file comes with cocoi, so the installation is damaged.
    """
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return tuple(_read(line) for line in lines if line and not line.startswith("#"))


def requirement(name: str, version: str, hashes: Sequence[str] | frozenset[str]) -> str:
    """One line for pip, with a line break at its end."""
    return "".join([f"{name}=={version}", *(f" --hash=sha256:{each}" for each in sorted(hashes))]) + "\n"


def with_runtime(pins: tuple[Pin, ...], version: str) -> tuple[Pin, ...]:
    """The same pins with another ONNX Runtime, whose hashes nobody knows; unchanged if it is theirs."""
    return tuple(
        replace(pin, version=version, hashes=frozenset()) if pin.name == RUNTIME and pin.version != version else pin
        for pin in pins
    )


def fingerprint(pins: tuple[Pin, ...]) -> str:
    """Twelve hex digits that stand for just these pins."""
    text = "".join(requirement(pin.name, pin.version, pin.hashes) for pin in pins)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def distribution_of(file: str) -> tuple[str, str]:
    """Normalised name and version in a wheel's file name; empty strings if it is none."""
    parts = file.removesuffix(".whl").split("-")
    return (normalised(parts[0]), parts[1]) if file.endswith(".whl") and len(parts) in (5, 6) else ("", "")


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _read(line: str) -> Pin:
    found = _PIN.fullmatch(line)
    if found is None:
        raise ValueError(f"`{line}` pins no version")
    hashes = frozenset(found["hashes"].replace("--hash=sha256:", " ").split())
    return Pin(normalised(found["name"]), found["version"], hashes)
