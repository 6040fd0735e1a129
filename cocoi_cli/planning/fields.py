"""Values of a JSON document together with their place in it, so that a complaint names the field. Pure."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST: Final = 60  # characters of a value in a complaint

T = TypeVar("T")
W = TypeVar("W", bound=str)


class FieldError(Exception):
    """A value is unfit.

    Attributes:
        field: Its place, `devices.pi-1.link.rounds[0].rtt_s[3]`.
        cause: What was found and what belongs there, one clause.
    """

    def __init__(self, field: str, cause: str) -> None:
        super().__init__(f"{field}: {cause}")
        self.field = field
        self.cause = cause


class Field:
    """One value. An absent key is the value null."""

    def __init__(self, value: Any, place: str = "") -> None:  # noqa: ANN401 - any JSON value
        self._value = value
        self._place = place

    def at(self, key: str) -> Field:
        """The value under a key of this object."""
        return Field(self._object().get(key), f"{self._place}.{key}" if self._place else key)

    def members(self) -> list[tuple[str, Field]]:
        """Names and values of this object."""
        return [(key, self.at(key)) for key in self._object()]

    def items(self) -> list[Field]:
        """The values of this list."""
        if not isinstance(self._value, list):
            raise self._unfit("a list")
        return [Field(value, f"{self._place}[{index}]") for index, value in enumerate(self._value)]

    def optional(self, read: Callable[[Field], T]) -> T | None:
        """None for null, else what `read` makes of it."""
        return None if self._value is None else read(self)

    def text(self) -> str:
        """A string."""
        if not isinstance(self._value, str):
            raise self._unfit("text")
        return self._value

    def one_of(self, *words: W) -> W:
        """One of these words."""
        for word in words:
            if self._value == word:
                return word
        raise self._unfit(" or ".join(f"`{word}`" for word in words))

    def plain(self) -> str | int | bool:
        """Text, a whole number, or true or false."""
        if not isinstance(self._value, str | int):
            raise self._unfit("text, a whole number, true or false")
        return self._value

    def number(self) -> float:
        """A finite number."""
        if isinstance(self._value, bool) or not isinstance(self._value, int | float):
            raise self._unfit("a number")
        try:
            value = float(self._value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self._unfit("a finite number")
        return value

    def duration(self) -> float:
        """Seconds, above zero."""
        value = self.number()
        if value <= 0:
            raise self._unfit("seconds above zero")
        return value

    def count(self) -> int:
        """A whole number, zero or above."""
        if isinstance(self._value, bool) or not isinstance(self._value, int) or self._value < 0:
            raise self._unfit("a whole number, zero or above")
        return self._value

    def positive(self) -> int:
        """A whole number above zero."""
        if self._value == 0 or self.count() == 0:
            raise self._unfit("a whole number above zero")
        return self.count()

    def _object(self) -> dict[str, Any]:
        if not isinstance(self._value, dict):
            raise self._unfit("an object")
        return self._value

    def _unfit(self, wanted: str) -> FieldError:
        found = "it is absent" if self._value is None else f"found {_shown(self._value)}"
        return FieldError(self._place or "the document", f"{found}, expected {wanted}")


def _shown(value: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
