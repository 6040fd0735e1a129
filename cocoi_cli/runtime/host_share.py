"""The host's own part in a stage: shares computed here, beside those of the agents.

It is one more agent to the session, by the name of `HOST`, without a wire: nothing is
cast and nothing sent. One thread computes one share after another, and answers in the
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from concurrent.futures import Future

    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.works import Work

HOST: Final = "host"


class Owner(Protocol):
    """Who hears of the host's answers; called in the event loop."""

    def host_answered(self, codeword: int, share: int, answer: AnyArray | None, started_s: float) -> None:
        """A share is computed; None where it was dropped before it was begun."""

    def host_failed(self, codeword: int, share: int, error: BaseException) -> None:
        """ONNX Runtime failed on the host."""


class HostShare:
    """One thread of the host that computes shares."""

    def __init__(self, kernels: Kernels, owner: Owner) -> None:
        """Nothing is started before the first share."""
        self._kernels = kernels
        self._owner = owner
        self._thread: ThreadPoolExecutor | None = None
        self._waiting: dict[tuple[int, int], Future[_Computed]] = {}

    def begin(self, work: Work, strip: int, codeword: int, share: int) -> None:
        """Compute a share in the thread when its turn comes."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="cocoi-host-share")
        loop = asyncio.get_running_loop()
        future = self._thread.submit(_compute, work, self._kernels, strip, share)
        self._waiting[codeword, share] = future

        def ended(_: Future[_Computed]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._done, codeword, share)

        future.add_done_callback(ended)

    def cancel(self, codeword: int, share: int) -> None:
        """Drop a share that has not begun; one that has is answered all the same."""
        future = self._waiting.get((codeword, share))
        if future is not None:
            future.cancel()

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False, cancel_futures=True)

    def _done(self, codeword: int, share: int) -> None:
        future = self._waiting.pop((codeword, share))
        if future.cancelled():
            self._owner.host_answered(codeword, share, None, 0.0)
            return
        error = future.exception()
        if error is not None:
            self._owner.host_failed(codeword, share, error)
        else:
            computed = future.result()
            self._owner.host_answered(codeword, share, computed.answer, computed.started_s)


@dataclass(frozen=True, slots=True)
class _Computed:
    """An answer, and when the thread came to it, on the monotonic clock."""

    answer: AnyArray
    started_s: float


def _compute(work: Work, kernels: Kernels, strip: int, share: int) -> _Computed:
    started = time.monotonic()
    return _Computed(work.convolve(kernels, strip, (share,))[0], started)
