"""What a wheel must fit: a device's Python, processor and C library. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Arch = Literal["aarch64", "x86_64"]

OLDEST_LIBC: Final = (2, 17)  # no wheel in use asks for an older one
NEWEST_LIBC: Final = (2, 39)  # the newest that wheels are built for


@dataclass(frozen=True, slots=True)
class Target:
    """A kind of device.

    Attributes:
        python: Version of its CPython, `(3, 11)`.
        arch: Of its userland, which need not be its kernel's.
        libc: Version of its glibc, `(2, 36)`.
    """

    python: tuple[int, int]
    arch: Arch
    libc: tuple[int, int]

    def __str__(self) -> str:
        """For people."""
        return f"Python {_dotted(self.python)} on {self.arch} with glibc {_dotted(self.libc)}"

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.abi}-{self.arch}-glibc{_dotted(self.libc)}"

    @property
    def abi(self) -> str:
        """Tag of compiled modules, `cp311`."""
        return "cp{}{}".format(*self.python)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags of the wheels that run there, the most demanding first."""
        newest = min(self.libc, NEWEST_LIBC)
        minors = range(newest[1], OLDEST_LIBC[1] - 1, -1) if newest[0] == OLDEST_LIBC[0] else ()
        # Before PEP 600 numbered them, glibc 2.17 was called by a year; some wheels have only that tag.
        return (*(f"manylinux_2_{minor}_{self.arch}" for minor in minors), f"manylinux2014_{self.arch}")

    @property
    def pip_options(self) -> tuple[str, ...]:
        """Makes pip choose wheels for this target instead of for the Python that it runs in."""
        options = ["--implementation", "cp", "--python-version", _dotted(self.python)]
        for abi in (self.abi, "abi3", "none"):
            options += ["--abi", abi]
        for platform in self.platforms:
            options += ["--platform", platform]
        return ("--only-binary=:all:", *options)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
