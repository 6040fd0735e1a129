"""What a plan is to be good at, and what it may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

from cocoi_cli.errors import UsageError
from cocoi_cli.planning.candidates import CHOICES

MEAN: Final = "mean"
GAIN: Final = 0.10
"""Part of the host's own time that must be won before anything is distributed: predictions err, and so do fleets."""


class BadObjectiveError(UsageError):
    """What a plan is to be good at is neither the mean nor a quantile (exit 2)."""

    code: ClassVar[str] = "bad-objective"

    def __init__(self, objective: str) -> None:
        super().__init__(
            f"`{objective}` is no objective; it is `mean`, or a quantile from `p50` to `p99`", objective=objective
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How to plan.

    Attributes:
        objective: `mean`, or a quantile from `p50` to `p99`: the latency that is made as small as possible.
        transport: `f16`: whatever is quickest on the wire, that or float32; `f32`: float32 both ways.
        schemes: What may be used: `local`, `fused` and names of code families. `local` is used where nothing else
            fits, whether it is among them or not.
        host: Whether the host may compute shares too.
        gain: Part of the host's own time that must be won; 0 to distribute whatever seems a little quicker.
        alone_s: Measured time of the unmodified model on the host, which corrects the host's model; None where
            it was not measured.
        bytes_beside: Bytes of the weights that the model reads beside its convolutions: they say what its dense layers
            take where `alone_s` does not.

    Raises:
        BadObjectiveError: If `objective` is neither.
    """

    objective: str = MEAN
    transport: str = "f16"
    schemes: tuple[str, ...] = CHOICES
    host: bool = True
    gain: float = GAIN
    alone_s: float | None = None
    bytes_beside: int = 0

    def __post_init__(self) -> None:
        """Refuse an objective that is none."""
        _ = self.quantile

    @property
    def quantile(self) -> float | None:
        """Order of the quantile; None for the mean."""
        if self.objective == MEAN:
            return None
        digits = self.objective.removeprefix("p")
        if digits == self.objective or not digits.isascii() or not digits.isdigit() or not 50 <= int(digits) <= 99:
            raise BadObjectiveError(self.objective)
        return int(digits) / 100
