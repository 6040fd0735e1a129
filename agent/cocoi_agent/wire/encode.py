"""Messages to buffers.

A frame is a length (u32, big endian), a msgpack header and the bytes of the
tensors. A message with more than `CHUNK` bytes of tensors is split: its first frame
holds the first chunk, continuations (length 0, u32 chunk length, bytes) the rest.
Nothing is joined: tensors are lent to the transport as views.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgpack

from cocoi_agent.wire.errors import BadTensorError
from cocoi_agent.wire.limits import MAX_HEADER, MEBIBYTE
from cocoi_agent.wire.messages import Binding, Message, Part, Status, UnknownMessage
from cocoi_agent.wire.tensors import AnyArray, TensorSpec, bytes_of, word_of

Buffer: TypeAlias = bytes | memoryview
Frame: TypeAlias = list[Buffer]

CHUNK: Final = MEBIBYTE
"""Bytes of tensors between two points where another message may slip in: 9 ms of
gigabit Ethernet, few enough continuations to cost nothing (bench/wire.py)."""

_PLAIN: Final = frozenset({int, float, str, bool})
_LENGTH: Final = struct.Struct(">I")
_CONTINUATION: Final = struct.Struct(">II")


def encode(message: Message, tensors: Sequence[AnyArray] = ()) -> list[Buffer]:
    """The buffers of a message, in the order in which they are written.

    Args:
        message: With one `TensorSpec` per array, in the same order, if it has tensors.
        tensors: Arrays; borrowed by the views in the result until they are written.

    Raises:
        BadTensorError: If the arrays are not those that the message describes.
        ValueError: If the header is above the limit.
    """
    return [buffer for frame in encode_frames(message, tensors) for buffer in frame]


def encode_frames(message: Message, tensors: Sequence[AnyArray] = ()) -> Iterator[Frame]:
    """As `encode`, frame by frame; between two frames a message without tensors may be written."""
    arrays = _checked(message, tensors)
    views = [bytes_of(array) for array in arrays if array.nbytes]
    total = sum([view.nbytes for view in views])
    header = _fields_of(message)
    if arrays:
        header["tail"] = total
    first = min(total, CHUNK)
    if first < total:
        header["chunk"] = first
    packed = msgpack.packb(header)
    if len(packed) > MAX_HEADER:
        raise ValueError(f"the header of `{message.word}` has {len(packed)} bytes; the limit is {MAX_HEADER}")
    head = _LENGTH.pack(len(packed)) + packed
    if first == total:
        return iter(([head, *views],))
    return _frames(head, views, first, total)


def _frames(head: bytes, views: list[memoryview], first: int, total: int) -> Iterator[Frame]:
    pieces = _Pieces(views)
    yield [head, *pieces.take(first)]
    sent = first
    while sent < total:
        size = min(CHUNK, total - sent)
        yield [_CONTINUATION.pack(0, size), *pieces.take(size)]
        sent += size


class _Pieces:
    """Hands out consecutive bytes of several views, none of which is empty."""

    def __init__(self, views: list[memoryview]) -> None:
        self._views = list(views)
        self._offset = 0

    def take(self, size: int) -> list[Buffer]:
        """Views of the next `size` bytes."""
        taken: list[Buffer] = []
        while size:
            view = self._views[0]
            piece = view[self._offset : self._offset + size]
            taken.append(piece)
            size -= piece.nbytes
            self._offset += piece.nbytes
            if self._offset == view.nbytes:
                del self._views[0]
                self._offset = 0
        return taken


def _checked(message: Message, tensors: Sequence[AnyArray]) -> list[AnyArray]:
    """The arrays, C-contiguous and little endian, once they fit their descriptions."""
    specs: tuple[TensorSpec, ...] = getattr(message, "tensors", ())
    if len(specs) != len(tensors):
        raise BadTensorError("", f"{len(tensors)} arrays for {len(specs)} descriptions")
    arrays = []
    for spec, array in zip(specs, tensors, strict=True):
        if word_of(array.dtype) != spec.dtype or tuple(array.shape) != spec.shape:
            raise BadTensorError(
                spec.name, f"described as {spec.dtype} {spec.shape}, given {array.dtype} {array.shape}"
            )
        arrays.append(array if array.flags.c_contiguous else array.copy())
    return arrays


def _fields_of(message: Message) -> dict[str, Any]:
    """The header map: fields that are None are left out."""
    header: dict[str, Any] = {"t": message.word}
    for name in message.__slots__:
        value = getattr(message, name)
        if value is None or (name == "tensors" and not value):
            continue
        # Most fields are plain, and this runs for every strip.
        header[name] = value if type(value) in _PLAIN else _plain(value)
    if isinstance(message, UnknownMessage):
        header["t"] = header.pop("type")
    return header


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a record holds
    form = _FORMS.get(type(value))
    if form is not None:
        return form(value)
    return dict(value) if isinstance(value, Mapping) else value


def _list(values: tuple[Any, ...]) -> list[Any]:
    return [entry if type(entry) in _PLAIN else _plain(entry) for entry in values]


def _record(value: Any) -> dict[str, Any]:  # noqa: ANN401 - a record of any kind
    return {name: _plain(getattr(value, name)) for name in value.__slots__}


def _spec(spec: TensorSpec) -> dict[str, Any]:
    if spec.scale == 1.0 and spec.codec == "raw":
        return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
    return _record(spec)


_FORMS: Final[Mapping[type, Callable[[Any], Any]]] = {
    tuple: _list,
    Part: lambda part: [part.part, part.start, part.stop],
    TensorSpec: _spec,
    Binding: _record,
    Status: lambda status: status.value,
}
"""How what is not plain stands in a header, by type; maps of any type become maps."""
