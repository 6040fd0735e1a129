"""A table that loses no figure on a narrow screen: columns for which there is no room come below.

The rows then come again, with the first column, the name, and the next columns that have room. Left to itself, rich
takes from every column alike, and figures lose their last digits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.measure import Measurement
from rich.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

_WRAPPED: Final = 10  # columns that a text needs at least which may be wrapped


class FoldingTable(Table):
    """A table without lines; one that is too wide for the screen is folded between columns.

    A column that must not wrap is shown whole, up to its `max_width`. It is shortened to `min_width` only if it has
    both: names do. Others are wrapped, or shortened, as they say themselves.
    """

    def __init__(self, *, gap: int = 2) -> None:
        """Without columns yet.

        Args:
            gap: Blanks between columns.
        """
        super().__init__(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
        self._gap = gap

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or its parts one below the other."""
        wanted = [_wanted(console, options, column) for column in self.columns]
        if self._total(wanted) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        least = [_least(column, width) for column, width in zip(self.columns, wanted, strict=True)]
        for number, places in enumerate(self._parts(least, options.max_width)):
            if number:
                yield ""
            widths = self._shared_out(places, least, wanted, options.max_width)
            yield self._part(places, widths, least)

    def _total(self, widths: Sequence[int]) -> int:
        return sum(widths) + self._gap * (len(widths) - 1)

    def _parts(self, least: Sequence[int], room: int) -> list[list[int]]:
        """Places of the columns of each part; the first column is in all of them."""
        parts = [[0]]
        for place in range(1, len(least)):
            part = [*parts[-1], place]
            if len(part) == 2 or self._total([least[each] for each in part]) <= room:
                parts[-1] = part
            else:
                parts.append([0, place])
        return parts

    def _shared_out(
        self, places: Sequence[int], least: Sequence[int], wanted: Sequence[int], room: int
    ) -> dict[int, int]:
        """Width of each column of a part: first those become whole that are not wrapped."""
        widths = {place: least[place] for place in places}
        left = room - self._total(list(widths.values()))
        if left < 0:  # a screen for two columns, and not even that: half for each
            half = (room - self._gap) // 2
            return {place: max(min(width, half), 1) for place, width in widths.items()}
        for place in sorted(places, key=lambda place: not self.columns[place].no_wrap):
            more = min(wanted[place] - widths[place], left)
            widths[place] += more
            left -= more
        return widths

    def _part(self, places: Sequence[int], widths: dict[int, int], least: Sequence[int]) -> Table:
        """Some of the columns, with the same rows."""
        part = Table(box=None, pad_edge=False, padding=(0, self._gap, 0, 0), header_style="bold")
        for index, place in enumerate(places):
            column = replace(self.columns[place], _index=index, width=widths[place], min_width=None, max_width=None)
            if widths[place] < least[place]:
                column = replace(column, no_wrap=False, overflow="fold")
            part.columns.append(column)
        part.rows = self.rows
        return part


def _wanted(console: Console, options: ConsoleOptions, column: Column) -> int:
    """Width at which nothing in a column is wrapped or shortened, within its own bounds."""
    if column.width is not None:
        return column.width
    cells = (column.header, *column.cells)
    natural = max(Measurement.get(console, options.update(width=10_000), cell).maximum for cell in cells)
    return max(min(natural, column.max_width or natural), column.min_width or 0)


def _least(column: Column, wanted: int) -> int:
    """Width that a column needs at least."""
    if column.width is not None or (column.no_wrap and (column.min_width is None or column.max_width is None)):
        return wanted
    return min(wanted, column.min_width or _WRAPPED)
