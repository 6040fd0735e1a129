from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import ConvPlan, Plan
from cocoi_cli.runtime.report import AgentReport, CheckReport, InferenceReport, Verification
from cocoi_cli.views import lines
from cocoi_cli.views.progress import plan_text

AGENT = AgentReport("agent-1", "up", 1, 0, 0, 0, 0, 0)
REPORT = InferenceReport("net", "x", {}, 0.2, 0.1, (), (AGENT,), (), None, None)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00 ms"),
        (0.00084, "0.84 ms"),
        (0.00999, "9.99 ms"),
        (0.041, "41 ms"),
        (0.9994, "999 ms"),
        (2.125, "2.12 s"),
    ],
)
def test_durations(value, text):
    assert lines.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_400, "99.4 kB"),
        (123_456, "123 kB"),
        (12_400_000, "12.4 MB"),
        (3e9, "3.0 GB"),
    ],
)
def test_sizes(value, text):
    assert lines.size(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (3.1e-4, "3.1e-4"), (1e-2, "1e-2"), (0.5, "5e-1"), (float("nan"), "nan")]
)
def test_small_numbers(value, text):
    assert lines.small(value) == text


def test_a_loss_against_this_machine_is_said():
    text = lines.latency(REPORT, embedded=True)
    assert text.splitlines()[0] == "latency 200 ms; this machine alone 100 ms (2.0 x faster alone)"
    assert "share this machine's cores" in text
    assert "cores" not in lines.latency(REPORT, embedded=False)


def test_a_win_is_said_without_excuses():
    text = lines.latency(replace(REPORT, latency_s=0.05), embedded=True)
    assert text == "latency 50 ms; this machine alone 100 ms (2.0 x faster with the agents)"


def test_no_ratio_without_a_baseline():
    assert lines.latency(replace(REPORT, baseline_s=0.0), embedded=True) == "latency 200 ms; this machine alone 0.00 ms"


@pytest.mark.parametrize(("top1", "end"), [(None, "1e-2)"), (True, ", top-1 equal"), (False, ", top-1 differs")])
def test_the_check_line(top1, end):
    text = lines.check(CheckReport(3.1e-4, 1e-2, top1, True, {}))
    assert text.startswith("largest relative difference from plain ONNX Runtime 3.1e-4\n(tolerance 1e-2)")
    assert text.endswith(end)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (Verification(9, 0, 0, {}, 0.1), "the answers to 9 strips agree"),
        (Verification(1, 0, 0, {}, 0.1), "the answers to 1 strip agree"),
        (Verification(8, 2, 0, {}, 0.1), "the answers to 8 strips agree; 2 had no spare answer"),
        (Verification(0, 9, 0, {}, 0.1), "nothing could be checked, 9 strips had no spare answer"),
        (Verification(0, 0, 0, {}, 0.1), "nothing could be checked, 0 strips had no spare answer"),
        (Verification(9, 0, 3, {}, 0.1), "the answers to 3 of 9 strips contradict each other"),
        (Verification(9, 0, 3, {}, 0.1, cuts=("tile",)), "the answers to 3 of 9 tiles contradict each other"),
        (Verification(1, 0, 0, {}, 0.1, cuts=("tile",)), "the answers to 1 tile agree"),
        (
            Verification(8, 1, 0, {}, 0.1, cuts=("strip", "tile")),
            "the answers to 8 strips or tiles agree; 1 had no spare answer",
        ),
        (Verification(0, 4, 0, {}, 0.1, cuts=("tile",)), "nothing could be checked, 4 tiles had no spare answer"),
    ],
)
def test_the_verification_line(found, text):
    assert lines.verification(found) == f"verification: {text}"


def layer(name, scheme, reason):
    return ConvPlan(name, scheme, 0, 0, 0, 0, "f16", reason)


def test_layers_that_stay_are_counted_by_reason():
    plan = Plan("coded", 6, 4, "f16", (
        layer("a", "coded", ""), layer("b", "local", "0.02 MMAC: too small to cut"),
        layer("c", "local", "quantised weights"), layer("d", "local", "0.05 MMAC: too small to cut"),
    ))  # fmt: skip
    assert lines.kept(plan) == "3 conv layers on this machine: too small to cut (2); quantised weights (1)"
    assert plan_text(plan) == "plan: 1 of 4 conv layers on the agents, coded (6,4), f16"


def test_a_plan_without_agents_needs_no_list():
    plan = Plan("local", 0, 0, "f16", (layer("a", "local", "asked for"),))
    assert lines.kept(plan) == ""
    assert plan_text(plan) == "plan: all of 1 conv layer on this machine"
