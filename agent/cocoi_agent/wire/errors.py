"""What a peer can do wrong, as facts. Each class has a stable word in `code`.

A parser that met one of these is finished: the connection answers with a
`Fault` of the same code and closes.
"""

from __future__ import annotations

from typing import ClassVar


class ProtocolError(Exception):
    """The peer broke the protocol; the connection cannot go on."""

    code: ClassVar[str] = "protocol"


class HeaderTooLargeError(ProtocolError):
    """A frame announces a header above the limit."""

    code: ClassVar[str] = "header-too-large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"a header of {size_bytes} bytes is announced; the limit is {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class BadHeaderError(ProtocolError):
    """A header is not a msgpack map with a type word, within the limits of its parts."""

    code: ClassVar[str] = "bad-header"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the header cannot be read: {reason}")
        self.reason = reason


class BadFieldError(ProtocolError):
    """A header field is absent, of another type, or out of range."""

    code: ClassVar[str] = "bad-field"

    def __init__(self, word: str, field: str, expected: str, found: object) -> None:
        super().__init__(f"field `{field}` of `{word}` is {_short(found)}; expected {expected}")
        self.word = word
        self.field = field
        self.expected = expected


class BadTensorError(ProtocolError):
    """A tensor is described with an unknown type, an impossible shape or a bad scale."""

    code: ClassVar[str] = "bad-tensor"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"tensor `{name[:64]}`: {reason}")
        self.name = name
        self.reason = reason


class TailTooLargeError(ProtocolError):
    """The tensors of a message are larger than was agreed."""

    code: ClassVar[str] = "tail-too-large"

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(f"tensors of {size_bytes} bytes are announced; the limit is {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class TailMismatchError(ProtocolError):
    """The announced length of the tail is not the sum of its tensors."""

    code: ClassVar[str] = "tail-mismatch"

    def __init__(self, announced_bytes: int, tensors_bytes: int) -> None:
        super().__init__(f"the tail is announced with {announced_bytes} bytes; its tensors have {tensors_bytes}")
        self.announced_bytes = announced_bytes
        self.tensors_bytes = tensors_bytes


class BadChunkError(ProtocolError):
    """A piece of a split message is empty, too long, or belongs to no message."""

    code: ClassVar[str] = "bad-chunk"

    def __init__(self, size_bytes: int, missing_bytes: int) -> None:
        super().__init__(f"a chunk of {size_bytes} bytes came where {missing_bytes} were missing")
        self.size_bytes = size_bytes
        self.missing_bytes = missing_bytes


class InterleavedError(ProtocolError):
    """A message with tensors began before the split one was complete."""

    code: ClassVar[str] = "interleaved"

    def __init__(self, word: str, missing_bytes: int) -> None:
        super().__init__(f"`{word}` with tensors came while {missing_bytes} bytes of another message were missing")
        self.word = word
        self.missing_bytes = missing_bytes


def _short(value: object) -> str:
    """The value for a message, cut: it comes from the peer and may be long."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
