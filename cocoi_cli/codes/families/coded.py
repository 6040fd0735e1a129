"""cocoi's own scheme: a systematic (n, k) code with a guard on noise gain.

Any k answers determine the pieces; of those, sets that enlarge rounding error beyond the limit wait for one more
answer and are solved by least squares. Pieces that arrived as data shares are never touched. (64,48) at float32 is
allowed although some of its sets reach a gain of 1e5.

Source: docs/methods.md, generators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.codes.generator import systematic_generator
from cocoi_cli.codes.generator_code import GeneratorCode
from cocoi_cli.codes.linear_code import all_but_two

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Code
    from cocoi_cli.codes.gain import Matrix

SCHEME = "coded"


class SystematicCode(GeneratorCode):
    """The pieces themselves, and mixtures of them."""

    name = SCHEME
    systematic = True

    def generator(self) -> Matrix:
        """Identity and parity rows."""
        return systematic_generator(self.n, self.k)

    def piece_of(self, share: int) -> int | None:
        """The piece that this share is, or None for a parity share."""
        piece = super().piece_of(share)
        return 0 if self.k == 1 else piece  # every share of a single piece is a copy


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """The systematic code with these parameters; see `GeneratorCode`."""
    return SystematicCode(n, k, gain_limit)


default_pieces = all_but_two
