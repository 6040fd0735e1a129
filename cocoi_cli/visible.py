"""Text of others made harmless before it is shown: a terminal obeys characters that nobody sees. Pure.

Devices, their journals and announcements say what they like. Nothing of it may move the cursor,
clear the screen, name the window, turn the direction of writing, or look like a line of somebody else.
"""

from __future__ import annotations

import re
from typing import Final

# Control characters of both sets, separators of lines, and what turns the direction of writing.
_UNSEEN: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_COLOUR: Final = "\x1b\\[[0-9;]*m"
_STEERING: Final = re.compile(f"({_COLOUR})|[{_UNSEEN}]")
_BREAKING: Final = re.compile(f"[\n{_UNSEEN}]")
_RAW: Final = re.compile("[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """Lines, tabs and colours stay; whatever else steers a terminal becomes `?`."""
    return _STEERING.sub(lambda found: found[1] or "?", text)


def one_line(text: str) -> str:
    """The same for text that is one line without colours."""
    return _BREAKING.sub("?", text)


def escaped(document: str) -> str:
    """A JSON document with the characters escaped that JSON would let through as they are."""
    return _RAW.sub(lambda found: f"\\u{ord(found[0]):04x}", document)
