"""Straggling as it is typed: `none`, `exp:0.5`, `slow:2x3`, `dead:1`, `kill:1@0.2`, `bimodal`, `trace:FILE`.

Parts are joined by `+`. Who is meant is a number of devices, drawn by the seed, or names with commas between.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import UsageError
from cocoi_cli.simulation.straggling import (
    AT_ONCE_S,
    SILENT_S,
    Bimodal,
    Chosen,
    Dead,
    Dying,
    Exponential,
    Slow,
    Straggling,
)
from cocoi_cli.simulation.traces import read_trace

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMS: Final = (
    "none", "exp:MEAN", "exp:MEAN:share", "slow:WHOxFACTOR", "dead:WHO", "kill:WHO@SECONDS", "freeze:WHO@SECONDS",
    "bimodal", "trace:FILE",
)  # fmt: skip
_WORDS: Final = ("none", "exp", "slow", "dead", "kill", "freeze", "bimodal", "trace")
_JOINT: Final = re.compile(rf"\+(?=(?:{'|'.join(_WORDS)})(?:[:+]|$))")  # a trace's name may have a plus sign


class BadStragglingError(UsageError):
    """What is asked to go wrong cannot be understood, or is meant for devices that are not there."""

    code: ClassVar[str] = "bad-straggling"

    def __init__(self, text: str, rule: str) -> None:
        super().__init__(f"`--straggling {text}`: {rule}", text=text, rule=rule)
        self.text, self.rule = text, rule


def parse_straggling(text: str, names: Sequence[str]) -> Straggling:
    """Read what goes wrong.

    Args:
        text: As typed.
        names: Of the fleet's devices.

    Raises:
        BadStragglingError: As it says.
        BadTraceError: A trace is named and unfit.
    """
    found = Straggling(text)
    for part in _JOINT.split(text.strip()):
        found = _add(found, text, part.strip(), names)
    return found


def _add(found: Straggling, text: str, part: str, names: Sequence[str]) -> Straggling:
    word, _, rest = part.partition(":")
    match word:
        case "none" if not rest:
            return found
        case "exp":
            mean, _, per = rest.partition(":")
            if per not in ("", "share", "stage"):
                raise BadStragglingError(text, f"`{per}` is neither `stage` nor `share`")
            effect = Exponential(_number(text, mean), per_stage=per != "share")
            return replace(found, effects=(*found.effects, effect))
        case "bimodal" if not rest:
            return replace(found, effects=(*found.effects, Bimodal()))
        case "trace" if rest:
            return replace(found, effects=(*found.effects, read_trace(rest)))
        case "slow":
            who, times, factor = rest.rpartition("x")
            if not times:
                raise BadStragglingError(text, f"`{part}` has no factor: `slow:WHOxFACTOR`")
            slow = Slow(_who(text, who, names), _number(text, factor, above=0.0))
            return replace(found, slow=(*found.slow, slow))
        case "dead":
            return replace(found, dead=(*found.dead, Dead(_who(text, rest, names))))
        case "kill" | "freeze":
            who, _, moment = rest.partition("@")
            at_s = _number(text, moment) if moment else 0.0
            dying = Dying(_who(text, who, names), at_s, AT_ONCE_S if word == "kill" else SILENT_S)
            return replace(found, dying=(*found.dying, dying))
        case _:
            raise BadStragglingError(text, f"`{part}` is none of {', '.join(f'`{form}`' for form in FORMS)}")


def _who(text: str, who: str, names: Sequence[str]) -> Chosen:
    if who.isdecimal():
        count = int(who)
        if count > len(names):
            raise BadStragglingError(text, f"{count} of {len(names)} devices")
        return count
    chosen = tuple(name.strip() for name in who.split(","))
    for name in chosen:
        if name not in names:
            raise BadStragglingError(text, f"`{name}` is neither a number nor a device of the fleet")
    return chosen


def _number(text: str, digits: str, above: float | None = None) -> float:
    try:
        value = float(digits)
    except ValueError:
        raise BadStragglingError(text, f"`{digits}` is no number" if digits else "a number is missing") from None
    if not math.isfinite(value) or value < 0 or (above is not None and value <= above):
        wanted = "number from 0 on" if above is None else f"number above {above:g}"
        raise BadStragglingError(text, f"`{digits}` is no {wanted}")
    return value
