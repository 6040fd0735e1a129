"""What goes wrong with devices in a simulation: delays, slow devices, dead ones.

Effects add up: `exp:0.5+dead:1` is random delay with one dead device. The draws come from outside as uniform
numbers, so an effect is a function without state.

Source: docs/simulation.md; the scenarios of CoCoI (arXiv 2501.06856: random delay, failures, both) and the trace
published with Collage inference (arXiv 1904.12222).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist, median
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Chosen = int | tuple[str, ...]
"""Which devices: so many, drawn by the seed; or these."""

AT_ONCE_S: Final = 0.001  # a killed process's socket is closed by its system
SILENT_S: Final = 9.0  # heartbeats every 2 s, four of which must be missed: 8 to 10 s

# The published trace of 137,594 service times is this mixture to within a few per cent between p25 and p99.9.
_SLOW_SHARE: Final = 0.02
_BODY_MEDIAN_S: Final = 0.138
_BODY: Final = NormalDist(math.log(_BODY_MEDIAN_S), 0.245)
_SLOW: Final = NormalDist(0.706, 0.04)


class Effect(Protocol):
    """A delay: the factor by which a device computes one share longer.

    Attributes:
        per_stage: Whether its number is drawn once per device and layer, and not for each share.
        whole: Whether the fixed cost of a share grows too, and not only the convolution.
    """

    per_stage: bool
    whole: bool

    def factor(self, device: int, number: float) -> float:
        """The factor for a device (its index in the fleet), from a number uniform in [0, 1)."""
        ...


@dataclass(frozen=True, slots=True)
class Exponential:
    """1 + Exp(mean), for each device anew in every stage, or for every share."""

    mean: float
    per_stage: bool = True
    whole: bool = False

    def factor(self, device: int, number: float) -> float:
        """Larger than 1, without limit."""
        del device
        return 1.0 - self.mean * math.log1p(-number)


@dataclass(frozen=True, slots=True)
class Bimodal:
    """Service times of a cloud fleet over their median: 98 % near 1, 2 % near 5.

    Source: the trace published with Collage inference (arXiv 1904.12222), 137,594 service times.
    """

    per_stage: bool = False
    whole: bool = False

    def factor(self, device: int, number: float) -> float:
        """Positive: the first 2 % of the numbers are the slow mode."""
        del device
        if number < _SLOW_SHARE:
            return max(_SLOW.inv_cdf(_inside(number / _SLOW_SHARE)), 0.0) / _BODY_MEDIAN_S
        rest = (number - _SLOW_SHARE) / (1 - _SLOW_SHARE)
        return math.exp(_BODY.inv_cdf(_inside(rest))) / _BODY_MEDIAN_S


@dataclass(frozen=True, slots=True)
class Recorded:
    """Factors that were recorded, drawn at random with replacement."""

    factors: tuple[float, ...] = field(repr=False)
    per_stage: bool = False
    whole: bool = False

    @classmethod
    def of_seconds(cls, seconds: Sequence[float]) -> Recorded:
        """Service times of equal pieces of work: each over their median is a factor."""
        usual = median(seconds)
        return cls(tuple(value / usual for value in seconds))

    def factor(self, device: int, number: float) -> float:
        """One of the recorded factors."""
        del device
        return self.factors[int(number * len(self.factors))]


@dataclass(frozen=True, slots=True)
class Slow:
    """Some devices are slower by a factor at everything that they do."""

    devices: Chosen
    times: float
    per_stage: ClassVar[bool] = False
    whole: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class Dead:
    """Some devices are gone, and the host knows: they are no part of the fleet."""

    devices: Chosen


@dataclass(frozen=True, slots=True)
class Dying:
    """Some devices die unexpectedly.

    Attributes:
        devices: Which.
        at_s: When, in seconds since the first inference began.
        noticed_s: How long after that the host knows.
    """

    devices: Chosen
    at_s: float
    noticed_s: float


@dataclass(frozen=True, slots=True)
class Straggling:
    """Everything that goes wrong in one simulation.

    Attributes:
        text: As it was asked for: `none`, `exp:0.5`, `slow:2x3+dead:1`.
        effects: Delays of all devices; their factors multiply.
        slow: Devices that are always slower.
        dead: Devices that the host knows to be gone.
        dying: Devices that die.
    """

    text: str = "none"
    effects: tuple[Exponential | Bimodal | Recorded, ...] = ()
    slow: tuple[Slow, ...] = ()
    dead: tuple[Dead, ...] = ()
    dying: tuple[Dying, ...] = ()


NONE: Final = Straggling()


def members(chosen: Chosen, names: Sequence[str], order: Sequence[int], *, from_end: bool = False) -> tuple[int, ...]:
    """Indices of the chosen devices, ascending.

    Args:
        chosen: So many, or these names.
        names: Of the fleet.
        order: A permutation of its indices: who is meant by "two of them".
        from_end: Whether to count from the end of `order`, so that slow and dead devices are different ones.
    """
    if isinstance(chosen, int):
        if chosen == 0:
            return ()
        return tuple(sorted(order[-chosen:] if from_end else order[:chosen]))
    return tuple(sorted(names.index(name) for name in chosen))


def _inside(number: float) -> float:
    """A number strictly between 0 and 1: quantiles of 0 and 1 are infinite."""
    return min(max(number, 1e-12), 1 - 1e-12)
