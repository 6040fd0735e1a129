"""Tables of an inference: what each stage and each agent did. They fit 80 columns."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from cocoi_cli.views.lines import plural, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.runtime.report import AgentReport, StageReport


def stages_table(stages: Sequence[StageReport]) -> Table:
    """One row per distributed stage; the local stages are summed in the last row.

    `where` is the (n,k) of stages that agents compute; `used/late/lost` counts answers: used
    for the result, too late for it, and never given.
    """
    table = plain_table()
    table.add_column("stage", no_wrap=True, overflow="ellipsis", min_width=12, max_width=26)
    distributed = [_distributed(stage) for stage in stages if stage.kind != "local"]
    table.add_column("where", no_wrap=True, min_width=max([5, *(len(row[1]) for row in distributed)]))
    table.add_column("strips", justify="right", no_wrap=True, min_width=6)
    table.add_column("used/late/lost", justify="right", no_wrap=True, min_width=14)
    table.add_column("ms", justify="right", no_wrap=True, min_width=6)
    table.add_column("reason", no_wrap=True, overflow="ellipsis", min_width=10)
    for row in distributed:
        table.add_row(*map(Text, row))
    local = [stage for stage in stages if stage.kind == "local"]
    if local:
        spent = sum(stage.wall_s for stage in local) * 1000
        name = "local stage" if len(local) == 1 else f"{len(local)} local stages"
        table.add_row(name, "host", "", "", f"{spent:.1f}", "")
    return table


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
    """A table without lines, which survives being copied into a report."""
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _distributed(stage: StageReport) -> tuple[str, ...]:
    code = f"({stage.n},{stage.k})"
    if stage.kind == "fused" or stage.scheme == "hedged":
        code = f"{'fused' if stage.kind == 'fused' else stage.scheme} {stage.n}"
    # The plan's reason repeats what the columns beside it say.
    reason = re.sub(r", \d+ strips?$", "", stage.reason.removeprefix(f"{code} "))
    if stage.host:
        reason = f"{plural(stage.host, 'share')} by the host"
    answers = f"{stage.arrived}/{stage.late}/{stage.lost}"
    return stage.name, code, str(stage.strips), answers, f"{stage.wall_s * 1000:.1f}", reason


def _count(value: int) -> str:
    return str(value) if value else "-"
