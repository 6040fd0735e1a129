"""Random numbers that do not depend on who asks first.

Every device has a stream of its own for every inference, and in it numbers for every layer and for the first,
second, ... share that it is sent. So two schemes, or two k, meet the same luck: their difference is theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHARES_AT_ONCE: Final = 32  # rows that are drawn together, for calls of numpy cost more than numbers
_ORDER: Final = 0x0DE7  # keeps the stream of `order` apart from those of devices


class Numbers:
    """The uniform numbers of one device in one inference."""

    __slots__ = ("_columns", "_generator", "_rows", "layers")

    def __init__(self, seed: int, device: int, inference: int, *, layers: int, effects: int, columns: int) -> None:
        """Begin the stream of a device and an inference.

        Args:
            seed: Of the simulation.
            device: Index in the fleet.
            inference: Its number.
            layers: How many numbers per effect are drawn once per layer.
            effects: How many effects want such numbers.
            columns: Numbers for each share.
        """
        self._generator = np.random.default_rng((seed, device, inference))
        self._columns = columns
        self._rows: list[list[float]] = []
        self.layers: list[list[float]] = self._generator.random((effects, layers)).tolist() if effects else []

    def share(self) -> list[float]:
        """The numbers of the next share."""
        if not self._rows:
            self._rows = self._generator.random((_SHARES_AT_ONCE, self._columns)).tolist()
            self._rows.reverse()
        return self._rows.pop()


def order(seed: int, devices: int) -> Sequence[int]:
    """A permutation of the devices: who is meant where only a number of them is given."""
    permutation: list[int] = np.random.default_rng((seed, _ORDER)).permutation(devices).tolist()
    return permutation
