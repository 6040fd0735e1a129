"""What every code offers to the session and the coordinator.

A code turns k equal pieces into shares and recovers the pieces from enough
answers. It is immutable, knows no clock and no socket, and may be shared by all
codewords of a stage. What codes usually answer is in `linear_code.py`.

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
class Traits:
    """How a code family wants its stages cut and its shares sent, where a plan does not say otherwise.

    Attributes:
        axis: `height` or `width`.
        strips: Strips per piece; None: as many as suit the layer.
        transport: `f16` or `f32` where the family is defined with it; None: as asked for.
        eager: Whether every share is sent at once, needed or not.
        rateless: Whether there is no largest number of shares; k may then exceed the number of agents.
        patient: Whether a late holder is waited for until it is lost or hopelessly late.
    """

    axis: str = "height"
    strips: int | None = None
    transport: str | None = None
    eager: bool = False
    rateless: bool = False
    patient: bool = False


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


class Counting(Protocol):
    """Which answers suffice: all that the session sees of a code."""

    @property
    def pieces(self) -> int:
        """Number of pieces, k; where filters are coded too, of blocks of the output."""
        ...

    @property
    def shares(self) -> int | None:
        """Number of distinct shares, n; None for a rateless code.

        A rateless code has the shares 0 to `pieces` - 1, which are the pieces and are left to the host; agents
        are given those from `pieces` on, each once.
        """
        ...

    @property
    def needed(self) -> int:
        """Answers without which nothing is decoded, whichever they are."""
        ...

    @property
    def movable(self) -> bool:
        """Whether any agent may compute any share; False where only its home holds what that takes."""
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

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """Shares that the host computes so that, with those of `have`, the code is ready; ascending."""
        ...


class Code(Counting, Protocol):
    """A family member with its parameters fixed."""

    @property
    def name(self) -> str:
        """The scheme's name as on the command line."""
        ...

    @property
    def filters(self) -> int:
        """Groups of output channels that are mixed too; 1 for a code on the input alone."""
        ...

    def encode_filters(self, weight: Array, share: int) -> Array:
        """The weights with which a share is convolved.

        Args:
            weight: `(out_channels, in_channels / group, *kernel)` float32; borrowed, never written.
            share: Index of the share.

        Returns:
            `weight` itself for a code on the input alone; else new memory owned by the caller.
        """
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
            out: Memory for the mixtures: at least as many arrays of `shape`, float32, C-contiguous. Otherwise it is
                new.

        Returns:
            One array per share, each as `encode` makes it; mixtures made together are parts of one array.
        """
        ...

    def piece_of(self, share: int) -> int | None:
        """The piece that this share *is*, or None for a mixture.

        Raises:
            IndexError: If there is no such share.
        """
        ...

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """Recover the pieces.

        Args:
            arrived: Share indices, distinct, in the order of the rows of `answers`.
            answers: `(len(arrived), *shape)` float32, C-contiguous; borrowed, and those that are pieces lent on in
                the result.
            out: Memory for the pieces that must be computed, as many as that may be: `(count, *shape)` float32,
                C-contiguous, apart from `answers`. Otherwise it is new.

        Raises:
            NotReadyError: If `ready(set(arrived))` is false.
        """
        ...
