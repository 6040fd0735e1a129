"""LtCoI: a rateless Luby-transform code. Each symbol is the sum of some pieces, drawn from the robust soliton.

There is no fixed number of shares: agents are given new symbols until those that came determine every piece. The
first k symbols are the pieces themselves, which only the host computes. With k fine pieces (two per agent unless asked
otherwise) about 1.1 to 1.2 k symbols are needed; coarse ones (one per agent) waste less input on halos and need more.

Notation: `k` pieces, symbol `i` in 0, 1, 2, …; `G` its 0/1 rows, `D` the decoding matrix.

Source: docs/methods.md, Luby transform; LtCoI is a baseline of arXiv 2501.06856, in our reconstruction.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cocoi_cli.codes.decodings import Decoding, without_copies
from cocoi_cli.codes.errors import BadCodeError
from cocoi_cli.codes.gain import Matrix, decoding_matrix
from cocoi_cli.codes.linear_code import GuardedCode
from cocoi_cli.codes.peeling import peeling_matrix
from cocoi_cli.codes.ranks import Ranks
from cocoi_cli.codes.soliton import draw_pieces

if TYPE_CHECKING:
    from collections.abc import Set

    from cocoi_cli.codes.code import Array, Code

SCHEME = "lt"
RATELESS = True
STRIPS = 1  # its pieces are fine already
SEED = 20250112  # any fixed number: host, planner and simulation must draw the same symbols


@dataclass(frozen=True, slots=True)
class LubyCode(GuardedCode):
    """Sums of random pieces, as many as it takes.

    Attributes:
        k: Pieces, at least 1.
        gain_limit: Largest noise gain that is decoded; above, further symbols are waited for.
        seed: Decides every symbol.

    Raises:
        BadCodeError: If k is below 1.
    """

    k: int
    gain_limit: float
    seed: int = SEED

    name: ClassVar[str] = SCHEME

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadCodeError(SCHEME, 0, self.k, "k is at least 1")

    @property
    def shares(self) -> None:
        """There are as many as are asked for."""
        return None

    def members(self, share: int) -> tuple[int, ...]:
        """The pieces that a symbol adds up, ascending."""
        if share < 0:
            message = f"share {share}"
            raise IndexError(message)
        return _members(self.k, self.seed, share)

    def piece_of(self, share: int) -> int | None:
        """The piece that a symbol of degree one is; None for a sum of several."""
        members = self.members(share)
        return members[0] if len(members) == 1 else None

    def encode(self, pieces: Array, share: int) -> Array:
        """Add up the pieces of a symbol.

        Cost: one addition per element and piece beyond the first. A sum of many large values
        may pass the range of float16: the transport's scale sees to that.

        Args:
            pieces: `(k, *shape)` float32, C-contiguous; borrowed.
            share: Any number from 0 on.

        Returns:
            `shape` float32: a view of `pieces` for a symbol of degree one, else new memory.
        """
        first, *others = self.members(share)
        if not others:
            view: Array = pieces[first]
            return view
        total: Array = pieces[first] + pieces[others[0]]
        for piece in others[1:]:
            total += pieces[piece]
        return total

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether a symbol raises the rank; where the rank is full and the gain too large, any new one is."""
        if share in arrived:
            return False
        ranks = _ranks(self.k, self.seed)
        if ranks.rank(arrived) < self.k:
            return ranks.adds(share, arrived)
        return not self.ready(arrived)

    def lacking(self, arrived: Set[int]) -> int:
        """What the rank lacks: at least so many symbols, usually a few more."""
        return self.k - _ranks(self.k, self.seed).rank(arrived)

    def decoding(self, arrived: Set[int]) -> Decoding:
        """How the pieces follow from these symbols, whatever was peeled.

        A product of small matrices reads each answer once, where chains of subtractions read them again and again.
        """
        return _decoding(self.k, self.seed, self.gain_limit, tuple(sorted(arrived)))


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """The code over k pieces, for any number of agents.

    Raises:
        BadCodeError: If `n` or `k` is below 1.
    """
    if min(n, k) < 1:
        raise BadCodeError(SCHEME, n, k, "n and k are at least 1")
    return LubyCode(k, gain_limit)


def default_pieces(agents: int) -> int:
    """Two fine pieces per agent."""
    return 2 * agents


@lru_cache(maxsize=1 << 14)
def _members(k: int, seed: int, symbol: int) -> tuple[int, ...]:
    return (symbol,) if symbol < k else draw_pieces(seed, k, symbol)


@lru_cache(maxsize=16)
def _ranks(k: int, seed: int) -> Ranks:
    return Ranks(k, lambda symbol: _row(k, seed, symbol))


@lru_cache(maxsize=1 << 14)
def _row(k: int, seed: int, symbol: int) -> Matrix:
    row = np.zeros(k)
    row[list(_members(k, seed, symbol))] = 1
    return row


@lru_cache(maxsize=1024)
def _decoding(k: int, seed: int, limit: float, symbols: tuple[int, ...]) -> Decoding:
    """Peel; where that enlarges rounding error too much, weigh all symbols by least squares."""
    rows = np.stack([_row(k, seed, symbol) for symbol in symbols])
    decoder = peeling_matrix([_members(k, seed, symbol) for symbol in symbols], k)
    gain = _gain(decoder, rows)
    if gain > limit:
        decoder = decoding_matrix(rows, range(len(symbols)))
        gain = _gain(decoder, rows)
    return without_copies(decoder, rows, gain)


def _gain(decoder: Matrix, rows: Matrix) -> float:
    """Noise gain of a decoding matrix, as `cocoi_cli.codes.gain` defines it; an answer's norm is that of its row."""
    return max(1.0, float(np.linalg.norm(decoder * np.linalg.norm(rows, axis=1), axis=1).max()))
