"""CoCoI as published: the input cut along its width into k pieces, n shares by a Vandermonde code, any k decode.

Whole tensors in float32, one share per agent, all sent at once. Nothing is systematic: every share is a mixture, and
every set of k answers is solved densely, also when nobody is late. There is no guard as in `coded`, so a request is
refused if its *worst* set of k answers enlarges rounding error beyond the limit.

The paper's evaluation points are not known to us. The integers 1 to n are taken where they pass the limit, which at
1000 ends before (5,4); else the Chebyshev points stretched by a third, the best-conditioned real ones that leave it a
Vandermonde code: (10,8) has a worst gain of 160 with them, and of 4e9 with the integers.

Notation: `n` shares, `k` pieces, `G` (n x k). Beside the n shares there are k that are the pieces, numbered from n on:
only the host computes them, where agents fail.

Source: docs/methods.md, CoCoI's code; Liu, Huang, Tang, arXiv 2501.06856.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.code import Array, Code, Decoded
from cocoi_cli.codes.decodings import Decoding, make_decoding
from cocoi_cli.codes.errors import BadCodeError, IllConditionedError, NotReadyError
from cocoi_cli.codes.gain import Matrix, median_gain, worst_gain
from cocoi_cli.codes.mixing import mix
from cocoi_cli.codes.vandermonde import STRETCH, chebyshev_points, integer_points, vandermonde

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

SCHEME = "cocoi"
AXIS = "width"
STRIPS = 1
TRANSPORT = "f32"
EAGER = True

LARGEST_POWER = 2.0**24  # above, float32 does not hold the powers of integers


@dataclass(frozen=True, slots=True)
class VandermondeCode:
    """Evaluations of the polynomial whose coefficients are the pieces.

    Attributes:
        n: Shares, at least `k`.
        k: Pieces, at least 1.
        gain_limit: Largest noise gain that any k answers may have.

    Raises:
        BadCodeError: If not 1 <= k <= n.
        IllConditionedError: If the worst set of k answers is above the limit.
    """

    n: int
    k: int
    gain_limit: float

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadCodeError(SCHEME, self.n, self.k, "k is at least 1")
        if self.n < self.k:
            raise BadCodeError(SCHEME, self.n, self.k, "k is at most n")
        worst = _worst_gain(self.n, self.k, self.gain_limit)
        if worst > self.gain_limit:
            median = median_gain(paper_generator(self.n, self.k, self.gain_limit))
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
        """Number of shares, n; those that are pieces are not counted."""
        return self.n

    @property
    def needed(self) -> int:
        """Any k answers suffice."""
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

    def piece_of(self, share: int) -> int | None:
        """None for the n shares, which are mixtures; the piece for those from n on."""
        if not 0 <= share < self.n + self.k:
            message = f"share {share} of {self.n} and {self.k} pieces"
            raise IndexError(message)
        return share - self.n if share >= self.n else None

    def share_of(self, piece: int) -> int:
        """The host's share that is `piece`."""
        return self.n + piece

    def encode(self, pieces: Array, share: int) -> Array:
        """Make one share.

        Cost: k multiply-adds per element.

        Args:
            pieces: `(k, *shape)` float32, C-contiguous; borrowed.
            share: Index in `range(n)`, or from n on for a piece itself.

        Returns:
            `shape` float32, new memory; a view of `pieces` for a piece.
        """
        piece = self.piece_of(share)
        if piece is not None:
            view: Array = pieces[piece]
            return view
        mixed: Array = mix(self._rows()[share : share + 1], pieces)[0]
        return mixed

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """Make several shares, reading the pieces once; those that are mixtures are parts of one array, or of `out`."""
        mixtures = [share for share in shares if self.piece_of(share) is None]
        mixed = dict(zip(mixtures, mix(self._rows()[mixtures], pieces, out), strict=True))
        return tuple(mixed[share] if share in mixed else self.encode(pieces, share) for share in shares)

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether `share` is new and `arrived` does not decode yet."""
        return share not in arrived and not self.ready(arrived)

    def deficit(self, arrived: Set[int]) -> int:
        """Answers short of k; one where k came, some of them from the host, that do not decode."""
        return max(self.k - len(arrived), 0) or int(not self.ready(arrived))

    def ready(self, arrived: Set[int]) -> bool:
        """Whether k answers came; where the host's are among them, whether their gain is within the limit too."""
        return len(arrived) >= self.k and self._decoding(arrived).gain <= self.gain_limit

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """Pieces that make `have` decodable, from the last on: what the answers must give is then the lowest powers."""
        known = frozenset(have)
        for share in range(self.n + self.k - 1, self.n - 1, -1):
            if self.ready(known):
                break
            known |= {share}
        return tuple(sorted(known - have))

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """Recover the pieces, all of them: k multiply-adds per element of the output.

        Args:
            arrived: Distinct share indices in the order of the rows of `answers`.
            answers: `(len(arrived), *shape)` float32, C-contiguous; borrowed.
            out: Memory for the pieces, as `Code.decode` says.

        Raises:
            NotReadyError: If too few came, or their gain is over the limit.
        """
        have = set(arrived)
        if len(have) < self.k:
            raise NotReadyError(tuple(arrived), deficit=self.k - len(have))
        decoding = self._decoding(have)
        if decoding.gain > self.gain_limit:
            raise NotReadyError(tuple(arrived), deficit=1, gain=decoding.gain)
        place = {share: row for row, share in enumerate(arrived)}
        rows = [place[share] for share in sorted(have)]  # where each row of the generator's choice stands
        weights = np.empty_like(decoding.weights)
        weights[:, rows] = decoding.weights
        fresh = dict(zip(decoding.missing, mix(weights, answers, out), strict=True))
        pieces = tuple(
            fresh[piece] if piece in fresh else answers[rows[decoding.copied[piece]]] for piece in range(self.k)
        )
        return Decoded(pieces=pieces, exact=True, gain=decoding.gain)

    def _rows(self) -> Array:
        return _rows_float32(self.n, self.k, self.gain_limit)

    def _decoding(self, arrived: Set[int]) -> Decoding:
        return _decoding(self.n, self.k, self.gain_limit, tuple(sorted(arrived)))


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """The paper's code with these parameters; see `VandermondeCode`."""
    return VandermondeCode(n, k, gain_limit)


