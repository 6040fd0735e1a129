"""Tables of stages: at 80 columns nothing that matters is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from cocoi_cli.runtime.report import StageReport
from cocoi_cli.views.tables import explained_table, named, stages_table

CONV = StageReport("conv1", "conv", "coded", 6, 4, 5, "(6,4) over 8 rows, 5 strips", 0.0123, 20, 3, 2, 0, 2, 1.5, 9, 6)
FUSED = replace(CONV, name="a..b", kind="fused", scheme="hedged", k=1, strips=12, reason="7.7 x quicker")
LOCAL = StageReport("local 1", "local", "local", 0, 0, 0, "", 0.1, 0, 0, 0, 0, 0, 1.0, 0, 0)

STAGES = """\
stage        where    cut  used/late/lost     ms  reason
conv1        (6,4)      5          20/3/2   12.3  over 8 rows
a..b         fused 6   12          20/3/2   12.3  7.7 x quicker
local stage  host                          100.0
"""


def lines(table, width: int = 80) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return [line.rstrip() for line in captured.get().splitlines()]


def test_strips_and_tiles_have_one_title():
    assert lines(stages_table((LOCAL, CONV, FUSED))) == STAGES.splitlines()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("conv1", "conv1"),
        ("conv1_1..conv1_2", "conv1_1..conv1_2"),
        ("group1.block1.conv1..conv2", "group1.block1.conv1..\nconv2"),
        ("/features/features.0/block.1/Conv", "…features.0/block.1/Conv"),
        ("/features/features.0/block.1/Conv..x", "…atures.0/block.1/Conv..\nx"),
    ],
)
def test_a_long_name_keeps_its_end_and_that_of_a_segment_has_two_lines(name, shown):
    assert named(name, 24) == shown


def test_rows_of_one_block_stay_apart():
    """Exported networks name layers by paths, alike at the beginning and long."""
    path = "/backbone/stages.3/blocks.17/residual"
    rows = [(f"{path}/conv{number}/Conv", "replication (11,7)", "33", "f16/f32", "1234.5", "12.4 MB", "7 x; sending")
            for number in range(4)]  # fmt: skip
    head = ("layer", "where", "cut", "wire", "ms", "moved", "why")
    shown = lines(explained_table(head, rows, right=(2, 4, 5)))
    assert max(map(len, shown)) <= 80
    names = [line.split()[0] for line in shown[1:] if not line.startswith(" ")]
    assert len(set(names)) == 4
    assert all(name.startswith("…") for name in names)
    for cell in rows[0][1:]:
        assert all(word in " ".join(shown).split() for word in cell.split())


def test_a_long_reason_is_wrapped_and_whole():
    reason = "float16 would enlarge the error beyond the budget; agents would take 1.2 s; computing decides"
    shown = lines(explained_table(("stage", "where", "why"), [("conv1", "here", reason)]))
    assert max(map(len, shown)) <= 80
    assert " ".join(" ".join(shown[1:]).split()) == f"conv1 here {reason}"
