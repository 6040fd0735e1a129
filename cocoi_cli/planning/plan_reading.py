"""Reading a plan file: TOML or JSON to a `PlanDocument`, with the line of whatever is unfit. Pure.

Only what stands in the file is judged here; whether it fits a model and a fleet is for `plan_check`.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.planning.fields import Field, FieldError
from cocoi_cli.planning.plan import FUSED, LOCAL, ConvPlan, Plan, Prediction, SegmentPlan
from cocoi_cli.planning.plan_errors import BadPlanValueError, MalformedPlanError, UnknownPlanFieldError
from cocoi_cli.planning.plan_file import KIND, SCHEMA, PlanDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES: Final = ("f16", "f32")
HEAD_KEYS: Final = (
    "kind", "schema", "cocoi", "made", "scheme", "n", "k", "transport", "agents", "model", "fleet", "prediction",
    "segments", "layers",
)  # fmt: skip
MODEL_KEYS: Final = ("name", "sha256", "inputs")
FLEET_KEYS: Final = ("id", "profile")
PREDICTION_KEYS: Final = ("objective", "latency_s", "local_s", "device", "device_s", "round_robin_s")
SEGMENT_KEYS: Final = (
    "name", "input", "output", "layers", "tiles", "n", "transport", "reply", "host", "seconds", "reason", "runner_up",
)  # fmt: skip
LAYER_KEYS: Final = (
    "layer", "scheme", "segment", "n", "k", "axis", "strips", "filters", "transport", "reply", "host", "seconds",
    "reason", "runner_up",
)  # fmt: skip


def read(text: str, source: str) -> PlanDocument:
    """The plan in a text.

    Args:
        text: TOML as `plan_file.to_toml` writes it, edited or not; or JSON.
        source: The file's name, for complaints.

    Raises:
        MalformedPlanError: It is neither, or no plan of a version that is known.
        UnknownPlanFieldError: A field has a name that no field has.
        BadPlanValueError: A value is of the wrong kind or out of range.
    """
    tree = _parsed(text, source)
    lines = _Lines(text)
    root = Field(tree)
    if tree.get("kind") != KIND:
        raise MalformedPlanError(source, lines.of("kind"), f"it is no plan: its `kind` is not `{KIND}`")
    if tree.get("schema") != SCHEMA:
        raise MalformedPlanError(
            source, lines.of("schema"), f"its form has version {tree.get('schema')}; this program reads {SCHEMA}"
        )
    _check_names(tree, source, lines)
    try:
        return _document(root)
    except FieldError as error:
        raise BadPlanValueError(source, lines.of(error.field), error.field, error.cause) from error


def line_of(text: str, field: str) -> int:
    """The line, from 1, of a field such as `layers[3].k` in the text of a plan; 0 where none is found."""
    return _Lines(text).of(field)


def _parsed(text: str, source: str) -> dict[str, Any]:
    try:
        found = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at line (\d+), column \d+\)$", str(error))
        cause = str(error)[: place.start()].strip() if place else str(error).removesuffix(" (at end of document)")
        line = int(place.group(1)) if place else len(text.splitlines())
        raise MalformedPlanError(source, line, f"it is no TOML: {cause[:1].lower()}{cause[1:]}") from error
    except json.JSONDecodeError as error:
        raise MalformedPlanError(source, error.lineno, f"it is no JSON: {error.msg[:1].lower()}{error.msg[1:]}") from (
            error
        )
    except RecursionError as error:
        raise MalformedPlanError(source, 0, "its values are nested too deeply") from error
    if not isinstance(found, dict):
        raise MalformedPlanError(source, 0, "it is no plan")
    return found


def _check_names(tree: Mapping[str, Any], source: str, lines: _Lines) -> None:
    _known(tree, HEAD_KEYS, "", source, lines)
    tables: dict[str, tuple[str, ...]] = {"model": MODEL_KEYS, "fleet": FLEET_KEYS, "prediction": PREDICTION_KEYS}
    for name, keys in tables.items():
        _known(tree.get(name), keys, f"{name}.", source, lines)
    lists: dict[str, tuple[str, ...]] = {"segments": SEGMENT_KEYS, "layers": LAYER_KEYS}
    for name, keys in lists.items():
        found = tree.get(name)
        for number, table in enumerate(found if isinstance(found, list) else []):
            _known(table, keys, f"{name}[{number}].", source, lines)


def _known(table: object, keys: tuple[str, ...], place: str, source: str, lines: _Lines) -> None:
    if isinstance(table, dict):
        for key in table:
            if key not in keys:
                closest = difflib.get_close_matches(key, keys, n=2, cutoff=0.6)
                raise UnknownPlanFieldError(source, lines.of(f"{place}{key}"), f"{place}{key}", closest)


def _document(root: Field) -> PlanDocument:
    model, fleet = root.at("model"), root.at("fleet")
    usual = _type(root.at("transport"))
    return PlanDocument(
        plan=Plan(
            scheme=root.at("scheme").text(),
            n=root.at("n").count(),
            k=root.at("k").count(),
            transport=usual,
            layers=tuple(_layer(each, usual) for each in root.at("layers").items()),
            segments=tuple(_segment(each) for each in root.at("segments").optional(Field.items) or ()),
            agents=tuple(each.text() for each in root.at("agents").optional(Field.items) or ()),
            prediction=root.at("prediction").optional(_prediction),
        ),
        model=model.at("name").text(),
        sha256=model.at("sha256").text(),
        inputs={name: tuple(axis.count() for axis in shape.items()) for name, shape in model.at("inputs").members()},
        fleet=fleet.at("id").optional(Field.text) or "",
        profile=fleet.at("profile").optional(Field.text) or "",
        made=root.at("made").text(),
        cocoi=root.at("cocoi").text(),
    )


def _layer(field: Field, usual: str) -> ConvPlan:
    name, scheme = field.at("layer").text(), field.at("scheme").text()
    transport = field.at("transport").optional(_type) or usual
    reason, runner_up = field.at("reason").optional(Field.text) or "", field.at("runner_up").optional(Field.text) or ""
    seconds = field.at("seconds").optional(Field.number)
    if scheme in (LOCAL, FUSED):
        segment = field.at("segment").text() if scheme == FUSED else ""
        return ConvPlan(
            name, scheme, 0, 0, 0, 0, transport, reason, segment=segment, seconds=seconds, runner_up=runner_up
        )
    return ConvPlan(
        layer=name,
        scheme=scheme,
        n=field.at("n").positive(),
        k=field.at("k").positive(),
        axis=field.at("axis").positive(),
        strips=field.at("strips").positive(),
        transport=_type(field.at("transport")),
        reason=reason,
        reply=field.at("reply").optional(_type) or "",
        host=field.at("host").optional(_truth) or False,
        filters=field.at("filters").optional(Field.positive) or 1,
        seconds=seconds,
        runner_up=runner_up,
    )


def _segment(field: Field) -> SegmentPlan:
    return SegmentPlan(
        name=field.at("name").text(),
        layers=tuple(each.text() for each in field.at("layers").items()),
        input=field.at("input").text(),
        output=field.at("output").text(),
        tiles=field.at("tiles").positive(),
        n=field.at("n").positive(),
        transport=_type(field.at("transport")),
        reason=field.at("reason").optional(Field.text) or "",
        reply=field.at("reply").optional(_type) or "",
        host=field.at("host").optional(_truth) or False,
        seconds=field.at("seconds").optional(Field.number),
        runner_up=field.at("runner_up").optional(Field.text) or "",
    )


def _prediction(field: Field) -> Prediction:
    return Prediction(
        objective=field.at("objective").text(),
        latency_s=field.at("latency_s").number(),
        local_s=field.at("local_s").number(),
        device=field.at("device").optional(Field.text) or "",
        device_s=field.at("device_s").optional(Field.number),
        round_robin_s=field.at("round_robin_s").optional(Field.number),
    )


def _type(field: Field) -> str:
    return field.one_of(*TYPES)


def _truth(field: Field) -> bool:
    value = field.plain()
    if not isinstance(value, bool):
        return field.one_of("true", "false") == "true"
    return value


class _Lines:
    """Lines of a text in which every field stands in a line of its own, as it was written."""

    def __init__(self, text: str) -> None:
        self._lines: dict[str, int] = {}
        counts: dict[str, int] = {}
        place = ""
        for number, line in enumerate(text.splitlines(), 1):
            if header := re.match(r"\s*\[\[\s*(\w+)\s*\]\]", line):
                name = header.group(1)
                place = f"{name}[{counts.get(name, 0)}]"
                counts[name] = counts.get(name, 0) + 1
                self._lines.setdefault(place, number)
            elif header := re.match(r"\s*\[\s*([\w.]+)\s*\]", line):
                place = header.group(1)
                self._lines.setdefault(place, number)
            elif pair := re.match(r"""\s*["']?([\w-]+)["']?\s*=""", line):
                self._lines.setdefault(f"{place}.{pair.group(1)}" if place else pair.group(1), number)

    def of(self, field: str) -> int:
        """The line of a field, else of what it is part of, else 0."""
        while field:
            if field in self._lines:
                return self._lines[field]
            field = re.sub(r"(\.[^.\[\]]*|\[\d+\]|^[^.\[\]]*)$", "", field)
        return 0
