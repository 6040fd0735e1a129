"""Wrong answers, as an ill-meaning agent or a memory error makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_agent.wire.tensors import AnyArray

if TYPE_CHECKING:
    from bench.lab.behaviour import Lie

Spoil = Callable[[AnyArray], AnyArray]
"""From a tensor to a wrong one of the same type and shape; the right one is left as it is."""

_MANTISSA_BITS: Final = {2: 10, 4: 23, 8: 52}  # by the bytes of a floating-point number


def spoiler(lie: Lie, seed: int = 0) -> Spoil | None:
    """What spoils answers; None for an honest agent."""
    rng = np.random.default_rng(seed)
    match lie.kind:
        case "noise" if lie.fraction > 0:
            return lambda answer: _noisy(answer, lie.fraction, rng)
        case "flip":
            return lambda answer: _flipped(answer, rng)
        case _:
            return None


def _noisy(answer: AnyArray, fraction: float, rng: np.random.Generator) -> AnyArray:
    """Every number is wrong by up to a fraction of the largest one."""
    if not answer.size or answer.dtype.kind != "f":
        return answer
    wide = answer.astype(np.float32)
    wide += rng.uniform(-1, 1, wide.shape).astype(np.float32) * (fraction * float(np.max(np.abs(wide))))
    with np.errstate(over="ignore"):
        return wide.astype(answer.dtype)


def _flipped(answer: AnyArray, rng: np.random.Generator) -> AnyArray:
    """One bit of the largest number is wrong: its sign, or one of its exponent, so that it counts."""
    if not answer.size or answer.dtype.kind != "f":
        return answer
    wrong = np.ascontiguousarray(answer).copy()
    size = wrong.dtype.itemsize
    bit = int(rng.integers(_MANTISSA_BITS[size], 8 * size))
    bits = wrong.reshape(-1).view(f"u{size}")
    place = int(np.argmax(np.abs(answer.reshape(-1))))
    bits[place] ^= bits.dtype.type(1 << bit)
    return wrong
