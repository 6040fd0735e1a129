"""One connection: frames on an asyncio transport, with one reader and one writer.

Rules of the file:

- Messages without tensors overtake everything queued, also between two chunks of a
  message that is half sent, so that a cancel overtakes a 12 MB tensor.
- At most `WRITE` bytes go to asyncio at a time, and nothing while it holds bytes
  that the kernel did not take: Python 3.11 copies what is left over, and TLS
  encrypts a whole backlog in one callback.
- A short message that finds nothing before it, as most do, goes past the queues.
- What is queued `together` leaves in one write where it is short: each write is a
  packet of its own, and wakes the peer.
- Callbacks are plain functions, called in the loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cocoi_agent.wire.encode import Buffer, Frame, encode, encode_frames
from cocoi_agent.wire.frames import Admit, Parser
from cocoi_agent.wire.messages import Fault, Message
from cocoi_agent.wire.tensors import AnyArray

if TYPE_CHECKING:
    from cocoi_agent.wire.errors import ProtocolError
    from cocoi_agent.wire.limits import Limits

WRITE: Final = 256 * 1024  # bytes handed to asyncio at once
HEAD: Final = 4 * 1024  # bytes of a tensor that ride with a header in front of it
JOIN: Final = 128 * 1024  # frames up to here are joined: copying costs less than a second write and wake-up
CLOSE_S: Final = 2.0  # time for the last bytes to leave before the socket is cut
MAX_CONTROL_BYTES: Final = 4 * 1024 * 1024  # of unsent messages without tensors: more is a peer that does not read

OnMessage = Callable[["Connection", Message, tuple[AnyArray, ...]], None]
OnLost = Callable[["Connection", Exception | None], None]
OnConnect = Callable[["Connection"], None]
ConnectionAdmit = Callable[["Connection", Message, int], bool]


class TransportError(Exception):
    """A connection that could not be made or kept."""

    code: ClassVar[str] = "transport"


class ConnectionLostError(TransportError):
    """The connection ended before a message was written.

    Attributes:
        peer: Address of the other side.
        reason: What is known about the end.
    """

    code: ClassVar[str] = "connection-lost"

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"the connection to {peer} is lost: {reason}")
        self.peer = peer
        self.reason = reason


class _Outgoing:
    """A message with tensors on its way out."""

    __slots__ = ("bytes", "frames", "sent")

    def __init__(self, frames: Iterator[Frame], size: int, sent: asyncio.Future[None] | None) -> None:
        self.frames = frames
        self.bytes = size
        self.sent = sent


class Connection(asyncio.BufferedProtocol):
    """One peer.

    Attributes:
        peer: Address of the other side, for messages.
        bytes_in: Tensor bytes received in complete messages.
        bytes_out: Tensor bytes given to the transport.
        closed: Done once the connection has ended, however it did; never an exception.
        context: For the owner: what it knows about this peer.
        on_drained: Called whenever everything queued has been written.
    """

    def __init__(
        self,
        on_message: OnMessage,
        on_lost: OnLost,
        limits: Limits | None = None,
        on_connect: OnConnect | None = None,
        admit: ConnectionAdmit | None = None,
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_connect = on_connect
        checked: Admit | None = None if admit is None else lambda message, size: admit(self, message, size)
        self._parser = Parser(limits, admit=checked)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._control: deque[list[Buffer]] = deque()
        self._control_bytes = 0
        self._tensors: deque[_Outgoing] = deque()
        self._slices: deque[Buffer] = deque()  # rest of the frame that is being written
        self._written: list[asyncio.Future[None]] = []  # complete as soon as asyncio holds nothing
        self._queued = 0
        self._paused = False
        self._pumping = False
        self._closing = False
        self._error: Exception | None = None
        self.peer = "?"
        self.bytes_in = 0
        self.bytes_out = 0
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.context: Any = None
        self.on_drained: Callable[[], None] | None = None

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else "closing" if self._closing else "open"
        return f"<Connection {self.peer} {state} queued={self._queued} paused={self._paused} {self._parser!r}>"

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing or self.closed.done()

    @property
    def queued_bytes(self) -> int:
        """Bytes that wait to be written: tensors and messages without."""
        return self._queued + self._control_bytes

    @property
    def limits(self) -> Limits:
        """What is accepted from the peer; may be replaced after the greeting."""
        return self._parser.limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._parser.limits = limits

    def send(self, message: Message, tensors: Sequence[AnyArray] = ()) -> asyncio.Future[None]:
        """Queue a message; messages with tensors keep their order among themselves.

        Args:
            message: What to send.
            tensors: Its arrays; borrowed, not to be written to until the future is done.

        Returns:
            A future that completes when the arrays may be reused. It fails with
            `ConnectionLostError` if the connection ends first; it may be ignored.
        """
        sent = self._loop.create_future()
        sent.add_done_callback(_seen)
        if self.is_closed:
            sent.set_exception(ConnectionLostError(self.peer, "it was closed"))
        else:
            self._queue(message, tensors, sent)
        return sent

    def send_nowait(self, message: Message, tensors: Sequence[AnyArray] = ()) -> None:
        """As `send`, for arrays that nobody writes to any more; nothing happens once closed."""
        if not self.is_closed:
            self._queue(message, tensors, None)

    def send_nowait_control(self, message: Message) -> None:
        """Queue a message without tensors; it overtakes those with. Nothing happens once closed."""
        if not self.is_closed:
            self._queue(message, (), None)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Write what is queued inside this context when it ends."""
        if self._pumping:
            yield
            return
        self._pumping = True
        try:
            yield
        finally:
            self._pumping = False
            self._pump()

    def close(self) -> None:
        """End the connection: messages without tensors still leave, queued tensors do not.

        Safe to call at any time, more than once; `closed` completes within `CLOSE_S`.
        """
        if self._closing:
            return
        self._closing = True
        self._drop_tensors("it was closed")
        if self._transport is not None:
            if not self._slices:
                # Between two frames; inside one, other bytes would be taken for its rest.
                for frame in self._control:
                    self._transport.write(b"".join(frame))
            self._transport.close()
            self._loop.call_later(CLOSE_S, self._abort)

    async def aclose(self) -> None:
        """Close, and wait until the connection has ended; bounded by `CLOSE_S`."""
        self.close()
        if self._transport is None:
            return
        await asyncio.wait([self.closed], timeout=CLOSE_S + 1.0)

    def abort(self, error: Exception | None = None) -> None:
        """End the connection at once, dropping what is queued; `on_lost` gets `error`."""
        self._error = self._error or error
        self._closing = True
        self._abort()

    def bound_receiving(self, size: int) -> None:
        """Bound what the kernel holds of what arrives, and with it what the peer has under way.

        Args:
            size: Bytes; Linux adds as much again for its own use, so half is asked for.
        """
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(size // 2, 4096))

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport: its own buffer stays empty, so that control can overtake."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what asyncio promises
        self._transport = transport
        encrypted = transport.get_extra_info("ssl_object") is not None
        # The TLS layer compares with >=, so that a mark of 0 would never resume.
        transport.set_write_buffer_limits(high=1 if encrypted else 0, low=0)
        self.peer = address_text(transport.get_extra_info("peername"))
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._on_connect is not None:
            self._on_connect(self)
        self._pump()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Memory for what arrives: the tensor itself, or the parser's scratch."""
        return self._parser.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        """Deliver what is complete; a peer that broke the protocol is told why and cut."""
        for received in self._parser.buffer_updated(nbytes):
            if self.is_closed:
                return
            self.bytes_in += sum(array.nbytes for array in received.tensors)
            self._on_message(self, received.message, received.tensors)
        error = self._parser.error
        if error is not None and not self._closing:
            self._fail(error)

    def eof_received(self) -> bool:
        """The peer sends no more: close."""
        return False

    def pause_writing(self) -> None:
        """The kernel takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """All that asyncio held is with the kernel."""
        self._paused = False
        self._complete_written()
        self._pump()

    def connection_lost(self, error: Exception | None) -> None:
        """Everything queued fails; the owner hears of it once."""
        self._closing = True
        self._drop_tensors(str(error or self._error or "the peer closed it"))
        self._slices.clear()
        self._control.clear()
        self._control_bytes = 0
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)
            self._on_lost(self, self._error or error)

    # The writer.

    def _is_idle(self) -> bool:
        """Whether what is sent now may go straight to the transport: nothing is before it, and nobody joins it."""
        return self._transport is not None and not (
            self._pumping or self._paused or self._slices or self._control or self._tensors
        )

    def _write_whole(self, frame: Frame, size: int, sent: asyncio.Future[None] | None) -> None:
        """Write a short message at once, as most are, past the queues; `size` bytes of it are tensors."""
        assert self._transport is not None  # noqa: S101 - `_is_idle` has seen it
        self.bytes_out += size
        if sent is not None:
            self._written.append(sent)
        self._pumping = True  # on_lost and pause_writing may come from within write
        try:
            self._transport.write(b"".join(frame))
        finally:
            self._pumping = False
        self._complete_written()
        if self._control or self._tensors:  # queued from within
            self._pump()

    def _pump(self) -> None:
        """Write until the kernel is full or nothing is left; every write is at a legal point."""
        if self._pumping or self._transport is None:
            return
        self._pumping = True  # on_lost and pause_writing may come from within write
        try:
            while not self._paused and not self._closing and self._refill():
                self._write_slice(self._transport)
        finally:
            self._pumping = False
        self._complete_written()

    def _refill(self) -> bool:
        """Make sure that there is something to write: control first, then the next chunk."""
        if self._slices:
            return True
        frames: Frame = []
        while self._control and _size(frames) <= JOIN:
            frames += self._control.popleft()
        self._control_bytes -= _size(frames)
        frames += self._next_chunk()
        self._slices.extend([b"".join(frames)] if frames and _size(frames) <= JOIN else frames)
        return bool(frames)

    def _next_chunk(self) -> Frame:
        """The next frame of the first message with tensors; empty where there is none."""
        while self._tensors:
            for frame in self._tensors[0].frames:
                return frame
            done = self._tensors.popleft()
            self._queued -= done.bytes
            self.bytes_out += done.bytes
            if done.sent is not None:
                self._written.append(done.sent)
        return []

    def _write_slice(self, transport: asyncio.Transport) -> None:
        """Write one piece of at most `WRITE` bytes; a length or header rides with what follows it."""
        buffer = self._slices.popleft()
        if self._slices and len(buffer) < HEAD:
            follower = memoryview(self._slices.popleft())
            room = HEAD - len(buffer)
            if len(follower) > room:
                self._slices.appendleft(follower[room:])
            transport.write(b"".join((buffer, follower[:room])))
            return
        if len(buffer) > WRITE:
            view = memoryview(buffer)
            self._slices.appendleft(view[WRITE:])
            buffer = view[:WRITE]
        transport.write(buffer)

    def _complete_written(self) -> None:
        """Tell the senders whose bytes are all with the kernel."""
        if self._paused or (self._transport and self._transport.get_write_buffer_size()):
            return
        if self.on_drained is not None and not self._queued:
            self.on_drained()
        written, self._written = self._written, []
        for sent in written:
            if not sent.done():
                sent.set_result(None)

    def _queue(self, message: Message, tensors: Sequence[AnyArray], sent: asyncio.Future[None] | None) -> None:
        size = sum([array.nbytes for array in tensors])
        if size <= JOIN and self._is_idle():
            self._write_whole(encode(message, tensors), size, sent)
            return
        if size:
            self._tensors.append(_Outgoing(encode_frames(message, tensors), size, sent))
            self._queued += size
        else:
            self._queue_control(encode(message, tensors))
            if sent is not None:
                self._written.append(sent)
        self._pump()

    def _queue_control(self, frame: list[Buffer]) -> None:
        self._control.append(frame)
        self._control_bytes += _size(frame)
        if self._control_bytes > MAX_CONTROL_BYTES:
            self.abort(ConnectionLostError(self.peer, f"{self._control_bytes} bytes of answers were not read"))

    # The end.

    def _fail(self, error: ProtocolError) -> None:
        self._error = error
        self.send_nowait_control(Fault(error.code, str(error)))
        self.close()

    def _drop_tensors(self, reason: str) -> None:
        failed = [outgoing.sent for outgoing in self._tensors if outgoing.sent is not None] + self._written
        self._tensors.clear()
        self._written = []
        self._queued = 0
        for sent in failed:
            if not sent.done():
                sent.set_exception(ConnectionLostError(self.peer, reason))

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def address_text(name: object) -> str:
    """The address of a socket, for messages."""
    if not isinstance(name, tuple) or len(name) < 2:
        return str(name or "memory")
    return f"[{name[0]}]:{name[1]}" if ":" in str(name[0]) else f"{name[0]}:{name[1]}"


def _size(frame: list[Buffer]) -> int:
    return sum(len(buffer) for buffer in frame)


def _seen(sent: asyncio.Future[None]) -> None:
    """Mark a failure as noticed: senders may ignore it, `on_lost` says it once for all."""
    if not sent.cancelled():
        sent.exception()
