"""A thread that does one thing after another for an asyncio loop.

Results come back as calls in the loop, so that state has one owner and needs no lock.

Waking the loop is a system call, during which the interpreter's lock goes to the
loop: a compute thread that woke it would then wait 0.2 ms for its turn before every
strip. So the results pass through a second thread, the messenger, which comes to
that lock when the first has entered its next computation. With nothing to do next
the thread tells the loop itself, unless the messenger still has something to tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any

Work = Callable[[], Any]
Done = Callable[[Any, BaseException | None], None]


class Lane:
    """One thread, its inbox, and its messenger; both are daemon threads.

    Must be made inside a running loop; `submit` is called in that loop.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[tuple[Work, Done] | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[tuple[Done, Any, BaseException | None] | None] = queue.SimpleQueue()
        self._closed = False
        self._passed = 0  # results given to the messenger; written by the thread
        self._told = 0  # results that the messenger has told; written by it
        threading.Thread(target=self._work, name=name, daemon=True).start()
        threading.Thread(target=self._report, name=f"{name}-messenger", daemon=True).start()

    def submit(self, work: Work, done: Done) -> None:
        """Do `work()` in the thread; then call `done(result, None)` or `done(None, error)` in the loop."""
        self._inbox.put((work, done))

    def close(self) -> None:
        """Let the threads end after what they are doing; nothing is reported from here on."""
        self._closed = True
        self._inbox.put(None)

    def _work(self) -> None:
        while (item := self._inbox.get()) is not None and not self._closed:
            work, done = item
            result, error = None, None
            try:
                result = work()
            except BaseException as caught:  # noqa: BLE001, RUF100 - it is reported in the loop
                error = caught
            if self._inbox.empty() and self._told == self._passed:
                self._tell(done, result, error)
            else:
                self._passed += 1
                self._finished.put((done, result, error))
            del item, work, done, result, error  # let go of tensors while waiting
        self._finished.put(None)

    def _report(self) -> None:
        while (finished := self._finished.get()) is not None:
            self._tell(*finished)
            self._told += 1
            del finished

    def _tell(self, done: Done, result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - passed through
        # The loop may be closed already: the process is ending.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._deliver, done, result, error)

    def _deliver(self, done: Done, result: Any, error: BaseException | None) -> None:  # noqa: ANN401 - passed through
        if not self._closed:
            done(result, error)
