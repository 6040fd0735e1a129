"""How large the parts of a message may be: every size is checked before memory is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROTOCOL_VERSIONS: Final = (1, 1)
"""Lowest and highest protocol version that this code talks."""

MEBIBYTE: Final = 1 << 20
DEFAULT_MAX_TAIL: Final = 256 * MEBIBYTE
MAX_HEADER: Final = 64 * 1024
MAX_ARRAY: Final = 1024  # longest list in a header; bounds what unpacking may allocate
MAX_MAP: Final = 64
MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_COUNT: Final = (1 << 63) - 1
MAX_INDEX: Final = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Limits:
    """What a parser accepts.

    Attributes:
        max_header: Bytes of one packed header.
        max_tail: Bytes of all tensors of one message together.
        max_tensors: Tensors in one message.
        max_rank: Axes of one tensor.
    """

    max_header: int = MAX_HEADER
    max_tail: int = DEFAULT_MAX_TAIL
    max_tensors: int = 64
    max_rank: int = 8
