"""As much protobuf as an agent needs: walking over fields, and writing a few.

The `onnx` package stays off the devices; what the agent must know about a graph is
found by walking over the serialised bytes.

Source: the protobuf encoding guide; field numbers are those of `onnx.proto3`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

Value: TypeAlias = int | memoryview

VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH: Final = 2
_FIXED32: Final = 5


class BadBytesError(ValueError):
    """The bytes are no protobuf message."""


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield (field number, value): varints as int, everything else as a view.

    Raises:
        BadBytesError: If the bytes end early or hold an unknown wire type.
    """
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == _LENGTH:
            size, position = _varint(data, position)
        elif wire_type in {_FIXED32, _FIXED64}:
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise BadBytesError(f"wire type {wire_type} at byte {position}")
        if size > len(data) - position:
            raise BadBytesError(f"field {number} of {size} bytes ends behind the last byte")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 70:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
        shift += 7
    raise BadBytesError(f"no end of the number at byte {position}")


def varint(number: int, value: int) -> bytes:
    """A field with an integer."""
    return _pack(number << 3 | VARINT) + _pack(value)


def nested(number: int, data: bytes | memoryview) -> bytes:
    """A field with bytes, text or another message."""
    return b"".join((_pack(number << 3 | _LENGTH), _pack(len(data)), data))


def _pack(value: int) -> bytes:
    packed = bytearray()
    while value > 0x7F:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)
