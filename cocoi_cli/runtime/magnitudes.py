"""How large the values of an array are, which decides what they can travel as."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from cocoi_cli.runtime.report import AnyArray

LARGEST_FLOAT16: Final = 65504.0
SMALLEST_NORMAL_FLOAT16: Final = 2.0**-14  # below it, digits are lost


def peak(x: AnyArray) -> float:
    """The largest magnitude; not finite if any value is not.

    Cost: two passes, nothing allocated.
    """
    if x.size == 0:
        return 0.0
    highest = float(np.max(x))  # not a number if any value is none
    return highest if math.isnan(highest) else max(highest, -float(np.min(x)))


def fits_float16(largest: float) -> bool:
    """Whether float16 holds an array of this peak, unscaled, with an error that is small against the peak."""
    return largest == 0.0 or SMALLEST_NORMAL_FLOAT16 <= largest <= LARGEST_FLOAT16
