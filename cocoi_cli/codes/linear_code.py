"""What linear codes have in common, so that a family says only what is its own.

`LinearCode` answers `Code` as one does that mixes the input alone. `GuardedCode` decodes by a small matrix, from any
answers that enlarge rounding error no more than a limit. `generator_code.py` has all the rest for a code that is known
by its generator.

Notation: `n` shares, `k` pieces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from cocoi_cli.codes.decodings import recover
from cocoi_cli.codes.errors import BadCodeError, IllConditionedError, NotReadyError
from cocoi_cli.codes.gain import median_gain, worst_gain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    from cocoi_cli.codes.code import Array, Decoded
    from cocoi_cli.codes.decodings import Decoding
    from cocoi_cli.codes.gain import Matrix


class LinearCode(ABC):
    """A code on the input alone of which any k answers may suffice.

    A family is a frozen dataclass; it adds what `Code` has beyond this, and overrides what is otherwise.

    Attributes:
        k: Pieces, at least 1.
    """

    __slots__ = ()

    k: int

    @property
    def pieces(self) -> int:
        """Number of pieces, k."""
        return self.k

    @property
    def needed(self) -> int:
        """No fewer than k answers suffice."""
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

    @abstractmethod
    def encode(self, pieces: Array, share: int) -> Array:
        """Make one share; see `Code.encode`."""

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """Make several shares, each by itself; `out` is not needed."""
        return tuple(self.encode(pieces, share) for share in shares)

    @abstractmethod
    def deficit(self, arrived: Set[int]) -> int:
        """At least how many further useful answers are needed; 0 means ready."""

    def ready(self, arrived: Set[int]) -> bool:
        """Whether nothing is missing."""
        return self.deficit(arrived) == 0

    def useful(self, share: int, arrived: Set[int]) -> bool:
        """Whether `share` is new and `arrived` does not decode yet."""
        return share not in arrived and not self.ready(arrived)

    def plain_shares(self) -> Iterable[int]:
        """Shares without any mixing, which the host computes where agents fail, in the order in which it does."""
        return range(self.k)

    def completing(self, have: Set[int]) -> tuple[int, ...]:
        """Plain shares that make `have` decodable: each that is useful, until it is."""
        known = frozenset(have)
        for share in self.plain_shares():
            if self.ready(known):
                break
            if self.useful(share, known):
                known |= {share}
        return tuple(sorted(known - have))


class GuardedCode(LinearCode):
    """A linear code that is solved for its pieces, with a guard on noise gain.

    Sets of answers that enlarge rounding error beyond the limit wait for one more, and are solved by least squares.
    Pieces that arrived as they are stay untouched.

    Attributes:
        gain_limit: Largest noise gain that is decoded; it belongs to the transport type.
    """

    __slots__ = ()

    gain_limit: float

    @abstractmethod
    def decoding(self, arrived: Set[int]) -> Decoding:
        """How the pieces follow from these answers; it is asked for again and again, so a family remembers it."""

    def lacking(self, arrived: Set[int]) -> int:
        """Answers without which the pieces are not determined, whatever the gain: those short of k."""
        return max(self.k - len(arrived), 0)

    def deficit(self, arrived: Set[int]) -> int:
        """Answers that are lacking; one where none is and the guard wants another."""
        return self.lacking(arrived) or int(not self.ready(arrived))

    def ready(self, arrived: Set[int]) -> bool:
        """Whether the answers determine every piece with a noise gain within the limit."""
        if len(arrived) < self.k or self.lacking(arrived):  # counting is quick
            return False
        return self.decoding(arrived).gain <= self.gain_limit

    def decode(self, arrived: Sequence[int], answers: Array, out: Array | None = None) -> Decoded:
        """Recover the pieces that did not arrive; pass the others through.

        Cost: one multiply-add per element, answer and missing piece. For the arguments see `Code.decode`.

        Raises:
            NotReadyError: If too few came, or the guard refuses the set.
        """
        have = set(arrived)
        lacking = self.lacking(have)
        if lacking:
            raise NotReadyError(tuple(arrived), deficit=lacking)
        decoding = self.decoding(have)
        if decoding.gain > self.gain_limit:
            raise NotReadyError(tuple(arrived), deficit=1, gain=decoding.gain)
        return recover(decoding, arrived, answers, out)


def check_sizes(scheme: str, n: int, k: int) -> None:
    """Refuse what no code has.

    Raises:
        BadCodeError: If not 1 <= k <= n.
    """
    if k < 1:
        raise BadCodeError(scheme, n, k, "k is at least 1")
    if n < k:
        raise BadCodeError(scheme, n, k, "k is at most n")


def check_gain(generator: Matrix, limit: float, *, worst: bool = False) -> None:
    """Refuse a code that is ill-conditioned in the median, or with `worst` for any set of k answers.

    Args:
        generator: `(n, k)` float64.
        limit: Largest noise gain that is decoded.
        worst: Whether sets of k answers above the limit are refused even if they are few.

    Raises:
        IllConditionedError: With both figures.
    """
    if (worst_gain if worst else median_gain)(generator) > limit:
        n, k = generator.shape
        raise IllConditionedError(n, k, median=median_gain(generator), worst=worst_gain(generator), limit=limit)


def all_but_two(agents: int) -> int:
    """How many pieces for so many agents: two answers may be missing; one below five agents; none for a single one."""
    if agents < 5:
        return max(1, agents - 1)
    return agents - 2
