"""A plan as text that a person reads and edits, TOML, and as a JSON document; and back. Pure.

Both have the same fields. The TOML form explains every one of them in comments; comments are not read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.planning.plan import FUSED, LOCAL, ConvPlan, Plan, Prediction, SegmentPlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KIND: Final = "cocoi-plan"
SCHEMA: Final = 1
NOTHING: Final = (None, "", ())

ABOUT: Final = """\
# How cocoi computes one model on one fleet, written by `cocoi plan`. `cocoi infer --plan FILE` checks and obeys it.
# Edit it as you like: it is refused where it cannot be. Fields that say what was predicted or why are for
# reading only."""

HEAD: Final = {
    "kind": "What this file is, and the version of its form.",
    "cocoi": "Version of the program that wrote it, and when (UTC).",
    "scheme": "How it came about: `auto` by the planner, or the scheme that every layer was to have.",
    "agents": "The devices in the order in which they get shares: where a layer needs fewer, the last go without.",
}
MODEL: Final = "The model that it is for: name, SHA-256 of the file, and the shape of every input."
FLEET: Final = (
    "The fleet that it is for: its id (empty: any fleet with as many devices), and the date of the profile (empty: the "
    "devices were assumed)."
)
PREDICTION: Final = (
    "What was predicted, in seconds, for the mean or for a quantile such as p95: one inference by this plan; by this "
    "machine alone; by the quickest device alone; and per picture when whole pictures go to all devices in turn."
)
SEGMENT: Final = """\
# Runs of layers that agents compute as one, tile by tile, without a code; what is late is given out twice.
#   name        unique; the layers below name it
#   input       tensor that is cut into tiles;  output: tensor that they are joined to
#   layers      the convolutions inside
#   tiles       how many: two or three per agent balance well, each costs a message and a halo
#   n           agents that take tiles, this machine included where `host` is true
#   transport   numbers on the wire, to the agents: f16 or f32;  reply: the same for the way back
#   host        whether this machine takes tiles too
#   seconds, reason, runner_up: what was predicted, why, and the next best way"""
LAYER: Final = """\
# Every convolution in the order of the model.
#   layer       its name, as `cocoi model info` shows it
#   scheme      local: this machine computes it;  fused: inside the segment that `segment` names;  or a code:
#               coded, uncoded, replication, hedged, cocoi, lt, fcdcc
#   n           shares of each strip, one per agent, this machine's included where `host` is true
#   k           pieces of each strip: so many answers are enough
#   axis        what is cut: 2 is height, 3 width
#   strips      strips per piece, each decoded by itself
#   filters     groups of output channels that are mixed (fcdcc only)
#   transport   numbers on the wire, to the agents: f16 or f32;  reply: the same for the way back
#   host        whether this machine computes a share too
#   seconds, reason, runner_up: what was predicted, why, and the next best way"""


@dataclass(frozen=True, slots=True)
class PlanDocument:
    """A plan with what it was made for.

    Attributes:
        plan: The plan; `plan.agents` are the devices that it was made for.
        model: Name of the model.
        sha256: Of the model's file.
        inputs: Input name to shape.
        fleet: Id of the fleet; empty where devices were assumed.
        profile: When the profile was made, ISO 8601 in UTC; empty where devices were assumed.
        made: When the plan was made, likewise.
        cocoi: Version that wrote it.
    """

    plan: Plan
    model: str
    sha256: str
    inputs: Mapping[str, tuple[int, ...]]
    fleet: str
    profile: str
    made: str
    cocoi: str


def to_toml(document: PlanDocument) -> str:
    """The text of a plan file; ends with a newline."""
    tree = to_tree(document)
    lines = [ABOUT, ""]
    for key in ("kind", "schema", "cocoi", "made", "scheme", "n", "k", "transport", "agents"):
        note = _NOTES.get(key)
        lines += [f"# {note}"] if note else []
        lines.append(f"{key} = {_value(tree[key])}")
    for key, note in (("model", MODEL), ("fleet", FLEET), ("prediction", PREDICTION)):
        if key in tree:
            lines += ["", *_wrapped(note), f"[{key}]", *_pairs(tree[key])]
    lines += ["", SEGMENT]
    for each in tree["segments"]:
        lines += ["", "[[segments]]", *_pairs(each)]
    lines += ["", LAYER]
    for each in tree["layers"]:
        lines += ["", "[[layers]]", *_pairs(each)]
    return "\n".join(lines) + "\n"


