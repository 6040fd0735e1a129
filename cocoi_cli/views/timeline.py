"""A timeline as Chrome trace JSON, which ui.perfetto.dev and chrome://tracing open.

One process per inference, one track per agent and one for the host. A track can only
show bars that follow or contain each other; bars that overlap otherwise (an answer
that still travels while the next strip is computed) go to a second track of the same
agent, so that none is lost. Overlaps that the uncertainty of the agent's clock
explains are trimmed instead.

Source: the Trace Event Format document; times are microseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.runtime.report import Span, Trace

HOST = "host"
# Outcomes of work whose result nobody needed, and the reserved colours of the format for them.
_WASTED = {
    "late": "bad",
    "cancelled": "grey",
    "skipped": "grey",
    "failed": "terrible",
    "lost": "terrible",
}
_COLORS = {"encode": "thread_state_iowait", "decode": "thread_state_runnable", "run": "good", "local": "rail_animation"}
_LANES = 100  # track numbers kept for one agent


@dataclass(slots=True)
class _Lane:
    """A track that grows: bars that are on it, in order of their start."""

    bars: list[tuple[float, float]] = field(default_factory=list)

    def fits(self, start: float, end: float) -> bool:
        return all(
            end <= a or b <= start or (a <= start and end <= b) or (start <= a and b <= end) for a, b in self.bars
        )


def chrome_trace(inferences: Sequence[tuple[str, Trace]]) -> dict[str, Any]:
    """Draw the timelines of one command; several inferences follow each other.

    Args:
        inferences: What each was of (the input's name), and its timeline.

    Returns:
        The document: `traceEvents`, and in `otherData` the seconds spent on work that was
        not needed and the uncertainty of the agents' clocks, per inference.
    """
    events: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    shift = 0.0
    for number, (name, trace) in enumerate(inferences, start=1):
        drawn, tracks = _spans(trace, number, shift)
        events += _names(number, name, tracks) + drawn
        others.append({"input": name, **_summary(trace)})
        shift += max((span.end_s for span in trace.spans), default=0.0)
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"program": "cocoi", "inferences": others}}


def wasted_s(trace: Trace) -> float:
    """Seconds that agents computed for answers nobody needed."""
    return sum(
        span.end_s - span.start_s for span in trace.spans if span.name == "run" and span.args.get("outcome") in _WASTED
    )


def _summary(trace: Trace) -> dict[str, Any]:
    run = sum(span.end_s - span.start_s for span in trace.spans if span.name == "run")
    return {
        "computed_s": round(run, 6),
        "wasted_s": round(wasted_s(trace), 6),
        "clock_uncertainty_s": {agent: round(value, 6) for agent, value in sorted(trace.clock_uncertainty_s.items())},
    }


def _spans(trace: Trace, process: int, shift: float) -> tuple[list[dict[str, Any]], dict[int, str]]:
    agents = sorted({span.track for span in trace.spans} | set(trace.clock_uncertainty_s), key=_natural)
    order = [HOST, *(agent for agent in agents if agent != HOST)]
    tracks: dict[int, str] = {at * _LANES + 1: name for at, name in enumerate(order)}
    events: list[dict[str, Any]] = []
    ends: dict[tuple[str, object, object, object], dict[str, Any]] = {}
    for at, name in enumerate(order):
        lanes: list[_Lane] = []
        own = [span for span in trace.spans if span.track == name]
        for span in sorted(own, key=_priority):
            start, end = _trimmed(span, lanes, trace.clock_uncertainty_s.get(name, 0.0))
            lane = next((number for number, lane in enumerate(lanes) if lane.fits(start, end)), len(lanes))
            if lane == len(lanes):
                lanes.append(_Lane())
            lanes[lane].bars.append((start, end))
            thread = at * _LANES + 1 + min(lane, _LANES - 2)
            tracks.setdefault(thread, f"{name} ({lane + 1})")
            event = _bar(span, process, thread, shift + start, shift + end)
            events.append(event)
            ends.setdefault(_key(span), event)
    events.sort(key=lambda event: (event["tid"], event["ts"], -event["dur"]))
    return events + _arrows(trace, ends), tracks


def _priority(span: Span) -> tuple[bool, float, float]:
    # Computing decides what the first track of an agent shows.
    return span.name != "run", span.start_s, -span.end_s


def _natural(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :] or 0)


def _trimmed(span: Span, lanes: list[_Lane], slack: float) -> tuple[float, float]:
    """The span's times, moved off its neighbours on the first track by no more than `slack` seconds."""
    start, end = span.start_s, max(span.start_s, span.end_s)
    if lanes and slack > 0:
        for a, b in lanes[0].bars:
            if a <= start < b < end and b - start <= slack:
                start = b
            elif start < a < end <= b and end - a <= slack:
                end = a
    return start, end


def _bar(span: Span, process: int, thread: int, start: float, end: float) -> dict[str, Any]:
    outcome = str(span.args.get("outcome", ""))
    event: dict[str, Any] = {
        "ph": "X",
        "name": span.name if "stage" not in span.args else f"{span.name} {span.args['stage']}",
        "cat": f"{span.name},{outcome}" if outcome else span.name,
        "pid": process,
        "tid": thread,
        "ts": round(start * 1e6, 3),
        "dur": round((end - start) * 1e6, 3),
        "args": dict(span.args),
    }
    color = _WASTED.get(outcome) or _COLORS.get(span.name)
    return event if color is None else {**event, "cname": color}


def _key(span: Span) -> tuple[str, object, object, object]:
    return span.name, span.args.get("stage"), span.args.get("strip"), span.args.get("share")


def _arrows(trace: Trace, drawn: Mapping[tuple[str, object, object, object], dict[str, Any]]) -> list[dict[str, Any]]:
    """Arrows from each send to its run, and from each answer that was used to the decoding of its strip."""
    arrows: list[dict[str, Any]] = []
    seen: set[tuple[str, object, object, object]] = set()
    for span in trace.spans:
        name, stage, strip, share = key = _key(span)
        if key in seen or strip is None:
            continue
        seen.add(key)
        target = None
        if name == "send":
            target = drawn.get(("run", stage, strip, share))
        elif name == "return" and span.args.get("outcome", "used") == "used":
            target = drawn.get(("decode", stage, strip, None)) or drawn.get(("decode", stage, strip, share))
        if target is not None:
            arrows += _arrow(len(arrows) // 2 + 1, name, drawn[key], target)
    return arrows


def _arrow(number: int, name: str, tail: Mapping[str, Any], head: Mapping[str, Any]) -> list[dict[str, Any]]:
    common = {"name": name, "cat": "flow", "pid": tail["pid"], "id": tail["pid"] * 1_000_000 + number}
    # An arrow belongs to the bar around its ends: it leaves and arrives inside, not on the edge.
    leave = round(tail["ts"] + tail["dur"] / 2, 3)
    arrive = round(head["ts"] + head["dur"] / 2, 3)
    return [
        {"ph": "s", **common, "tid": tail["tid"], "ts": leave},
        {"ph": "f", "bp": "e", **common, "tid": head["tid"], "ts": max(leave, arrive)},
    ]


def _names(process: int, name: str, tracks: Mapping[int, str]) -> list[dict[str, Any]]:
    events = [{"ph": "M", "name": "process_name", "pid": process, "tid": 0, "args": {"name": name}}]
    for thread, label in sorted(tracks.items()):
        events.append({"ph": "M", "name": "thread_name", "pid": process, "tid": thread, "args": {"name": label}})
        events.append(
            {"ph": "M", "name": "thread_sort_index", "pid": process, "tid": thread, "args": {"sort_index": thread}}
        )
    return events
