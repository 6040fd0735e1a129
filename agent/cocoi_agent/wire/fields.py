"""Reading the fields of a header: each is checked for type and range by hand.

Booleans are not integers here, NaN is not a number, and a field that is absent is
an error unless a default is given.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

from cocoi_agent.wire.errors import BadFieldError
from cocoi_agent.wire.limits import MAX_ARRAY, MAX_COUNT, MAX_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HEX: Final = "0123456789abcdef"

Item = TypeVar("Item")


class Fields:
    """The map of one header, read field by field.

    Every method raises `BadFieldError` naming the field; the parser handles it.
    """

    __slots__ = ("_found", "word")

    def __init__(self, word: str, found: Mapping[object, object]) -> None:
        self.word = word
        self._found = found

    def integer(self, key: str, low: int = 0, high: int = MAX_COUNT, default: int | None = None) -> int:
        """An integer in [low, high]."""
        value = self._found.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(key, f"an integer between {low} and {high}", value)
        return value

    def integer_or_none(self, key: str, low: int = 0, high: int = MAX_COUNT) -> int | None:
        """An integer in [low, high], or None where the field is absent or nil."""
        return None if self._found.get(key) is None else self.integer(key, low, high)

    def real(self, key: str, low: float = -math.inf, high: float = math.inf, default: float | None = None) -> float:
        """A finite number in [low, high]."""
        value = self._found.get(key, default)
        if type(value) is int and abs(value) <= MAX_COUNT:
            value = float(value)
        if type(value) is not float or not low <= value <= high or math.isinf(value):  # NaN is in no interval
            raise self._wrong(key, f"a finite number between {low} and {high}", value)
        return value

    def real_or_none(self, key: str, low: float = -math.inf, high: float = math.inf) -> float | None:
        """A finite number in [low, high], or None where the field is absent or nil."""
        return None if self._found.get(key) is None else self.real(key, low, high)

    def text(self, key: str, longest: int = MAX_NAME, default: str | None = None) -> str:
        """Text of at most `longest` characters."""
        value = self._found.get(key, default)
        if type(value) is not str or len(value) > longest:
            raise self._wrong(key, f"text of at most {longest} characters", value)
        return value

    def word_of(self, key: str, allowed: frozenset[str]) -> str:
        """One word of a closed list."""
        value = self._found.get(key)
        if type(value) is not str or value not in allowed:
            raise self._wrong(key, "one of " + ", ".join(sorted(allowed)), value)
        return value

    def word_or_none(self, key: str, allowed: frozenset[str]) -> str | None:
        """One word of a closed list, or None where the field is absent or nil."""
        return None if self._found.get(key) is None else self.word_of(key, allowed)

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """A boolean."""
        value = self._found.get(key, default)
        if type(value) is not bool:
            raise self._wrong(key, "true or false", value)
        return value

    def flag_or_none(self, key: str) -> bool | None:
        """A boolean, or None where the field is absent or nil."""
        return None if self._found.get(key) is None else self.flag(key)

    def digest(self, key: str) -> str:
        """A SHA-256 in lower-case hex."""
        value = self._found.get(key)
        if not is_digest(value):
            raise self._wrong(key, "64 lower-case hex digits", value)
        return str(value)

    def digests(self, key: str) -> tuple[str, ...]:
        """A list of SHA-256 values in lower-case hex."""
        return self.items(key, self._digest_item)

    def texts(self, key: str, longest: int = MAX_NAME) -> tuple[str, ...]:
        """A list of texts; absent means empty."""

        def read(value: object) -> str:
            if type(value) is not str or len(value) > longest:
                raise self._wrong(key, f"a list of texts of at most {longest} characters", value)
            return value

        return self.items(key, read, absent_is_empty=True)

    def items(self, key: str, read: Callable[[object], Item], *, absent_is_empty: bool = False) -> tuple[Item, ...]:
        """A list whose entries `read` checks one by one."""
        value = self._found.get(key, [] if absent_is_empty else None)
        if type(value) is not list or len(value) > MAX_ARRAY:
            raise self._wrong(key, f"a list of at most {MAX_ARRAY} entries", value)
        return tuple(read(entry) for entry in value)

    def mapping(self, key: str) -> Mapping[object, object]:
        """A map; absent means empty."""
        value = self._found.get(key, {})
        if type(value) is not dict:
            raise self._wrong(key, "a map", value)
        return value

    def raw(self, key: str) -> object:
        """The field unchecked, None where it is absent: for readers of nested records."""
        return self._found.get(key)

    def _digest_item(self, value: object) -> str:
        if not is_digest(value):
            raise self._wrong("hashes", "64 lower-case hex digits", value)
        return str(value)

    def _wrong(self, key: str, expected: str, found: object) -> BadFieldError:
        return BadFieldError(self.word, key, expected if key in self._found else "a value", found)


def is_digest(value: object) -> bool:
    """Whether `value` is the lower-case hex text of a SHA-256."""
    return type(value) is str and len(value) == 64 and not value.strip(_HEX)
