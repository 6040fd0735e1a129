"""Linear combinations of large arrays at the speed of memory.

One combination is one matrix-vector product. Several are made block by block, so that
each input is read from memory once and not once per combination: at (10,8) two parity
shares cost what one does. `np.matmul` and not `np.dot`, which copies a block first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Array

BLOCK_COLUMNS = 16384  # of eight float32 rows: half a megabyte, which fits a second-level cache


def mix(weights: Array, inputs: Array, out: Array | None = None) -> Array:
    """Combine `inputs` as each row of `weights` says.

    Cost: one multiply-add per weight and element; `inputs` is read once.

    Args:
        weights: `(count, rows)` float32.
        inputs: `(rows, *shape)` float32, C-contiguous; borrowed.
        out: Written when given: at least `count` arrays of `shape`, C-contiguous float32.

    Returns:
        `(count, *shape)` float32: the first of `out`, or new memory owned by the caller.
    """
    mixed = np.empty((len(weights), *inputs.shape[1:]), dtype=np.float32) if out is None else out[: len(weights)]
    if mixed.size == 0:
        return mixed
    flat = inputs.reshape(len(inputs), -1)
    results = mixed.reshape(len(weights), -1)
    if len(weights) == 1:
        np.dot(weights[0], flat, out=results[0])
        return mixed
    for start in range(0, flat.shape[1], BLOCK_COLUMNS):
        block = slice(start, start + BLOCK_COLUMNS)
        np.matmul(weights, flat[:, block], out=results[:, block])
    return mixed