def default_pieces(agents: int) -> int:
    """Two answers may be missing; one below five agents; none for a single agent."""
    if agents < 5:
        return max(1, agents - 1)
    return agents - 2


@lru_cache(maxsize=256)
def paper_generator(n: int, k: int, gain_limit: float) -> Matrix:
    """The `(n, k)` float64 generator, every entry exact in float32; shared and read-only."""
    generator = _rounded(vandermonde(integer_points(n), k))
    if generator.max() >= LARGEST_POWER or worst_gain(generator) > gain_limit:
        generator = _rounded(vandermonde(chebyshev_points(n, STRETCH), k))
    generator.flags.writeable = False
    return generator


def _rounded(generator: Matrix) -> Matrix:
    """Rounded to float32, so that encoding in float32 uses exactly what decoding inverts."""
    return generator.astype(np.float32).astype(np.float64)


@lru_cache(maxsize=256)
def _worst_gain(n: int, k: int, gain_limit: float) -> float:
    return worst_gain(paper_generator(n, k, gain_limit))


@lru_cache(maxsize=256)
def _rows_float32(n: int, k: int, gain_limit: float) -> Array:
    return paper_generator(n, k, gain_limit).astype(np.float32)


@lru_cache(maxsize=4096)
def _decoding(n: int, k: int, gain_limit: float, rows: tuple[int, ...]) -> Decoding:
    return make_decoding(np.vstack([paper_generator(n, k, gain_limit), np.eye(k)]), rows)
