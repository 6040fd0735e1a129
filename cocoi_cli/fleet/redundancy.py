"""How many agents a fleet can do without, as `cocoi infer` codes unless told otherwise. Pure."""

from __future__ import annotations

from typing import Final

from cocoi_cli.codes.registry import default_pieces

SCHEME: Final = "coded"
"""The code that `cocoi infer` uses by default."""


def enough(agents: int) -> int:
    """Answers that are enough when so many agents take part: k for n."""
    return default_pieces(SCHEME, agents)


def may_be_away(agents: int) -> int:
    """How many of so many agents may be restarted at the same time: n - k, and at least one at all."""
    return max(1, agents - enough(agents))
