"""Tiles without any code: any agent may compute any tile, and the first answer wins.

A stage is cut into many strips of a single piece. Agents pull them as they get free; near the end, what is late
is given out a second time. With nothing to encode or decode it costs nothing but the duplicates, and it needs many
small tiles to balance agents of unequal speed. Fused segments are computed so as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.errors import BadCodeError

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Code

SCHEME = "hedged"
STRIPS_PER_AGENT = 2  # a slow agent then holds back half a share at most; more tiles pay more halo and messages


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """N holders of the one piece that a tile is.

    Raises:
        BadCodeError: If `k` is not 1, or `n` is below 1.
    """
    if k != 1:
        raise BadCodeError(SCHEME, n, k, "k is 1")
    return CopyCode(SCHEME, n, k)


def default_pieces(agents: int) -> int:
    """One: a tile is not cut further."""
    return 1
