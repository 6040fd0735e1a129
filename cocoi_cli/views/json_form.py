"""Values as JSON: numbers that JSON cannot hold (NaN, infinity) become null.

numpy is not imported here, so that an error document costs nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any


def plain(value: Any) -> Any:  # noqa: ANN401  (a JSON tree has no better type)
    """Bring records, mappings, numpy scalars and non-finite numbers into JSON's own types."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)


def json_text(value: Any) -> str:  # noqa: ANN401  (as in `plain`)
    """One document, indented, with names in their own script; ends with a newline."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
