"""Whatever ONNX Runtime returns, as arrays by name.

Classical-ML operators end some vision models with strings, sequences and maps
(`ZipMap`). Everything behind this module knows arrays only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.runtime.report import AnyArray


def arrays_of(outputs: Mapping[str, object]) -> dict[str, AnyArray]:
    """Flatten the outputs of a model.

    Args:
        outputs: ONNX name to what ONNX Runtime returned: an array, a list (sequence),
            a dictionary (map), or None (an empty optional).

    Returns:
        Arrays under the ONNX names. A sequence of maps over the same keys becomes one array
        `(sequence, keys)` and its keys another, `<name>/keys`; other sequences become
        `<name>/0`, `<name>/1`, ... Strings are numpy strings, which need no pickle.
    """
    arrays: dict[str, AnyArray] = {}
    for name, value in outputs.items():
        arrays.update(_flat(name, value))
    return arrays


def _flat(name: str, value: object) -> dict[str, AnyArray]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return {name: np.array(list(value.values())), f"{name}/keys": np.array(list(value))}
    if isinstance(value, list):
        if value and all(isinstance(item, dict) and list(item) == list(value[0]) for item in value):
            rows = np.array([list(item.values()) for item in value])
            return {name: rows.astype(np.float32) if rows.dtype == np.float64 else rows,
                    f"{name}/keys": np.array(list(value[0]))}  # fmt: skip
        return {key: array for at, item in enumerate(value) for key, array in _flat(f"{name}/{at}", item).items()}
    array = np.asarray(value)
    return {name: array.astype(str) if array.dtype == object else array}
