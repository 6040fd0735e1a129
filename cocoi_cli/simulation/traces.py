"""Recorded service times or factors, read from a file.

`.npy` holds one array, `.json` a list or an object with `seconds` or `factors`, anything else lines of text:
one number each, or columns under a header that names one of them `seconds` or `factors`. Numbers without a name are
seconds.
"""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from cocoi_cli.errors import UsageError
from cocoi_cli.model.inputs import reason
from cocoi_cli.simulation.straggling import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST_BYTES: Final = 64 << 20  # millions of numbers; more is no trace but a mistake
_NAMES: Final = ("seconds", "factors")
_SECONDS: Final = "seconds"


class BadTraceError(UsageError):
    """A recorded trace cannot be read, or holds something else than positive numbers."""

    code: ClassVar[str] = "bad-trace"

    def __init__(self, path: str, found: str, line: int | None = None) -> None:
        where = f"`{path}`" if line is None else f"`{path}` line {line}"
        super().__init__(f"the trace {where}: {found}", path=path, found=found, line=line)
        self.path, self.found, self.line = path, found, line


def read_trace(path: str) -> Recorded:
    """Read a trace.

    Raises:
        BadTraceError: The file is absent, unreadable, too large, or not what its name says.
    """
    file = Path(path).expanduser()
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise BadTraceError(path, f"it is larger than {LARGEST_BYTES >> 20} MiB")
        data = file.read_bytes()
    except OSError as error:
        raise BadTraceError(path, reason(error)) from error
    suffix = file.suffix.lower()
    if suffix == ".npy":
        name, values = _SECONDS, _from_array(path, data)
    elif suffix == ".json":
        name, values = _from_json(path, _text(path, data))
    else:
        name, values = _from_lines(path, _text(path, data))
    if not values:
        raise BadTraceError(path, "it holds no number")
    return Recorded.of_seconds(values) if name == _SECONDS else Recorded(tuple(values))


def _from_array(path: str, data: bytes) -> list[float]:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise BadTraceError(path, "it is no array of numbers as `numpy.save` writes them") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim != 1:
        raise BadTraceError(path, "it is no array of numbers with one axis")
    return _checked(path, ((None, value) for value in array.tolist()))


def _from_json(path: str, text: str) -> tuple[str, list[float]]:
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadTraceError(path, f"it is no JSON: {error.msg}", error.lineno) from error
    name = _SECONDS
    if isinstance(tree, dict):
        named = [key for key in _NAMES if key in tree]
        if len(named) != 1:
            raise BadTraceError(path, "it has not exactly one of `seconds` and `factors`")
        (name,) = named
        tree = tree[name]
    if not isinstance(tree, list):
        raise BadTraceError(path, "it holds no list of numbers")
    return name, _checked(path, ((None, value) for value in tree))


def _from_lines(path: str, text: str) -> tuple[str, list[float]]:
    reader = csv.reader(io.StringIO(text))
    name, column = _SECONDS, 0
    rows: list[tuple[int | None, object]] = []
    try:
        for cells in reader:
            filled = [cell.strip() for cell in cells]
            if not any(filled) or filled[0].startswith("#"):
                continue
            if not rows and any(cell in _NAMES for cell in filled):
                column = next(place for place, cell in enumerate(filled) if cell in _NAMES)
                name = filled[column]
                continue
            if column >= len(filled):
                raise BadTraceError(path, f"it has no column {column + 1}", reader.line_num)
            rows.append((reader.line_num, filled[column]))
    except csv.Error as error:
        raise BadTraceError(path, str(error), reader.line_num) from error
    return name, _checked(path, rows)


def _checked(path: str, rows: Iterable[tuple[int | None, object]]) -> list[float]:
    found = []
    for place, (line, value) in enumerate(rows, 1):
        what = f"`{value}`" if line is not None else f"number {place}, `{value}`,"
        number = _as_number(value)
        if number is None:
            raise BadTraceError(path, f"{what} is no number", line)
        if not (math.isfinite(number) and number > 0):
            raise BadTraceError(path, f"{what} is not positive and finite", line)
        found.append(number)
    return found


def _as_number(value: object) -> float | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _text(path: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTraceError(path, "it is no text") from error
