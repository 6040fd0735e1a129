"""What an agent of the rig does beside its work: how long it dawdles, and how it lies.

Two texts, as the words of a fault script have them:

    delay   none | exp MEAN [SEED] | trace SEED
    lie     none | FRACTION | flip
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from bench.lab.errors import usage

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE: Final = "none"

# Service times in seconds, fitted to the trace published with collage inference (Narra and
# others, arXiv 1904.12222): a body, and two of a hundred tasks five times as long.
BODY: Final = (math.log(0.138), 0.245)  # of a log-normal distribution
BODY_MEAN_S: Final = 0.142
SLOW: Final = (0.706, 0.04)  # of a normal distribution
SLOW_SHARE: Final = 0.02

Draw = Callable[[], float]
"""How much longer the next task shall take, as a multiple of its own time; 0 or more."""


@dataclass(frozen=True, slots=True)
class Delay:
    """A random delay of each task.

    Attributes:
        kind: `exp` multiplies a task's time by 1 + Exp(mean), `trace` by a draw of the trace
            over the mean of its body; a draw below 1 leaves the task as it is.
        mean: Of `exp`.
        seed: The same one gives the same draws on the same device.
    """

    kind: Literal["none", "exp", "trace"] = "none"
    mean: float = 0.0
    seed: int = 0

    @property
    def text(self) -> str:
        """The words it was parsed from."""
        return {"none": NONE, "exp": f"exp {self.mean:g} {self.seed}", "trace": f"trace {self.seed}"}[self.kind]


@dataclass(frozen=True, slots=True)
class Lie:
    """What is done to each answer.

    Attributes:
        kind: `noise` adds to every number up to `fraction` of the largest one; `flip` flips
            one bit of one number.
        fraction: Of `noise`.
    """

    kind: Literal["none", "noise", "flip"] = "none"
    fraction: float = 0.0

    @property
    def text(self) -> str:
        """The words it was parsed from."""
        return {"none": NONE, "noise": f"{self.fraction:g}", "flip": "flip"}[self.kind]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Both; an honest and prompt agent by default."""

    delay: Delay = Delay()
    lie: Lie = Lie()


def parse_delay(words: Sequence[str]) -> Delay:
    """A delay from the words after `delay NAME`.

    Raises:
        RigError: If they mean none.
    """
    match list(words):
        case ["none"]:
            return Delay()
        case ["exp", mean]:
            return Delay("exp", _number(mean))
        case ["exp", mean, seed]:
            return Delay("exp", _number(mean), _seed(seed))
        case ["trace", seed]:
            return Delay("trace", seed=_seed(seed))
        case _:
            raise usage(f"`{' '.join(words)}` is no delay", "there are `none`, `exp MEAN [SEED]` and `trace SEED`")


def parse_lie(words: Sequence[str]) -> Lie:
    """A lie from the words after `lie NAME`.

    Raises:
        RigError: If they mean none.
    """
    match list(words):
        case ["none"]:
            return Lie()
        case ["flip"]:
            return Lie("flip")
        case [fraction]:
            return Lie("noise", _number(fraction))
        case _:
            raise usage(f"`{' '.join(words)}` is no lie", "there are `none`, a fraction such as `0.1`, and `flip`")


def delay_draw(delay: Delay, name: str) -> Draw | None:
    """What draws the delays of a device's tasks, one after the other; None where there are none.

    Each device has draws of its own, whatever seed they share.
    """
    rng = random.Random(f"{delay.seed} {name}")  # noqa: S311 - emulates chance, protects nothing
    match delay.kind:
        case "exp" if delay.mean > 0:
            return lambda: rng.expovariate(1 / delay.mean)
        case "trace":
            return lambda: max(0.0, _service_time_s(rng) / BODY_MEAN_S - 1)
        case _:
            return None


def _service_time_s(rng: random.Random) -> float:
    return rng.gauss(*SLOW) if rng.random() < SLOW_SHARE else rng.lognormvariate(*BODY)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1e6:
        raise usage(f"`{text}` is no number from 0 on", "write it as `0.5`")
    return number


def _seed(text: str) -> int:
    if not text.isdigit():
        raise usage(f"`{text}` is no seed", "write a whole number from 0 on")
    return int(text)
