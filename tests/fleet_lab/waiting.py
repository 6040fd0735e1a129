"""Waiting for something to hold, never for time to pass."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0  # emulated devices share this machine's cores with whatever else it does


def until(condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE_S) -> float:
    """Look until something holds; returns after how many seconds it did, and fails when it does not in time."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, f"waited {seconds:g} s in vain: {what}"
        time.sleep(0.05)
    return time.monotonic() - begin
