"""One connected host as the worker sees it: its runs, its requests, its answers on the way out."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cocoi_agent.wire.messages import ANSWER_CREDIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_agent.connection import Connection
    from cocoi_agent.jobs import Job
    from cocoi_agent.wire.messages import Answer, Fault, Hello, Message
    from cocoi_agent.wire.tensors import AnyArray

Verdict = tuple[str, str]
"""Why something is refused: code and sentence."""

SEND_BYTES = 32 * 1024 * 1024
"""Answer tensors that may wait for one host; above it nothing more is computed for it."""


class Client:
    """State of one connection.

    Attributes:
        connection: To the host.
        name: What the host calls itself.
        greeted: Whether its `Hello` was answered.
        answer_credit: Whether it takes the credit of a run out of the last answer.
        connected_s: When it connected, on the worker's clock.
        runs: Unfinished runs by number.
        verdict: Why the message whose tensors are arriving is refused: code and
            sentence; None while it is welcome.
        arriving: Bytes reserved for the message whose tensors are arriving.
        requests: Puts, loads and haves that the store thread has not answered.
        parked: Runs that wait for this host to read its answers.
        progress_s: When the host last took something while answers waited for it.

    Args:
        on_room: Called when answers have left and more may be computed.
        on_refused: Called when the host is cut off for a fault of its own.
    """

    def __init__(
        self,
        connection: Connection,
        connected_s: float,
        on_room: Callable[[Client], None],
        on_refused: Callable[[Client, Fault], None],
    ) -> None:
        self.connection = connection
        self._on_room = on_room
        self._on_refused = on_refused
        connection.on_drained = self._drained
        self.name = ""
        self.greeted = False
        self.answer_credit = False
        self.connected_s = connected_s
        self.runs: dict[int, Job] = {}
        self.verdict: Verdict | None = None
        self.arriving = 0
        self.requests = 0
        self.parked: list[Job] = []
        self.progress_s = connected_s
        self._outbox: deque[tuple[Answer, tuple[AnyArray, ...], int]] = deque()
        self._waiting_bytes = 0
        self._credit = 0
        self._unreturned = 0
        self._seen_out = 0

    def __repr__(self) -> str:
        return f"<Client {self.name!r} runs={len(self.runs)} outbox={len(self._outbox)} credit={self._credit}>"

    @property
    def label(self) -> str:
        """Name, where it is known, and address: for a person."""
        return f"host `{self.name}` at {self.connection.peer}" if self.greeted else f"a host at {self.connection.peer}"

    def tell(self, message: Message) -> None:
        """Send a message without tensors."""
        self.connection.send_nowait_control(message)

    def refuse(self, fault: Fault) -> None:
        """Tell the host why, and close."""
        self._on_refused(self, fault)
        self.connection.send_nowait_control(fault)
        self.connection.close()

    def greet(self, hello: Hello) -> None:
        """Take what the host said of itself."""
        self.greeted = True
        self.name = hello.name
        self.answer_credit = ANSWER_CREDIT in hello.features
        self._credit = hello.credit

    def answer(self, answer: Answer, arrays: Sequence[AnyArray]) -> None:
        """Send an answer, those with tensors in order and as far as the credit goes."""
        size = sum(array.nbytes for array in arrays)
        if not size:
            self.connection.send_nowait(answer, arrays)
            return
        self._outbox.append((answer, tuple(arrays), size))
        self._waiting_bytes += size
        self._flush()

    def returned(self, size: int) -> None:
        """The host has consumed answers of this size."""
        self._unreturned = max(0, self._unreturned - size)
        self._flush()
        self._on_room(self)

    def is_stalled(self) -> bool:
        """Whether too much waits for this host to read."""
        return self._waiting_bytes + self.connection.queued_bytes > SEND_BYTES

    def stalled_for(self, now: float) -> float:
        """Seconds for which answers have waited without any of them leaving."""
        waiting = self._waiting_bytes + self.connection.queued_bytes
        moved = self.connection.bytes_out + self._unreturned
        if not waiting or moved != self._seen_out:
            self._seen_out = moved
            self.progress_s = now
        return now - self.progress_s

    def _drained(self) -> None:
        if self.parked:
            self._on_room(self)

    def _flush(self) -> None:
        # One answer may always go: a credit below its size would block for ever.
        while self._outbox and (not self._unreturned or self._unreturned + self._outbox[0][2] <= self._credit):
            answer, arrays, size = self._outbox.popleft()
            self._waiting_bytes -= size
            self._unreturned += size
            self.connection.send_nowait(answer, arrays)
