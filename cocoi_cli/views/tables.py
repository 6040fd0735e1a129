"""Tables of an inference: what each stage and each agent did.

They fit 80 columns; what is long is wrapped. On a narrower screen some columns come below the others (`folding_table`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rich.text import Text

from cocoi_cli.views.folding_table import FoldingTable
from cocoi_cli.views.lines import plural, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import JustifyMethod
    from rich.table import Table

    from cocoi_cli.runtime.report import AgentReport, StageReport


WIDTH: Final = 80
SPAN: Final = ".."  # between the ends of a segment in its name
_GAP: Final = 2  # columns between columns
_NAME: Final = 26  # columns of a stage's name, which may have two lines
_REASON: Final = 16  # columns that a reason is wrapped into where the name needs the others


def stages_table(stages: Sequence[StageReport]) -> Table:
    """One row per distributed stage; the local stages are summed in the last row.

    `where` is the (n,k) of stages that agents compute; `cut` is how many strips each piece was cut into, or the stage
    into tiles; `used/late/lost` counts answers: used for the result, too late for it, and never given.
    """
    rows = [_distributed(stage) for stage in stages if stage.kind != "local"]
    local = [stage for stage in stages if stage.kind == "local"]
    if local:
        spent = sum(stage.wall_s for stage in local) * 1000
        name = "local stage" if len(local) == 1 else f"{len(local)} local stages"
        rows.append((name, "host", "", "", f"{spent:.1f}", ""))
    return explained_table(("stage", "where", "cut", "used/late/lost", "ms", "reason"), rows, right=(2, 3, 4))


def explained_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Table:
    """A table of stages that loses nothing at 80 columns.

    The first column, names, may take two lines, as may the last one, reasons; those between are shown whole.

    Args:
        head: Titles.
        rows: As many cells each.
        right: Places of columns that end flush.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = WIDTH - sum(widths[1:-1]) - _GAP * (len(head) - 1)
    name = max(10, min(_NAME, left - min(widths[-1], _REASON)))
    names = [named(row[0], name) for row in rows]
    widths[0] = max(len(line) for each in (head[0], *names) for line in each.split("\n"))
    table = plain_table()
    for place, title in enumerate(head[:-1]):
        justify: JustifyMethod = "right" if place in right else "left"
        table.add_column(title, justify=justify, no_wrap=True, min_width=widths[place])
    table.add_column(head[-1], min_width=min(widths[-1], _REASON), overflow="fold")
    for text, row in zip(names, rows, strict=True):
        table.add_row(Text(text), *map(Text, row[1:]))
    return table


def named(name: str, width: int) -> str:
    """A stage's name in so many columns: the ends of a segment on two lines, of too long ones what comes last.

    Layers of one block begin alike and end differently.
    """
    if len(name) <= width:
        return name
    first, dots, last = name.partition(SPAN)
    parts = (f"{first}{dots}", last) if dots else (name,)
    return "\n".join(part if len(part) <= width else f"…{part[len(part) - width + 1 :]}" for part in parts)


def agents_table(agents: Sequence[AgentReport]) -> Table:
    """One row per agent: what of its work was used, and the bytes each way."""
    table = plain_table()
    table.add_column("agent", no_wrap=True, overflow="ellipsis", min_width=12, max_width=22)
    table.add_column("state", no_wrap=True)
    for name in ("used", "late", "cancelled", "failed", "sent", "received"):
        table.add_column(name, justify="right", no_wrap=True)
    for agent in agents:
        state = Text(agent.state, style="" if agent.state == "up" else "yellow")
        counts = (agent.used, agent.late, agent.cancelled, agent.failed)
        table.add_row(Text(agent.id), state, *map(_count, counts), size(agent.bytes_out), size(agent.bytes_in))
    return table


def plain_table() -> Table:
    """A table without lines, which survives being copied into a report; too wide for the screen, it is folded."""
    return FoldingTable(gap=_GAP)


def _distributed(stage: StageReport) -> tuple[str, ...]:
    code = f"({stage.n},{stage.k})"
    if stage.kind == "fused" or stage.scheme == "hedged":
        code = f"{'fused' if stage.kind == 'fused' else stage.scheme} {stage.n}"
    # The plan's reason repeats what the columns beside it say.
    reason = re.sub(r", \d+ strips?$| decides$", "", stage.reason.removeprefix(f"{code} "))
    if stage.host:
        reason = f"{plural(stage.host, 'share')} by the host"
    answers = f"{stage.arrived}/{stage.late}/{stage.lost}"
    return stage.name, code, str(stage.strips), answers, f"{stage.wall_s * 1000:.1f}", reason


def _count(value: int) -> str:
    return str(value) if value else "-"
