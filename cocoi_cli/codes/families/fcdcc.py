"""FCDCC: input and filters coded, so that an agent stores a part of the weights only.

The input is cut into k_A row pieces, the filters into k_B groups of output channels. A share is two mixtures of the
former and two of the latter (one of an operand that is not cut), its answer their four convolutions. The coded filters
are made once and stored on their agent, so a share can be computed at its home only. Any `k` answers hold as many
blocks as the output has and are solved for them; sets that enlarge rounding error beyond the limit wait for one more.

The gain is memory on the agents, `l_B / k_B` of the weights; the price is bandwidth, `l_A / k_A` of the input each, and
a dense decode of 8k operations per element of the output. What `k` and `filters` leave of k_A follows from them.

Notation: `n` shares, `k` = delta answers that suffice, `k_A`, `k_B`, `l_A`, `l_B` as in `codes/rotation.py`. Beside the
n shares there are k *plain* ones, numbered from n on, which hold uncoded pieces and filters: what the host computes
where agents fail. Together they cover the output.

Source: docs/methods.md, FCDCC; Tan et al., arXiv 2411.01579.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from cocoi_cli.codes.decodings import Decoding, make_decoding
from cocoi_cli.codes.errors import BadCodeError
from cocoi_cli.codes.filter_cost import LayerSize, cost_optimum
from cocoi_cli.codes.generator import harmonic_frame
from cocoi_cli.codes.linear_code import GuardedCode, all_but_two, check_gain, check_sizes
from cocoi_cli.codes.mixing import mix
from cocoi_cli.codes.rotation import (
    filter_generator,
    filter_groups,
    filter_weights,
    mixtures,
    row_pieces,
    row_weights,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Set

    from cocoi_cli.codes.code import Array, Code

SCHEME = "fcdcc"
STRIPS = 1  # as published: whole tensors
EAGER = True  # and every agent computes; nobody could stand in for one that is late


@dataclass(frozen=True, slots=True)
class FilterCode(GuardedCode):
    """Rotation-matrix codes on both operands of a convolution, with a guard.

    A request is refused where the *median* noise gain is above the limit, as in `coded`. It is taken from the
    harmonic frame of n rows and k columns, whose sets have the same condition numbers and at least the same gain.

    Attributes:
        n: Shares, at least `k`.
        k: Answers that suffice, delta; at least 1.
        gain_limit: Largest noise gain that is decoded.
        filters: Groups of output channels, k_B: 1, or twice a divisor of `k`.

    Raises:
        BadCodeError: If not 1 <= k <= n, or no k_A goes with `filters`.
        IllConditionedError: If the median gain is above the limit.
    """

    n: int
    k: int
    gain_limit: float
    filters: int = 1

    name: ClassVar[str] = SCHEME

    def __post_init__(self) -> None:
        check_sizes(SCHEME, self.n, self.k)
        if self.filters not in filter_groups(self.k):
            rule = f"{self.filters} groups of filters: 1, or twice a divisor of k"
            raise BadCodeError(SCHEME, self.n, self.k, rule)
        check_gain(harmonic_frame(self.n, self.k), self.gain_limit)

    @property
    def row_pieces(self) -> int:
        """Pieces that the input is cut into, k_A."""
        return row_pieces(self.k, self.filters)

    @property
    def inputs(self) -> int:
        """Mixtures of the input in a share, l_A."""
        return mixtures(self.row_pieces)

    @property
    def weights(self) -> int:
        """Mixtures of the filters in a share, l_B."""
        return mixtures(self.filters)

    @property
    def blocks(self) -> int:
        """Blocks in an answer, its first axis: l_A l_B, input mixture u by filter mixture v at `u * l_B + v`."""
        return self.inputs * self.weights

    @property
    def pieces(self) -> int:
        """Blocks of the output, k_A k_B; block `a * k_B + b` is row piece a of filter group b."""
        return self.row_pieces * self.filters

    @property
    def shares(self) -> int:
        """Number of shares, n; the plain ones are not counted."""
        return self.n

    @property
    def movable(self) -> bool:
        """Whether all agents hold the same weights: with a single group there is nothing to mix."""
        return self.filters == 1

    def piece_of(self, share: int) -> None:
        """No share is a single piece."""
        self._check(share)

    def plain_shares(self) -> Iterable[int]:
        """Those that hold uncoded pieces and filters."""
        return range(self.n, self.n + self.k)

    def encode(self, pieces: Array, share: int) -> Array:
        """Mix the row pieces for one share.

        Cost: k_A l_A multiply-adds per element of a piece.

        Args:
            pieces: `(k_A, *shape)` float32, C-contiguous; borrowed.
            share: Index in `range(n)`, or of a plain share.

        Returns:
            `(l_A, *shape)` float32, new memory; a view of `pieces` for a plain share.
        """
        self._check(share)
        if share >= self.n:
            first = (share - self.n) // (self.filters // self.weights) * self.inputs
            view: Array = pieces[first : first + self.inputs]
            return view
        return mix(self._row_weights(share), pieces)

    def encode_shares(self, pieces: Array, shares: Sequence[int], out: Array | None = None) -> tuple[Array, ...]:
        """Make several shares of `range(n)`, reading the pieces once.

        Args:
            pieces: As in `encode`.
            shares: Indices in `range(n)`.
            out: Memory: at least `len(shares) * l_A` arrays of `shape`, float32, C-contiguous.
        """
        if not shares:
            return ()
        rows = np.concatenate([self._row_weights(share) for share in shares])
        mixed = mix(rows, pieces, out)
        return tuple(mixed[at * self.inputs : (at + 1) * self.inputs] for at in range(len(shares)))

    def encode_filters(self, weight: Array, share: int) -> Array:
        """The coded filters of one share, to be made once and stored where the share is at home.

        Args:
            weight: `(out_channels, in_channels, *kernel)` float32; the last group is filled up with zeros.
            share: Index in `range(n)`, or of a plain share.

        Returns:
            `(l_B * ceil(out_channels / k_B), in_channels, *kernel)` float32; `weight` itself where k_B is 1.
        """
        self._check(share)
        if self.filters == 1:
            return weight
        groups = self.group_filters(weight)
        if share >= self.n:
            first = (share - self.n) % (self.filters // self.weights) * self.weights
            mixed = groups[first : first + self.weights]
        else:
            coded = filter_weights(share, self.n, self.row_pieces, self.filters).astype(np.float32)
            mixed = mix(coded, groups)
        joined: Array = mixed.reshape(-1, *weight.shape[1:])
        return joined

    def group_filters(self, weight: Array) -> Array:
        """The filters in k_B groups, filled up with zeros: `(k_B, per group, in_channels, *kernel)` float32."""
        each = -(-len(weight) // self.filters)
        if each * self.filters == len(weight):
            return weight.reshape(self.filters, each, *weight.shape[1:])
        padded = np.zeros((self.filters * each, *weight.shape[1:]), np.float32)
        padded[: len(weight)] = weight
        return padded.reshape(self.filters, each, *weight.shape[1:])

    def decoding(self, arrived: Set[int]) -> Decoding:
        """How the blocks of the output follow from those of these answers.

        Nearly all are computed, with `l_A l_B` multiply-adds per answer and element; only plain shares hold some.
        """
        return _decoding(self.n, self.k, self.filters, tuple(sorted(arrived)))

    def _check(self, share: int) -> None:
        if not 0 <= share < self.n + self.k:
            message = f"share {share} of {self.n} and {self.k} plain ones"
            raise IndexError(message)

    def _row_weights(self, share: int) -> Array:
        return row_weights(share, self.n, self.row_pieces).astype(np.float32)


def make(n: int, k: int, *, gain_limit: float, filters: int = 1) -> Code:
    """The code that any `k` answers decode, with the filters in so many groups; see `FilterCode`."""
    return FilterCode(n, k, gain_limit, filters)


def default_filters(k: int, layer: LayerSize) -> int:
    """The k_B with the least to upload and to store together; 1 where the layer cannot be cut so."""
    try:
        return cost_optimum(k, layer).filters
    except ValueError:
        return 1


default_pieces = all_but_two


@lru_cache(maxsize=2048)
def _decoding(n: int, k: int, filters: int, shares: tuple[int, ...]) -> Decoding:
    generator = filter_generator(n, k, filters)
    each = len(generator) // (n + k)
    rows = [share * each + block for share in shares for block in range(each)]
    return make_decoding(generator, rows)
