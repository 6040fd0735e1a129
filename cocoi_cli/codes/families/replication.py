"""Replication: each piece is held by several agents, and the first answer wins.

Survives any loss that leaves one holder of each piece. At two holders, two unlucky
losses are fatal where a code of the same cost survives any n/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.codes.copies import CopyCode

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Code

SCHEME = "replication"


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """Make n copies of k pieces, spread as evenly as n allows.

    Raises:
        BadCodeError: If not 1 <= k <= n.
    """
    return CopyCode(SCHEME, n, k)


def default_pieces(agents: int) -> int:
    """Two holders of each piece; three of some where the number of agents is odd."""
    return max(1, agents // 2)
