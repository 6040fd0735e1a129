"""Traces as Chrome trace JSON: a golden document, and the rules that viewers rely on."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from cocoi_cli.runtime.report import Span, Trace
from cocoi_cli.views.timeline import chrome_trace, wasted_s

GOLDEN = Path(__file__).parent / "timeline.json"


def share(track, name, start, end, number, outcome="used", strip=0):
    return Span(
        track, name, start, end, {"stage": "conv1", "strip": strip, "share": number, "bytes": 64, "outcome": outcome}
    )


TRACE = Trace(
    (
        Span("host", "stage", 0.0, 0.010, {"stage": "conv1"}),
        Span("host", "encode", 0.0, 0.001, {"stage": "conv1", "strip": 0, "share": 0}),
        share("agent-2", "send", 0.001, 0.002, 1),
        share("agent-2", "queue", 0.002, 0.0025, 1),
        share("agent-2", "run", 0.0025, 0.004, 1),
        share("agent-2", "return", 0.004, 0.005, 1),
        share("agent-10", "send", 0.001, 0.002, 2, "late"),
        share("agent-10", "run", 0.002, 0.008, 2, "late"),
        share("agent-10", "return", 0.008, 0.009, 2, "late"),
        # The next strip arrives while the first answer is still on its way.
        share("agent-2", "send", 0.0045, 0.006, 1, strip=1),
        Span("host", "decode", 0.005, 0.006, {"stage": "conv1", "strip": 0}),
        Span("host", "local", 0.010, 0.012, {}),
    ),
    {"agent-2": 0.0001, "agent-10": 0.0002, "agent-3": 0.0003},
)


def test_the_document_is_the_golden_one():
    document = chrome_trace([("cat.jpg", TRACE)])
    assert document == json.loads(GOLDEN.read_text())


def bars(document):
    return [event for event in document["traceEvents"] if event["ph"] == "X"]


def tracks(document, process=1):
    named = [event for event in document["traceEvents"] if event["name"] == "thread_name" and event["pid"] == process]
    return {event["tid"]: event["args"]["name"] for event in named}


def test_the_host_comes_first_and_agents_follow_by_number_even_idle_ones():
    names = list(tracks(chrome_trace([("x", TRACE)])).values())
    assert names == ["host", "agent-2", "agent-2 (2)", "agent-3", "agent-10"]


def test_no_bar_is_lost_and_bars_of_a_track_nest_or_follow():
    document = chrome_trace([("x", TRACE)])
    assert len(bars(document)) == len(TRACE.spans)
    for one, other in itertools.combinations(bars(document), 2):
        if one["tid"] == other["tid"]:
            a, b, c, d = one["ts"], one["ts"] + one["dur"], other["ts"], other["ts"] + other["dur"]
            assert b <= c or d <= a or (a <= c and d <= b) or (c <= a and b <= d)


def test_overlaps_within_the_clock_uncertainty_are_trimmed_instead():
    trace = Trace((share("a", "run", 0.0, 0.002, 0), share("a", "return", 0.00195, 0.003, 0)), {"a": 0.0001})
    document = chrome_trace([("x", trace)])
    assert set(tracks(document).values()) == {"host", "a"}
    assert [(bar["ts"], bar["dur"]) for bar in bars(document)] == [(0.0, 2000.0), (2000.0, 1000.0)]


def test_wasted_work_is_coloured_and_summed():
    late = [bar for bar in bars(chrome_trace([("x", TRACE)])) if bar["args"].get("outcome") == "late"]
    assert len(late) == 3
    assert {bar["cname"] for bar in late} == {"bad"}
    assert round(wasted_s(TRACE), 9) == 0.006


def test_arrows_go_from_send_to_run_and_from_used_answers_to_decode():
    document = chrome_trace([("x", TRACE)])
    starts = {event["id"]: event for event in document["traceEvents"] if event["ph"] == "s"}
    ends = {event["id"]: event for event in document["traceEvents"] if event["ph"] == "f"}
    names = tracks(document)
    found = [(starts[i]["name"], names[starts[i]["tid"]], names[ends[i]["tid"]]) for i in sorted(starts)]
    assert found == [("send", "agent-2", "agent-2"), ("return", "agent-2", "host"), ("send", "agent-10", "agent-10")]
    for number, start in starts.items():
        assert start["ts"] <= ends[number]["ts"]
        assert any(
            bar["tid"] == start["tid"] and bar["ts"] <= start["ts"] <= bar["ts"] + bar["dur"] for bar in bars(document)
        )


def test_several_inferences_are_processes_one_after_the_other():
    document = chrome_trace([("a", TRACE), ("b", TRACE)])
    second = [bar["ts"] for bar in bars(document) if bar["pid"] == 2]
    assert min(second) == 12000.0
    arrows = [event["id"] for event in document["traceEvents"] if event["ph"] == "s"]
    assert len(arrows) == len(set(arrows))


def test_an_empty_trace_is_a_valid_document():
    assert chrome_trace([("x", Trace((), {}))])["otherData"]["inferences"][0]["wasted_s"] == 0
