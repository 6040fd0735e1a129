"""Tables on narrow screens: columns come below others, and no figure loses a digit."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.text import Text

from cocoi_cli.views.folding_table import FoldingTable


def lines(table: FoldingTable, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def figures(reason: str = "") -> FoldingTable:
    table = FoldingTable()
    table.add_column("scheme", no_wrap=True, overflow="ellipsis", min_width=8, max_width=16)
    for name in ("p50 ms", "p95 ms", "moved"):
        table.add_column(name, justify="right", no_wrap=True)
    if reason:
        table.add_column("reason", overflow="fold")
    for name in ("auto", "/backbone/stages.3/conv"):
        table.add_row(Text(name), "12345.6", "1234567.8", "15.7 MB", *([reason] if reason else []))
    return table


WIDE = """\
scheme             p50 ms     p95 ms    moved
auto              12345.6  1234567.8  15.7 MB
/backbone/stage…  12345.6  1234567.8  15.7 MB
"""

NARROW = """\
scheme       p50 ms     p95 ms
auto        12345.6  1234567.8
/backbone…  12345.6  1234567.8

scheme              moved
auto              15.7 MB
/backbone/stage…  15.7 MB
"""


@pytest.mark.parametrize(("width", "shown"), [(80, WIDE), (45, WIDE), (30, NARROW)])
def test_what_has_no_room_comes_below_with_the_names_again(width: int, shown: str) -> None:
    assert lines(figures(), width) == shown.splitlines()


def test_names_are_shortened_before_anything_comes_below() -> None:
    assert lines(figures(), 40)[1:] == [
        "auto         12345.6  1234567.8  15.7 MB",
        "/backbone/…  12345.6  1234567.8  15.7 MB",
    ]


@pytest.mark.parametrize("width", range(12, 90))
def test_at_any_width_every_figure_is_there_and_every_line_fits(width: int) -> None:
    shown = lines(figures("float16 enlarges the error"), width)
    assert max(map(len, shown)) <= width
    joined = "".join("".join(shown).split())
    if width >= 19:  # room for the shortest name and the longest figure
        assert all(joined.count(figure) == 2 for figure in ("12345.6", "1234567.8", "15.7MB"))


def test_a_screen_for_less_than_two_columns_has_figures_on_several_lines() -> None:
    shown = lines(figures(), 12)
    digits = "".join(line[7:].strip() for line in shown)
    assert digits.count("12345.6") == 2
