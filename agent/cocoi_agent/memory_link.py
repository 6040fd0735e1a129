"""Two connections joined in memory: real frames, really parsed, no socket.

For tests of anything that talks the protocol, in one loop and without a clock.
Bytes are delivered by the loop, in order, in pieces of at most `piece` bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from cocoi_agent.connection import Connection, ConnectionAdmit, OnLost, OnMessage

if TYPE_CHECKING:
    from cocoi_agent.wire.limits import Limits


class MemoryTransport(asyncio.Transport):
    """One direction's writer and the other's reader."""

    def __init__(self, connection: Connection, piece: int) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.connection = connection
        self._piece = piece
        self.peer: MemoryTransport | None = None
        self._pending: deque[bytes] = deque()
        self._held = False
        self._paused = False
        self.closing = False
        self._scheduled = False

    def join(self, peer: MemoryTransport) -> None:
        """Name the other end."""
        self.peer = peer

    def hold(self) -> None:
        """Deliver nothing from here on: a peer that does not read."""
        self._held = True

    def release(self) -> None:
        """Deliver again."""
        self._held = False
        self._schedule()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Take a copy; it arrives when the loop comes round."""
        if self.closing or not data:
            return
        self._pending.append(bytes(data))
        if not self._paused:
            self._paused = True
            self.connection.pause_writing()
        self._schedule()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not been delivered."""
        return sum(len(data) for data in self._pending)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing to set: a single write fills this transport."""

    def get_extra_info(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - asyncio's own signature
        """Nothing is known about memory."""
        del name
        return default

    def is_closing(self) -> bool:
        """Whether `close` or `abort` was called."""
        return self.closing

    def close(self) -> None:
        """Deliver what is pending, then end both sides."""
        if not self.closing:
            self.closing = True
            self._schedule()

    def abort(self) -> None:
        """End both sides at once."""
        self._pending.clear()
        self.closing = True
        self._held = False
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled and not self._held:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if self._held:
            return
        if self._pending:
            self._give(self._pending.popleft())
            if self._pending:
                self._schedule()
                return
            self._paused = False
            self.connection.resume_writing()
        if self.closing and not self._pending:
            self._end()

    def _give(self, data: bytes) -> None:
        peer = self.peer
        rest = memoryview(data)
        while rest and peer is not None and not peer.closing:
            buffer = peer.connection.get_buffer(-1)
            size = min(len(buffer), len(rest), self._piece)
            buffer[:size] = rest[:size]
            peer.connection.buffer_updated(size)
            rest = rest[size:]

    def _end(self) -> None:
        peer, self.peer = self.peer, None
        if peer is None:
            return
        self.connection.connection_lost(None)
        peer.closing = True
        if peer.peer is not None:
            peer.peer = None
            peer.connection.connection_lost(None)


def memory_pair(
    first: tuple[OnMessage, OnLost],
    second: tuple[OnMessage, OnLost],
    *,
    limits: Limits | None = None,
    admit: ConnectionAdmit | None = None,
    piece: int = 1 << 30,
) -> tuple[Connection, Connection]:
    """Two connected ends in the running loop.

    Args:
        first: `on_message` and `on_lost` of the first end (in tests usually the host).
        second: The same of the second end.
        limits: What both ends accept at first.
        admit: `admit` of the second end.
        piece: Most bytes that arrive at once.
    """
    one = Connection(*first, limits)
    two = Connection(*second, limits, admit=admit)
    left, right = MemoryTransport(one, piece), MemoryTransport(two, piece)
    left.join(right)
    right.join(left)
    one.connection_made(left)
    two.connection_made(right)
    return one, two
