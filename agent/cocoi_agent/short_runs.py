"""Which parts take so little that handing them to a thread is not worth it.

To wake a thread and to be woken by it costs 0.17 ms of a fast processor whose caches are cold, a tenth of all that
Python does for a part. A part is expected to be short where the latest ones of its program were, with as many
elements or more; the first ones of a program never are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROCESSOR_S: Final = 0.002  # of the computing thread, at most: nothing that anybody would want to cancel
WALL_S: Final = 0.050  # a quota or other work may stretch it; what waits for something else takes longer
ENOUGH: Final = 3  # short ones, one after another
MOST_PROGRAMS: Final = 4096


@dataclass(slots=True)
class _Seen:
    """Short parts of a program since the last long one, and the elements of the largest."""

    count: int = 0
    elements: int = 0


class ShortRuns:
    """What the latest parts of each program took."""

    def __init__(self) -> None:
        """Nothing was computed yet."""
        self._seen: dict[str, _Seen] = {}

    def took(self, program: str, elements: int, processor_s: float, wall_s: float) -> None:
        """A part was computed.

        Args:
            program: Its id.
            elements: Of its inputs together, those that the program holds aside.
            processor_s: Seconds of the computing thread's processor.
            wall_s: Seconds from beginning to end.
        """
        if processor_s > PROCESSOR_S or wall_s > WALL_S:
            self._seen.pop(program, None)
            return
        if len(self._seen) >= MOST_PROGRAMS:
            self._seen.clear()
        seen = self._seen.setdefault(program, _Seen())
        seen.count += 1
        seen.elements = max(seen.elements, elements)

    def expects(self, program: str, elements: int) -> bool:
        """Whether a part of a program, with so many elements of input, will be short."""
        seen = self._seen.get(program)
        return seen is not None and seen.count >= ENOUGH and elements <= seen.elements
