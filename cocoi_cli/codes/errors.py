"""What can be wrong with a code or a decoding, as facts."""

from __future__ import annotations

from typing import ClassVar

from cocoi_cli.errors import DecodeError, UsageError


class BadCodeError(UsageError):
    """No code of this family has these parameters (exit 2)."""

    code: ClassVar[str] = "bad-code"

    def __init__(self, scheme: str, n: int, k: int, rule: str) -> None:
        super().__init__(f"no `{scheme}` code has n = {n} and k = {k}: {rule}", scheme=scheme, n=n, k=k, rule=rule)


class UnknownSchemeError(UsageError):
    """The scheme names no code family (exit 2)."""

    code: ClassVar[str] = "unknown-scheme"

    def __init__(self, scheme: str, known: tuple[str, ...]) -> None:
        listed = ", ".join(f"`{name}`" for name in known)
        super().__init__(f"unknown scheme `{scheme}`; known are {listed}", scheme=scheme, known=list(known))


class IllConditionedError(UsageError):
    """Decoding would usually enlarge rounding error beyond the limit (exit 2).

    `gain_median` and `gain_worst` are over sets of exactly k answers.
    """

    code: ClassVar[str] = "ill-conditioned"

    def __init__(self, n: int, k: int, *, median: float, worst: float, limit: float) -> None:
        super().__init__(
            f"the code ({n},{k}) is ill-conditioned: decoding from {k} of {n} answers enlarges rounding error "
            f"{median:.3g} times in the median and {worst:.3g} times at worst; the limit is {limit:g}",
            n=n,
            k=k,
            gain_median=median,
            gain_worst=worst,
            gain_limit=limit,
        )


class NotReadyError(DecodeError):
    """These answers do not decode; the session must not have asked (exit 5).

    `gain` is None where the answers are too few for any decoding.
    """

    code: ClassVar[str] = "not-ready"

    def __init__(self, arrived: tuple[int, ...], *, deficit: int, gain: float | None = None) -> None:
        why = f"at least {deficit} more needed" if gain is None else f"their noise gain is {gain:.3g}"
        super().__init__(
            f"the answers of {len(arrived)} shares do not decode: {why}",
            arrived=list(arrived),
            deficit=deficit,
            gain=gain,
        )
