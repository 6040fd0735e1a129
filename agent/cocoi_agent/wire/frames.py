"""Bytes to messages: a parser that owns no socket.

The carrier asks for memory (`get_buffer`), lets the kernel write into it, and
reports how much came (`buffer_updated`). Tensor bytes land straight in fresh arrays.
Everything between them (lengths, headers) goes through a scratch buffer that is
larger than a small frame, so that lengths and header cost no reads of their own;
only what spills over from it into a tensor is copied.

Every size is checked before memory is taken. After a mistake of the peer the parser
is finished: `error` tells why, and it accepts no more bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from cocoi_agent.wire.errors import (
    BadChunkError,
    BadHeaderError,
    HeaderTooLargeError,
    InterleavedError,
    ProtocolError,
    TailMismatchError,
    TailTooLargeError,
)
from cocoi_agent.wire.limits import MAX_ARRAY, MAX_MAP, MAX_TEXT, Limits
from cocoi_agent.wire.messages import KINDS, Message, read_message
from cocoi_agent.wire.tensors import (
    DTYPES,
    Allocate,
    AnyArray,
    TensorSpec,
    allocate_empty,
    bytes_of,
    read_specs,
    total_bytes,
)

Admit = Callable[[Message, int], bool]

READ_AHEAD: Final = 64 * 1024
"""Bytes asked for where a frame begins: most strips come whole in one read. What spills
into a tensor is copied, at most this much per chunk, which costs less than the second
turn of the loop that it saves (bench/wire.py)."""

_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Received:
    """A complete message.

    Attributes:
        message: The checked record.
        tensors: Its arrays in the order described, owned by the receiver; empty if
            the parser's `admit` refused them, or the system had no memory for them.
    """

    message: Message
    tensors: tuple[AnyArray, ...] = ()


class _Tail:
    """The tensors of one message while their bytes arrive."""

    __slots__ = ("arrays", "left", "message", "offset", "views")

    def __init__(self, message: Message, arrays: tuple[AnyArray, ...], size: int, *, kept: bool) -> None:
        self.message = message
        self.arrays = arrays
        self.left = size
        self.views: list[memoryview] | None = [bytes_of(a) for a in arrays if a.nbytes] if kept else None
        self.offset = 0

    def target(self, longest: int) -> memoryview | None:
        """Where the next bytes go, at most `longest`; None if they are dropped."""
        if self.views is None:
            return None
        return self.views[0][self.offset : self.offset + longest]

    def advance(self, size: int) -> None:
        """Account for `size` bytes that are in place (or dropped)."""
        self.left -= size
        if self.views is not None:
            self.offset += size
            if self.offset == self.views[0].nbytes:
                del self.views[0]
                self.offset = 0

    def take(self, data: memoryview) -> None:
        """Copy bytes that arrived elsewhere to their place."""
        while data:
            target = self.target(len(data))
            size = len(data) if target is None else len(target)
            if target is not None:
                target[:] = data[:size]
            self.advance(size)
            data = data[size:]


class Parser:
    """Turns what a connection receives into messages.

    Attributes:
        limits: May be replaced between messages, when larger ones have been agreed.
        error: What the peer did wrong; None while all is well.
        allocated_bytes: Tensor memory taken so far, for tests and logs.

    Args:
        limits: What is accepted.
        allocate: Makes the memory of one tensor: C-contiguous, of this type and shape.
        admit: Asked once per message with tensors, before any memory is taken; where
            it says no, the bytes are read and dropped.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        allocate: Allocate = allocate_empty,
        admit: Admit | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.error: ProtocolError | None = None
        self.allocated_bytes = 0
        self._allocate = allocate
        self._admit = admit
        # A header and the lengths around it always fit, whatever was read ahead.
        self._scratch = memoryview(bytearray(self.limits.max_header + READ_AHEAD))
        self._filled = 0
        self._tail: _Tail | None = None
        self._chunk_left = 0
        self._direct = False

    def __repr__(self) -> str:
        missing = self._tail.left if self._tail else 0
        return f"<Parser scratch={self._filled} missing={missing} error={self.error!r}>"

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Memory for the next bytes; valid until the next call of any method.

        Raises:
            ProtocolError: If the parser is finished. The carrier handles it by closing.
        """
        if self.error is not None:
            raise self.error
        self._direct = False
        if self._chunk_left and self._tail is not None:
            target = self._tail.target(self._chunk_left)
            if target is not None:
                self._direct = True
                return target
        return self._scratch[self._filled : self._filled + READ_AHEAD]

    def buffer_updated(self, nbytes: int) -> list[Received]:
        """Take notice of bytes written into the last buffer; return what is complete.

        Messages that were complete before the peer's mistake are returned; then `error` is set.
        """
        received: list[Received] = []
        try:
            if self._direct and self._tail is not None:
                self._direct = False
                self._tail.advance(nbytes)
                self._chunk_left -= nbytes
                self._finish(received)
            else:
                self._filled += nbytes
                self._parse(received)
        except ProtocolError as error:
            self.error = error
            self._tail = None
        return received

    def feed(self, data: bytes) -> list[Received]:
        """Give bytes from memory instead of a socket; stops silently once `error` is set."""
        received: list[Received] = []
        rest = memoryview(data)
        while rest and self.error is None:
            buffer = self.get_buffer()
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            received += self.buffer_updated(size)
            rest = rest[size:]
        return received

    def _parse(self, received: list[Received]) -> None:
        """Work through the scratch buffer; what is incomplete moves to its front."""
        begin, end = 0, self._filled
        while True:
            if self._chunk_left and self._tail is not None:
                size = min(self._chunk_left, end - begin)
                self._tail.take(self._scratch[begin : begin + size])
                self._chunk_left -= size
                begin += size
                self._finish(received)
            used = 0 if self._chunk_left else self._frame(self._scratch[begin:end], received)
            if not used:
                break
            begin += used
        left = end - begin
        if begin and left:
            self._scratch[:left] = bytes(self._scratch[begin:end])
        self._filled = left

    def _frame(self, data: memoryview, received: list[Received]) -> int:
        """Read the lengths and header of one frame; return how many bytes that took, 0 for not yet."""
        if len(data) < 4:
            return 0
        size: int = _LENGTH.unpack_from(data)[0]
        if size == 0:
            return self._continue(data)
        if size > self.limits.max_header:
            raise HeaderTooLargeError(size, self.limits.max_header)
        if len(data) < 4 + size:
            return 0
        self._begin(unpack_header(data[4 : 4 + size]), received)
        return 4 + size

    def _continue(self, data: memoryview) -> int:
        if len(data) < 8:
            return 0
        size: int = _LENGTH.unpack_from(data, 4)[0]
        missing = self._tail.left if self._tail else 0
        if not 0 < size <= missing:
            raise BadChunkError(size, missing)
        self._chunk_left = size
        return 8

    def _begin(self, header: dict[object, object], received: list[Received]) -> None:
        """Check a header and either deliver its message or make room for its tensors."""
        word = str(header["t"])
        known = word in KINDS
        specs = read_specs(header.get("tensors", []), self.limits) if known else ()
        size = self._tail_size(header, specs, known=known)
        message = read_message(word, header, specs)
        if size and self._tail is not None:
            raise InterleavedError(word, self._tail.left)
        chunk = header.get("chunk", size)
        if type(chunk) is not int or not min(1, size) <= chunk <= size:
            raise BadChunkError(chunk if type(chunk) is int else 0, size)
        kept = not specs or self._admit is None or self._admit(message, size)
        arrays = self._make_all(specs, size) if kept else ()
        kept = len(arrays) == len(specs)
        if not size:
            received.append(Received(message, arrays))
            return
        self._tail = _Tail(message, arrays, size, kept=kept and known)
        self._chunk_left = chunk

    def _tail_size(self, header: dict[object, object], specs: tuple[TensorSpec, ...], *, known: bool) -> int:
        """The bytes that follow: those of the tensors, or anything after an unknown type word."""
        described = total_bytes(specs)
        size = header.get("tail", described)
        if type(size) is not int or size < 0:
            raise BadHeaderError("the length of the tail is no count")
        if size > self.limits.max_tail or described > self.limits.max_tail:
            raise TailTooLargeError(max(size, described), self.limits.max_tail)
        if known and size != described:
            raise TailMismatchError(size, described)
        return size

    def _make_all(self, specs: tuple[TensorSpec, ...], size: int) -> tuple[AnyArray, ...]:
        """Memory for the tensors, `size` bytes; none at all where the system has too little."""
        if not specs:
            return ()
        try:
            arrays = tuple([self._allocate(DTYPES[spec.dtype], spec.shape) for spec in specs])
        except MemoryError:
            return ()
        self.allocated_bytes += size
        return arrays

    def _finish(self, received: list[Received]) -> None:
        tail = self._tail
        if tail is not None and not tail.left:
            self._tail = None
            received.append(Received(tail.message, tail.arrays))


def unpack_header(data: memoryview) -> dict[object, object]:
    """Unpack a header whose parts are bounded, so that few bytes cannot ask for much memory.

    Raises:
        BadHeaderError: If it is not one msgpack map with text keys and a type word.
    """
    try:
        header: Any = msgpack.unpackb(
            data,
            max_str_len=MAX_TEXT,
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=MAX_ARRAY,
            max_map_len=MAX_MAP,
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise BadHeaderError(f"{type(error).__name__}: {error}"[:200]) from error
    if not isinstance(header, dict):
        raise BadHeaderError("it is no map")
    word = header.get("t")
    if not isinstance(word, str) or not 0 < len(word) <= 64:
        raise BadHeaderError("the type word `t` is no text of 1 to 64 characters")
    return header