def to_json(document: PlanDocument) -> str:
    """The same as JSON; ends with a newline."""
    return json.dumps(to_tree(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_tree(document: PlanDocument) -> dict[str, Any]:
    """The fields of both forms."""
    plan = document.plan
    tree: dict[str, Any] = {
        "kind": KIND,
        "schema": SCHEMA,
        "cocoi": document.cocoi,
        "made": document.made,
        "scheme": plan.scheme,
        "n": plan.n,
        "k": plan.k,
        "transport": plan.transport,
        "agents": list(plan.agents),
        "model": {
            "name": document.model,
            "sha256": document.sha256,
            "inputs": {name: list(shape) for name, shape in document.inputs.items()},
        },
        "fleet": {"id": document.fleet, "profile": document.profile},
    }
    if plan.prediction is not None:
        tree["prediction"] = _prediction(plan.prediction)
    tree["segments"] = [_segment(each) for each in plan.segments]
    tree["layers"] = [_layer(each) for each in plan.layers]
    return tree


def _prediction(found: Prediction) -> dict[str, Any]:
    return _some(
        {
            "objective": found.objective,
            "latency_s": _rounded(found.latency_s),
            "local_s": _rounded(found.local_s),
            "device": found.device,
            "device_s": _rounded(found.device_s),
            "round_robin_s": _rounded(found.round_robin_s),
        }
    )


def _segment(each: SegmentPlan) -> dict[str, Any]:
    return {
        "name": each.name,
        "input": each.input,
        "output": each.output,
        "layers": list(each.layers),
        "tiles": each.tiles,
        "n": each.n,
        "transport": each.transport,
        "reply": each.answers,
        "host": each.host,
        **_told(each),
    }


def _layer(each: ConvPlan) -> dict[str, Any]:
    head: dict[str, Any] = {"layer": each.layer, "scheme": each.scheme}
    if each.scheme == FUSED:
        head["segment"] = each.segment
    elif each.scheme != LOCAL:
        head |= {"n": each.n, "k": each.k, "axis": each.axis, "strips": each.strips}
        head |= {"filters": each.filters} if each.filters != 1 else {}
        head |= {"transport": each.transport, "reply": each.answers, "host": each.host}
    return head | _told(each)


def _told(each: ConvPlan | SegmentPlan) -> dict[str, Any]:
    """What was predicted and why, where anything was."""
    return _some({"seconds": _rounded(each.seconds), "reason": each.reason, "runner_up": each.runner_up})


def _some(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in NOTHING}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else float(f"{seconds:.4g}")


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in values.items()]


def _key(name: str) -> str:
    plain = name and all(sign.isascii() and (sign.isalnum() or sign in "_-") for sign in name)
    return name if plain else _text(name)


def _value(value: Any) -> str:  # noqa: ANN401 - what a plan holds
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)
        case dict():
            inner = ", ".join(f"{_key(key)} = {_value(each)}" for key, each in value.items())
            return f"{{ {inner} }}" if inner else "{}"
        case _:
            return f"[{', '.join(_value(each) for each in value)}]"


def _text(value: str) -> str:
    """A basic string of TOML: JSON's escapes are among its own, but for the delete character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _wrapped(text: str, width: int = 116) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]


_NOTES: Final[Mapping[str, str]] = {
    "kind": HEAD["kind"],
    "cocoi": HEAD["cocoi"],
    "scheme": HEAD["scheme"],
    "n": "The largest code of any layer, its answers that are enough, and numbers on the wire; each layer has its own.",
    "agents": HEAD["agents"],
}


def names_of(plan: Plan) -> Sequence[str]:
    """Layers that a plan distributes, those inside segments included."""
    inside = [name for segment in plan.segments for name in segment.layers]
    return [layer.layer for layer in plan.layers if layer.distributed] + inside
