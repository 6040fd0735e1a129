"""Codes whose shares are plain copies of pieces: nothing to encode, nothing to solve.

Notation: `n` shares, `k` pieces; share `i` is piece `i % k`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cocoi_cli.codes.code import Array, Decoded
from cocoi_cli.codes.errors import NotReadyError
from cocoi_cli.codes.linear_code import LinearCode, check_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence, Set


@dataclass(frozen=True, slots=True)
class CopyCode(LinearCode):
    """Each piece is held by at least one share; the first answer to each wins.

    Attributes:
        name: The scheme's name.
        n: Shares, at least `k`.
        k: Pieces, at least 1.
    """

    name: str
    n: int
    k: int

    def __post_init__(self) -> None:
        check_sizes(self.name, self.n, self.k)

    @property
    def shares(self) -> int:
        """Number of shares, n."""
        return self.n

    def encode(self, pieces: Array, share: int) -> Array:
        """The piece that the share holds, a view of `pieces` (`(k, *shape)` float32)."""
        view: Array = pieces[self.piece_of(share)]
        return view

    def piece_of(self, share: int) -> int:
        """The piece that this share is."""
        if not 0 <= share < self.n:
            message = f"share {share} of {self.n}"
            raise IndexError(message)
        return share % self.k

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether the piece of `share` has not arrived yet."""
        return self.piece_of(share) not in self._covered(arrived)

    def deficit(self, arrived: Set[int]) -> int:
        """Number of pieces that have not arrived."""
        return self.k - len(self._covered(arrived))

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """Pick one answer per piece.

        Args:
            arrived: Distinct share indices in the order of the rows of `answers`.
            answers: `(len(arrived), *shape)` float32; borrowed, and lent on in the result.
            out: Not needed.

        Returns:
            Views of `answers` in the order of the pieces; exact, gain 1.

        Raises:
            NotReadyError: If a piece is missing.
        """
        deficit = self.deficit(set(arrived))
        if deficit:
            raise NotReadyError(tuple(arrived), deficit=deficit)
        first: dict[int, int] = {}
        for row, share in enumerate(arrived):
            first.setdefault(self.piece_of(share), row)
        return Decoded(pieces=tuple(answers[first[piece]] for piece in range(self.k)), exact=True, gain=1.0)

    def _covered(self, arrived: Set[int]) -> set[int]:
        return {self.piece_of(share) for share in arrived}
