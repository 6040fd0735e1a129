"""Codes that are known by their generator: encoding, decoding and the guard follow from it.

Notation: `n` shares, `k` pieces, `G` (n x k) generator, rows are shares.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cocoi_cli.codes.decodings import Decoding, make_decoding
from cocoi_cli.codes.linear_code import GuardedCode, check_gain, check_sizes
from cocoi_cli.codes.mixing import mix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    from cocoi_cli.codes.code import Array
    from cocoi_cli.codes.gain import Matrix


@dataclass(frozen=True, slots=True)
class GeneratorCode(GuardedCode):
    """The code of a generator; a family gives it, and the scheme's name.

    A request is refused when the *median* noise gain over sets of k answers is above the limit: then "any k of n"
    would be false more often than not. Its worst sets do not count, since the guard never decodes from them.

    Attributes:
        n: Shares, at least `k`.
        k: Pieces, at least 1.
        gain_limit: Largest noise gain that is decoded; it belongs to the transport type.
        name: The scheme's name.
        systematic: Whether the first k shares are the pieces, the first k rows of `G` the identity. Where they are
            not, the host has k more shares, from n on, which are.
        strict: Whether the worst set counts after all, as any k answers shall decode without waiting.

    Raises:
        BadCodeError: If not 1 <= k <= n.
        IllConditionedError: If the gain that counts is above the limit.
    """

    n: int
    k: int
    gain_limit: float

    name: ClassVar[str]
    systematic: ClassVar[bool] = False
    strict: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_sizes(self.name, self.n, self.k)
        check_gain(self.generator(), self.gain_limit, worst=self.strict)

    @abstractmethod
    def generator(self) -> Matrix:
        """The `(n, k)` float64 generator, always the same; no row is zero. It is used as float32 holds it."""

    @property
    def shares(self) -> int:
        """Number of shares, n; those of the host are not counted."""
        return self.n

    def plain_shares(self) -> Iterable[int]:
        """The shares that are pieces."""
        first = self._first_plain()
        return range(first, first + self.k)

    def piece_of(self, share: int) -> int | None:
        """The piece that this share is, or None for a mixture."""
        first, count = self._first_plain(), self.n if self.systematic else self.n + self.k
        if not 0 <= share < count:
            message = f"share {share} of {count}"
            raise IndexError(message)
        return share - first if first <= share < first + self.k else None

    def encode(self, pieces: Array, share: int) -> Array:
        """Make one share.

        Cost: nothing for a piece, k multiply-adds per element for a mixture.
        """
        piece = self.piece_of(share)
        if piece is not None:
            view: Array = pieces[piece]
            return view
        mixed: Array = mix(_mixtures(self)[share : share + 1], pieces)[0]
        return mixed

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """Make several shares, reading the pieces once."""
        mixtures = [share for share in shares if self.piece_of(share) is None]
        mixed = dict(zip(mixtures, mix(_mixtures(self)[mixtures], pieces, out), strict=True))
        return tuple(mixed[share] if share in mixed else self.encode(pieces, share) for share in shares)

    def decoding(self, arrived: Set[int]) -> Decoding:
        """How the pieces follow from these answers."""
        return _decoding(self, tuple(sorted(arrived)))

    def _first_plain(self) -> int:
        return 0 if self.systematic else self.n


@lru_cache(maxsize=256)
def _mixtures(code: GeneratorCode) -> Array:
    """The `(n, k)` rows that shares are mixed with; decoding inverts just these, rounded as they are."""
    return code.generator().astype(np.float32)


@lru_cache(maxsize=8192)  # by the set that answered: a fleet shows few of them, a test many
def _decoding(code: GeneratorCode, shares: tuple[int, ...]) -> Decoding:
    rows = _mixtures(code).astype(np.float64)
    if not code.systematic:
        rows = np.vstack([rows, np.eye(code.k)])
    if shares and not 0 <= shares[0] <= shares[-1] < len(rows):
        message = f"shares {shares} of {len(rows)}"
        raise IndexError(message)
    return make_decoding(rows, shares)
