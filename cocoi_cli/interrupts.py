"""Signals that ask this process to end, held back while something must not be left half done."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

ENDS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back(*, forget: bool = False) -> Iterator[None]:
    """Whatever asks this process to end waits: an exception in the middle of closing would leave half of it open.

    Python hears signals in the main thread only; in another one nothing is changed.

    Args:
        forget: Whether what came meanwhile is never heard, for clean-up on the way out; else the first of it is
            heard afterwards, unless what was done has failed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    # Not SIG_IGN instead, which programs started meanwhile would inherit; nor what C code handles.
    heard = [each for each in ENDS if signal.getsignal(each) not in (signal.SIG_IGN, None)]
    before = {each: signal.signal(each, lambda number, _frame: came.append(number)) for each in heard}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    if came and not forget:
        signal.raise_signal(came[0])
