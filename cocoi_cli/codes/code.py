"""What every code offers to the session and the coordinator.

A code turns k equal pieces into shares and recovers the pieces from enough
answers. It is immutable, knows no clock and no socket, and may be shared by all
codewords of a stage.

Notation: `n` shares, `k` pieces, share index `i` in `range(n)`, piece index `j` in
`range(k)`, generator `G` (n x k), rows are shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decoded:
    """The pieces of one codeword.

    Attributes:
        pieces: k arrays of the shape of one answer, float32, in piece order.
            Those that arrived as data shares are views of the answers.
        exact: True for a linear code up to rounding; False for an estimate.
        gain: Noise gain of the decoding that was done; 1.0 where nothing was.
    """

    pieces: tuple[Array, ...]
    exact: bool
    gain: float


class Code(Protocol):
    """A family member with its parameters fixed."""

    @property
    def name(self) -> str:
        """The scheme's name as on the command line."""
        ...

    @property
    def pieces(self) -> int:
        """Number of pieces, k."""
        ...

    @property
    def shares(self) -> int | None:
        """Number of distinct shares, n; None for a rateless code."""
        ...

    def encode(self, pieces: Array, share: int) -> Array:
        """Make one share.

        Args:
            pieces: `(k, *shape)` float32, C-contiguous; borrowed, never written.
            share: Index of the share.

        Returns:
            `shape` float32, C-contiguous; a view of `pieces` where the share is a
            piece, else new memory owned by the caller.
        """
        ...

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """Make several shares of one codeword, reading the pieces once where that saves time.

        Args:
            pieces: As in `encode`.
            shares: Indices of the shares.
            out: Memory for the mixtures: `(len(shares), *shape)` float32, C-contiguous. Otherwise it is new.

        Returns:
            One array per share, each as `encode` makes it.
        """
        ...

    def piece_of(self, share: int) -> int | None:
        """The piece that this share *is*, or None for a mixture."""
        ...

    def share_of(self, piece: int) -> int:
        """A share that equals `piece`: what the host computes when agents fail."""
        ...

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether an answer to `share` adds anything to `arrived`."""
        ...

    def deficit(self, arrived: Set[int]) -> int:
        """At least how many further useful answers are needed; 0 means ready."""
        ...

    def ready(self, arrived: Set[int]) -> bool:
        """Whether `decode` accepts exactly these answers."""
        ...

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """Recover the pieces.

        Args:
            arrived: Share indices, distinct, in the order of the rows of `answers`.
            answers: `(len(arrived), *shape)` float32, C-contiguous; borrowed.
            out: Memory for the pieces that must be computed, as many as that may be: `(count, *shape)` float32,
                C-contiguous, apart from `answers`. Otherwise it is new.

        Raises:
            NotReadyError: If `ready(set(arrived))` is false.
        """
        ...
