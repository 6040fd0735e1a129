"""Numbers with units, as the command line writes them: `940mbit`, `0.2ms`, `1%`, `9`."""

from __future__ import annotations

import re
from typing import Final

from bench.lab.errors import usage

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_BITS: Final = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}
_MICROSECONDS: Final = {"us": 1, "ms": 10**3, "s": 10**6}
_BYTES: Final = {"": 1, "k": 1 << 10, "m": 1 << 20}


def parse_rate(text: str) -> int:
    """Bits per second from `940mbit`.

    Raises:
        RigError: If it is no rate, or less than 8 kbit/s.
    """
    found = re.fullmatch(rf"{_NUMBER}(bit|kbit|mbit|gbit)", text.strip().lower())
    if found is None or (bits := round(float(found[1]) * _BITS[found[2]])) < 8000:
        raise usage(f"`{text}` is no rate", "write `940mbit` or `300kbit`; 8 kbit/s is the least")
    return bits


def parse_time(text: str) -> int:
    """Microseconds from `0.2ms`; a bare `0` will do.

    Raises:
        RigError: If it is no time, or more than ten seconds.
    """
    word = "0us" if text.strip() == "0" else text.strip().lower()
    found = re.fullmatch(rf"{_NUMBER}(us|ms|s)", word)
    if found is None or (microseconds := round(float(found[1]) * _MICROSECONDS[found[2]])) > 10_000_000:
        raise usage(f"`{text}` is no delay", "write `0.2ms` or `200us`; 10 s is the most")
    return microseconds


def parse_percent(text: str, *, most: float = 100.0) -> float:
    """Percent from `1%` or `1`.

    Raises:
        RigError: If it is no number from 0 to `most`.
    """
    found = re.fullmatch(rf"{_NUMBER}%?", text.strip())
    if found is None or (percent := float(found[1])) > most:
        raise usage(f"`{text}` is no percentage", f"write a number from 0 to {most:g}, such as `0.5%`")
    return percent


def parse_size(text: str) -> int:
    """Bytes from `1m`, `512k` or `65536`.

    Raises:
        RigError: If it is no size, or less than the largest packet.
    """
    found = re.fullmatch(rf"{_NUMBER}([km]?)", text.strip().lower())
    if found is None or (size := round(float(found[1]) * _BYTES[found[2]])) < 15_140:
        raise usage(f"`{text}` is no size of a buffer", "write `1m` or `512k`; 15140 bytes, one burst, are the least")
    return size


def parse_positive(text: str, what: str) -> float:
    """A number above 0.

    Raises:
        RigError: If it is none.
    """
    found = re.fullmatch(_NUMBER, text.strip())
    if found is None or (number := float(found[1])) <= 0:
        raise usage(f"`{text}` is no {what}", "write a number above 0")
    return number


def rate_text(bits: int) -> str:
    """`940mbit` from bits per second."""
    for unit in ("gbit", "mbit", "kbit"):
        if bits >= _BITS[unit] and bits % (_BITS[unit] // 1000) == 0:
            return f"{bits / _BITS[unit]:g}{unit}"
    return f"{bits}bit"
