"""Memory that is used again.

Fresh memory costs a page fault for every 4 KiB when it is first written, which is more
than the copying and mixing that fills it. So the large arrays of a strip are taken from
here and given back when the strip is decoded, and so is a stage's output after its last reader.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Blocks:
    """Float32 arrays on loan; at most as many are kept as were on loan at once.

    To be used by one thread. A block that is never given back is only lost for reuse.
    """

    def __init__(self) -> None:
        """Begin with nothing; memory comes as it is asked for."""
        self._free: list[NDArray[np.float32]] = []

    def take(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """A C-contiguous array of this shape with arbitrary values."""
        size = math.prod(shape)
        fitting = [index for index, block in enumerate(self._free) if block.size >= size]
        if not fitting:
            self._drop_smallest()
            return np.empty(size, np.float32).reshape(shape)
        block = self._free.pop(min(fitting, key=lambda index: self._free[index].size))
        return block[:size].reshape(shape)

    def give(self, array: NDArray[np.float32]) -> None:
        """Take back what `take` returned; nobody may read or write it any more."""
        base = array.base
        if not isinstance(base, np.ndarray) or base.ndim != 1 or base.dtype != np.float32:
            raise ValueError("this array was not taken from here")
        self._free.append(base)

    def _drop_smallest(self) -> None:
        """Make room in place of a block that has become too small."""
        if self._free:
            self._free.pop(min(range(len(self._free)), key=lambda index: self._free[index].size))
