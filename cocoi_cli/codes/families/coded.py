"""cocoi's own scheme: a systematic (n, k) code with a guard on noise gain.

Any k answers determine the pieces; of those, sets that enlarge rounding error beyond
the limit wait for one more answer and are solved by least squares. Pieces that arrived
as data shares are never touched.

Notation: `n` shares, `k` pieces, `G` (n x k) generator whose first k rows are the
identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.code import Array, Code, Decoded, completing_pieces
from cocoi_cli.codes.errors import BadCodeError, IllConditionedError, NotReadyError
from cocoi_cli.codes.gain import decoding_matrix, median_gain, missing_pieces, noise_gain, worst_gain
from cocoi_cli.codes.generator import systematic_generator
from cocoi_cli.codes.mixing import mix

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

SCHEME = "coded"


@dataclass(frozen=True, slots=True)
class SystematicCode:
    """A systematic linear code over the reals with its guard.

    A request is refused when the *median* noise gain over sets of k answers is above
    the limit: then "any k of n" would be false more often than not. Its worst sets do
    not count, since the guard never decodes from them; (64,48) at float32 is allowed
    although some sets reach 1e5.

    Attributes:
        n: Shares, at least `k`.
        k: Pieces, at least 1.
        gain_limit: Largest noise gain that is decoded; it belongs to the transport type.

    Raises:
        BadCodeError: If not 1 <= k <= n.
        IllConditionedError: If the median gain is above the limit.
    """

    n: int
    k: int
    gain_limit: float

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadCodeError(SCHEME, self.n, self.k, "k is at least 1")
        if self.n < self.k:
            raise BadCodeError(SCHEME, self.n, self.k, "k is at most n")
        median = _median_gain(self.n, self.k)
        if median > self.gain_limit:
            worst = worst_gain(systematic_generator(self.n, self.k))
            raise IllConditionedError(self.n, self.k, median=median, worst=worst, limit=self.gain_limit)

    @property
    def name(self) -> str:
        """The scheme's name."""
        return SCHEME

    @property
    def pieces(self) -> int:
        """Number of pieces, k."""
        return self.k

    @property
    def shares(self) -> int:
        """Number of shares, n."""
        return self.n

    @property
    def needed(self) -> int:
        """Any k answers suffice, but for the guard."""
        return self.k

    @property
    def movable(self) -> bool:
        """Every agent holds the same weights."""
        return True

    @property
    def filters(self) -> int:
        """Only the input is coded."""
        return 1

    def encode_filters(self, weight: Array, share: int) -> Array:
        """The weights as they are."""
        return weight

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """Pieces that `have` lacks, as few as make it decodable."""
        return completing_pieces(self, have)

    def encode(self, pieces: Array, share: int) -> Array:
        """Make one share.

        Cost: nothing for a data share; k multiply-adds per element for a parity share.

        Args:
            pieces: `(k, *shape)` float32, C-contiguous; borrowed, never written.
            share: Index in `range(n)`.

        Returns:
            `shape` float32, C-contiguous; a view of `pieces` for a data share, else
            new memory owned by the caller.
        """
        piece = self.piece_of(share)
        if piece is not None:
            view: Array = pieces[piece]
            return view
        mixed: Array = mix(_rows_float32(self.n, self.k)[share : share + 1], pieces)[0]
        return mixed

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """Make several shares of one codeword, reading the pieces once.

        Args:
            pieces: As in `encode`.
            shares: Indices in `range(n)`.
            out: Memory for the parity shares: at least as many arrays of `shape`, float32, C-contiguous.

        Returns:
            One array per share, each as `encode` makes it; parity shares made together
            are parts of one array.
        """
        parity = [share for share in shares if self.piece_of(share) is None]
        mixed = dict(zip(parity, mix(_rows_float32(self.n, self.k)[parity], pieces, out), strict=True))
        return tuple(mixed[share] if share in mixed else self.encode(pieces, share) for share in shares)

    def piece_of(self, share: int) -> int | None:
        """The piece that this share is, or None for a parity share."""
        if not 0 <= share < self.n:
            message = f"share {share} of {self.n}"
            raise IndexError(message)
        if self.k == 1:
            return 0  # every share of a single piece is a copy
        return share if share < self.k else None

    def share_of(self, piece: int) -> int:
        """The data share that is `piece`."""
        return piece

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether `share` is new and `arrived` does not decode yet."""
        return share not in arrived and not self.ready(arrived)

    def deficit(self, arrived: Set[int]) -> int:
        """Answers short of k; one where k or more came and the guard wants another."""
        if len(arrived) < self.k:
            return self.k - len(arrived)
        return 0 if self.ready(arrived) else 1

    def ready(self, arrived: Set[int]) -> bool:
        """Whether at least k answers came and their noise gain is within the limit.

        Always true when all pieces came as data shares, so at the latest with all n.
        """
        return len(arrived) >= self.k and self._decoding(arrived).gain <= self.gain_limit

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """Recover the pieces that did not arrive; pass the others through.

        Cost: one multiply-add per element, answer and missing piece; the small inverse
        is cached by the set of answers.

        Args:
            arrived: Distinct share indices in the order of the rows of `answers`.
            answers: `(len(arrived), *shape)` float32, C-contiguous; borrowed, and data
                shares are lent on in the result.
            out: Memory for the missing pieces: at least as many arrays of `shape`, float32, C-contiguous,
                apart from `answers`.

        Returns:
            Views of `answers` for pieces that arrived; the missing ones in `out`, or in new memory.

        Raises:
            NotReadyError: If too few came, or the guard refuses the set.
        """
        have = set(arrived)
        if len(have) < self.k:
            raise NotReadyError(tuple(arrived), deficit=self.k - len(have))
        decoding = self._decoding(have)
        if decoding.gain > self.gain_limit:
            raise NotReadyError(tuple(arrived), deficit=1, gain=decoding.gain)
        row_of = {self.piece_of(share): row for row, share in enumerate(arrived)}
        fresh: dict[int, Array] = {}
        if decoding.missing:
            columns = [decoding.columns[share] for share in arrived]
            recovered = mix(np.ascontiguousarray(decoding.weights[:, columns]), answers, out)
            fresh = dict(zip(decoding.missing, recovered, strict=True))
        pieces = tuple(fresh[piece] if piece in fresh else answers[row_of[piece]] for piece in range(self.k))
        return Decoded(pieces=pieces, exact=True, gain=decoding.gain)

    def _decoding(self, arrived: Set[int]) -> _Decoding:
        return _decoding(self.n, self.k, tuple(sorted(arrived)))


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """The systematic code with these parameters; see `SystematicCode`."""
    return SystematicCode(n, k, gain_limit)


def default_pieces(agents: int) -> int:
    """Two answers may be missing; one below five agents; none for a single agent."""
    if agents < 5:
        return max(1, agents - 1)
    return agents - 2


@dataclass(frozen=True, slots=True)
class _Decoding:
    """How to recover the missing pieces from one set of answers.

    Attributes:
        missing: Pieces that did not arrive, ascending.
        columns: Share index to its column of `weights`.
        weights: `(len(missing), len(rows))` float32.
        gain: Noise gain of the set.
    """

    missing: tuple[int, ...]
    columns: dict[int, int]
    weights: Array
    gain: float


@lru_cache(maxsize=4096)  # by the set that answered: a fleet shows few of them, a test many
def _decoding(n: int, k: int, rows: tuple[int, ...]) -> _Decoding:
    if rows and not 0 <= rows[0] <= rows[-1] < n:
        message = f"shares {rows} of {n}"
        raise IndexError(message)
    generator = systematic_generator(n, k)
    missing = tuple(missing_pieces(generator, rows))
    # float64 up to here: the inverse loses digits that float32 cannot spare.
    weights = decoding_matrix(generator, rows)[list(missing)] if missing else np.empty((0, len(rows)))
    return _Decoding(
        missing=missing,
        columns={share: column for column, share in enumerate(rows)},
        weights=weights.astype(np.float32),
        gain=noise_gain(generator, rows),
    )


@lru_cache(maxsize=256)
def _median_gain(n: int, k: int) -> float:
    return median_gain(systematic_generator(n, k))


@lru_cache(maxsize=256)
def _rows_float32(n: int, k: int) -> Array:
    return systematic_generator(n, k).astype(np.float32)
