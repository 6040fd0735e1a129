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

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.codes.gain import Matrix, worst_gain
from cocoi_cli.codes.generator_code import GeneratorCode
from cocoi_cli.codes.linear_code import all_but_two
from cocoi_cli.codes.vandermonde import STRETCH, chebyshev_points, integer_points, vandermonde

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cocoi_cli.codes.code import Code

SCHEME = "cocoi"
AXIS = "width"
STRIPS = 1
TRANSPORT = "f32"
EAGER = True

LARGEST_POWER = 2.0**24  # above, float32 does not hold the powers of integers


class VandermondeCode(GeneratorCode):
    """Evaluations of the polynomial whose coefficients are the pieces."""

    name = SCHEME
    strict = True

    def generator(self) -> Matrix:
        """Powers of the points."""
        return paper_generator(self.n, self.k, self.gain_limit)

    def plain_shares(self) -> Iterable[int]:
        """The pieces from the last on: what the answers must give is then the lowest powers."""
        return range(self.n + self.k - 1, self.n - 1, -1)


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """The paper's code with these parameters; see `GeneratorCode`."""
    return VandermondeCode(n, k, gain_limit)


default_pieces = all_but_two


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
