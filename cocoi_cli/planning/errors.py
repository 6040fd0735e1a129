"""What can be impossible about a requested plan, as facts."""

from __future__ import annotations

from typing import ClassVar

from cocoi_cli.errors import FleetError, UsageError


class TooFewAgentsError(FleetError):
    """More agents were asked for than are live (exit 4)."""

    code: ClassVar[str] = "too-few-agents"

    def __init__(self, *, asked: int, live: int, symbol: str) -> None:
        are = "agent is" if live == 1 else "agents are"
        super().__init__(f"`{symbol}` = {asked} was asked for, and {live} {are} live", asked=asked, live=live)


class BadSizeError(UsageError):
    """`n` or `k` is below what any plan can have, or k is above n (exit 2)."""

    code: ClassVar[str] = "bad-size"

    def __init__(self, *, n: int | None, k: int | None, rule: str) -> None:
        super().__init__(f"{rule}; n = {_shown(n)} and k = {_shown(k)} were asked for", n=n, k=k, rule=rule)


class UnknownTransportError(UsageError):
    """The transport type has no name that a plan knows (exit 2)."""

    code: ClassVar[str] = "unknown-transport"

    def __init__(self, transport: str, known: tuple[str, ...]) -> None:
        listed = ", ".join(f"`{name}`" for name in known)
        super().__init__(f"unknown transport type `{transport}`; known are {listed}", transport=transport)


def _shown(value: int | None) -> str:
    return "none" if value is None else str(value)
