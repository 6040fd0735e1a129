"""What a pipe gets and what a terminal sees; the fake terminal is a string."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from cocoi_cli.planning.plan import ConvPlan, Plan
from cocoi_cli.runtime.report import StageReport
from cocoi_cli.views.progress import LiveProgress, PlainProgress, SilentProgress

PLAN = Plan("coded", 3, 2, "f16", (ConvPlan("conv1", "coded", 3, 2, 2, 1, "f16", ""),))
LOCAL = StageReport("local 1", "local", "local", 0, 0, 0, "", 0.1, 0, 0, 0, 0, 0, 1.0, 0, 0)
CONV = StageReport("conv1", "conv", "coded", 3, 2, 1, "", 0.1, 2, 0, 0, 0, 0, 1.0, 0, 0)


def play(progress):
    with progress:
        progress.fleet_ready(3)
        progress.planned(PLAN, ["local 1", "conv1"])
        for index, report in enumerate((LOCAL, CONV)):
            progress.stage_started(index, report.name, report.kind, report.strips)
            progress.strip_done(index, report.strips, report.strips)
            progress.stage_done(index, report)
        progress.warning("agent-3 was lost")
    return progress


def test_plain_lines():
    lines = []
    progress = play(PlainProgress(lines.append))
    assert lines == [
        "fleet: 3 agents up",
        "plan: 1 of 1 conv layer on the agents, coded (3,2), f16",
        "stage 2 of 2: conv1: 1 strip in 100 ms",
    ]
    assert (progress.plan, progress.warnings) == (PLAN, ["agent-3 was lost"])


def test_only_a_stage_that_is_cut_into_tiles_counts_tiles():
    lines = []
    with PlainProgress(lines.append) as progress:
        for each in (
            replace(CONV, k=1),
            replace(CONV, k=1, kind="fused"),
            replace(CONV, k=1, scheme="hedged", strips=4),
        ):
            progress.stage_done(0, each)
    assert [line.split(": ")[-1] for line in lines] == ["1 strip in 100 ms", "1 tile in 100 ms", "4 tiles in 100 ms"]


def test_plain_lines_without_stages():
    lines = []
    play(PlainProgress(lines.append, each_stage=False))
    assert len(lines) == 2


def test_silence_still_keeps_plan_and_warnings():
    progress = play(SilentProgress())
    assert (progress.plan, progress.warnings) == (PLAN, ["agent-3 was lost"])


def test_the_bar_moves_on_a_terminal_and_leaves_only_the_plan():
    screen, said = io.StringIO(), []
    terminal = Console(file=screen, force_terminal=True, width=80, height=20, color_system=None)
    progress = LiveProgress(terminal, said.append)
    play(progress)
    assert said == ["plan: 1 of 1 conv layer on the agents, coded (3,2), f16"]
    assert "stage 2 of 2  conv1" in screen.getvalue()
    assert "1 of 1 strip" in screen.getvalue()
    assert progress.plan == PLAN


def test_the_parts_of_a_fused_stage_are_tiles():
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=80, height=20, color_system=None)
    with LiveProgress(terminal, lambda _: None) as progress:
        progress.stage_started(0, "conv1..conv2", "fused", 4)
        progress.strip_done(0, 3, 4)
    assert "3 of 4 tiles" in screen.getvalue()
