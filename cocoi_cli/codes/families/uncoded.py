"""No redundancy: every agent has its own piece, and all must answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.errors import BadCodeError

if TYPE_CHECKING:
    from cocoi_cli.codes.code import Code

SCHEME = "uncoded"
PATIENT = True  # as in the literature: what is late is waited for, what is lost is sent again


def make(n: int, k: int, *, gain_limit: float) -> Code:
    """The code with n = k pieces.

    Raises:
        BadCodeError: If `n` and `k` differ or are below 1.
    """
    if n != k:
        raise BadCodeError(SCHEME, n, k, "k is n")
    return CopyCode(SCHEME, n, k)


def default_pieces(agents: int) -> int:
    """One piece per agent."""
    return agents
