"""A thread that does one thing after another for an asyncio loop.

Results come back as calls in the loop, so that state has one owner and needs no lock.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any

Done = Callable[[Any, BaseException | None], None]


class Lane:
    """One daemon thread and its inbox.

    Must be made inside a running loop; `submit` is called in that loop.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[tuple[Callable[[], Any], Done] | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Any], done: Done) -> None:
        """Do `work()` in the thread; then call `done(result, None)` or `done(None, error)` in the loop."""
        self._inbox.put((work, done))

    def close(self) -> None:
        """Let the thread end after what it is doing; nothing is reported from here on."""
        self._closed = True
        self._inbox.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread to end; whether it did."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while True:
            item = self._inbox.get()
            if item is None or self._closed:
                return
            work, done = item
            try:
                result, error = work(), None
            except BaseException as caught:  # noqa: BLE001, RUF100 - it is reported in the loop
                result, error = None, caught
            self._report(done, result, error)
            del item, work, done, result, error  # let go of tensors while waiting

    def _report(self, done: Done, result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - passed through
        try:
            self._loop.call_soon_threadsafe(self._deliver, done, result, error)
        except RuntimeError:
            self._closed = True  # the loop is closed: the process is ending

    def _deliver(self, done: Done, result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - passed through
        if not self._closed:
            done(result, error)
