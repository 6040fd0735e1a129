"""The plan as text: written, explained, edited, read again, and refused with the line at fault."""
# ruff: noqa: E501  (each case of a table stands on one line)

from __future__ import annotations

import json
import tomllib
from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import FUSED, LOCAL, ConvPlan, Plan
from cocoi_cli.planning.plan_check import check, check_plan
from cocoi_cli.planning.plan_errors import (
    BadPlanValueError,
    MalformedPlanError,
    OtherFleetPlanError,
    OtherModelError,
    StalePlanError,
    UnknownPlanFieldError,
)
from cocoi_cli.planning.plan_file import PlanDocument, to_json, to_toml
from cocoi_cli.planning.plan_reading import LAYER_KEYS, SEGMENT_KEYS, read
from cocoi_cli.planning.planner import make_plan
from cocoi_cli.planning.request import Request
from tests.planning.vgg import VGG16, VGG_SEGMENTS, rig

SHA = "a" * 64


def document(plan: Plan | None = None) -> PlanDocument:
    plan = make_plan(VGG16, VGG_SEGMENTS, rig(), Request()) if plan is None else plan
    return PlanDocument(
        plan=plan,
        model="vgg16",
        sha256=SHA,
        inputs={"data, or so": (1, 3, 224, 224)},
        fleet="f00",
        profile="2026-11-20T10:00:00+00:00",
        made="2026-11-21T10:00:00+00:00",
        cocoi="0.1.0",
    )


TEXT = to_toml(document())


def edited(old: str, new: str, count: int = 1) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, count)


def line_with(text: str, words: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if words in line)


def verify(text: str) -> None:
    found = read(text, "plan.toml")
    check_plan(found.plan, VGG16, VGG_SEGMENTS, 10, source="plan.toml", text=text)


def rounded(plan: Plan) -> Plan:
    """As the file has it: seconds to four digits."""
    return read(to_toml(document(plan)), "p").plan


@pytest.mark.parametrize("write", [to_toml, to_json])
def test_comes_back_as_it_was_written(write) -> None:
    written = document()
    found = read(write(written), "plan")
    assert replace(found, plan=written.plan) == written
    assert found.plan == rounded(written.plan)
    for ours, theirs in zip(written.plan.layers, found.plan.layers, strict=True):
        assert replace(ours, seconds=None) == replace(theirs, seconds=None)
        assert theirs.seconds == (None if ours.seconds is None else pytest.approx(ours.seconds, rel=1e-3))
    assert read(write(found), "plan") == found


def test_what_needs_quoting_is_quoted() -> None:
    odd = ConvPlan('a "b"\\c\n\x7fé', LOCAL, 0, 0, 0, 0, "f16", "tab\there")
    plan = Plan("auto", 0, 0, "f16", (odd,), agents=("pi-1", "p'i\"2"))
    assert read(to_toml(document(plan)), "p").plan == plan
    assert read(to_json(document(plan)), "p").plan == plan


def test_every_field_is_explained() -> None:
    comments = "\n".join(line for line in TEXT.splitlines() if line.startswith("#"))
    for name in (*SEGMENT_KEYS, *LAYER_KEYS):
        assert name in comments
    for table in ("model", "fleet", "prediction"):
        place = TEXT.splitlines().index(f"[{table}]")
        assert TEXT.splitlines()[place - 1].startswith("# ")
    assert max(len(line) for line in comments.splitlines()) <= 120


def test_json_is_the_same_tree() -> None:
    assert json.loads(to_json(document())) == tomllib.loads(TEXT)


def test_an_untouched_plan_passes() -> None:
    verify(TEXT)
    verify(to_json(document()))


def test_an_edited_plan_is_obeyed() -> None:
    scheme = next(layer for layer in document().plan.layers if layer.distributed)
    text = edited(
        f'layer = "{scheme.layer}"\nscheme = "{scheme.scheme}"', f'layer = "{scheme.layer}"\nscheme = "local"'
    )
    verify(text)
    found = read(text, "p").plan
    assert next(layer for layer in found.layers if layer.layer == scheme.layer).scheme == LOCAL


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("kind = ", MalformedPlanError, "it is no TOML"),
        ("{", MalformedPlanError, "it is no JSON"),
        ("[]", MalformedPlanError, "it is no TOML"),
        ("a = 1", MalformedPlanError, "its `kind` is not `cocoi-plan`"),
        ('kind = "cocoi-plan"\nschema = 9', MalformedPlanError, "version 9"),
        (edited("schema = 1\n", 'schema = "x"\n'), MalformedPlanError, "version x"),
        (edited("\nsha256 =", "\nsha265 ="), UnknownPlanFieldError, "no plan has a field `model.sha265` (closest: `sha256`"),
        (edited("\ntiles =", "\ntile ="), UnknownPlanFieldError, "`segments[0].tile`"),
        (edited("\nhost = true", '\nhost = "yes"'), BadPlanValueError, "found \"yes\""),
        (edited("\nn = 11", "\nn = -1"), BadPlanValueError, "`n`: found -1"),
        (edited('transport = "f16"', 'transport = "int8"'), BadPlanValueError, "found \"int8\", expected `f16` or `f32`"),
        (edited("\ninputs = {", "\ninputs = 3 #"), BadPlanValueError, "expected an object"),
    ],
    ids=str,
)  # fmt: skip
def test_refuses_what_is_no_plan(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        read(text, "plan.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("`plan.toml")


LAYER = next(layer for layer in document().plan.layers if layer.distributed)
NUMBER = [layer.layer for layer in document().plan.layers].index(LAYER.layer)
HEAD = f'layer = "{LAYER.layer}"\nscheme = "{LAYER.scheme}"\nn = {LAYER.n}\nk = {LAYER.k}\naxis = {LAYER.axis}\n'


@pytest.mark.parametrize(
    ("new", "field", "words"),
    [
        (HEAD.replace(LAYER.layer, "conv9_9"), "layer", "the model has no convolution `conv9_9`"),
        (HEAD.replace(f'"{LAYER.scheme}"', '"magic"'), "scheme", "unknown scheme `magic`; known are `local`, `fused`"),
        (HEAD.replace(f"k = {LAYER.k}", f"k = {LAYER.n + 1}"), "k", f"n is {LAYER.n} and k is {LAYER.n + 1}; k is at most n"),
        (HEAD.replace("axis = 2", "axis = 4"), "axis", "has axes 2 to 3 to cut"),
        (HEAD.replace(f'"{LAYER.scheme}"', '"uncoded"').replace(f"k = {LAYER.k}", "k = 3"), "k", "k is n"),
        (HEAD + "filters = 2\n", "k", "its code does not mix output channels"),
    ],
    ids=str,
)  # fmt: skip
def test_refuses_what_a_layer_cannot_be(new: str, field: str, words: str) -> None:
    text = edited(HEAD, new)
    with pytest.raises(BadPlanValueError) as caught:
        verify(text)
    assert words in str(caught.value)
    assert caught.value.field == f"layers[{NUMBER}].{field}"
    line = caught.value.details["line"]
    assert text.splitlines()[line - 1].startswith(f"{field} = ")


def test_names_the_line_of_a_field_that_does_not_exist() -> None:
    text = edited(HEAD, HEAD + "strip = 3\n")
    with pytest.raises(UnknownPlanFieldError) as caught:
        read(text, "plan.toml")
    assert caught.value.details["line"] == line_with(text, "strip = 3")
    assert f"`plan.toml:{line_with(text, 'strip = 3')}`" in str(caught.value)


def test_names_the_line_where_toml_ends() -> None:
    text = edited("schema = 1\n", "schema = \n")
    with pytest.raises(MalformedPlanError) as caught:
        read(text, "plan.toml")
    assert caught.value.details["line"] == line_with(text, "schema =")


def changed(**values) -> Plan:
    return replace(document().plan, **values)


def layers_but(number: int, **values) -> tuple[ConvPlan, ...]:
    layers = list(document().plan.layers)
    layers[number] = replace(layers[number], **values)
    return tuple(layers)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (changed(layers=document().plan.layers[:-1]), "nothing is decided about `conv5_3`"),
        (changed(layers=(*document().plan.layers, document().plan.layers[0])), "`conv1_1` is decided twice"),
        (changed(layers=layers_but(0, segment="elsewhere")), "no segment of the plan has the name `elsewhere`"),
        (changed(layers=layers_but(0, scheme=LOCAL, segment="")), "`conv1_1` is in segment"),
        (changed(layers=layers_but(NUMBER, scheme=FUSED, segment="conv1_1..conv1_2")), "is not in segment"),
        (changed(layers=layers_but(NUMBER, strips=57)), "57 strips in pieces of"),
        (changed(layers=layers_but(NUMBER, n=1, k=1, host=True)), "with a share of this machine, n is at least 2"),
        (changed(segments=()), "no segment of the plan has the name"),
        (
            changed(segments=(replace(document().plan.segments[0], tiles=113), document().plan.segments[1])),
            "113 tiles of 112 rows",
        ),
        (
            changed(segments=(replace(document().plan.segments[0], output="z"), document().plan.segments[1])),
            "agents cannot compute `conv1_1..conv1_2` as one, from `x` to `z`",
        ),
    ],
    ids=[
        "undecided", "twice", "no segment", "inside and local", "not inside", "strips", "host alone", "segment gone",
        "tiles", "cut elsewhere",
    ],
)  # fmt: skip
def test_refuses_what_the_model_cannot_be(plan: Plan, words: str) -> None:
    with pytest.raises(BadPlanValueError, match=r"`the plan`") as caught:
        check_plan(plan, VGG16, VGG_SEGMENTS)
    assert words in str(caught.value)


def test_refuses_a_layer_with_an_obstacle() -> None:
    stuck = [replace(layer, obstacle="quantised weights") for layer in VGG16]
    with pytest.raises(BadPlanValueError, match="cannot be distributed: quantised weights"):
        check_plan(changed(segments=(), layers=layers_but(0)[4:]), stuck, VGG_SEGMENTS)


def held(**changes) -> None:
    values = {
        "model": "vgg16", "sha256": SHA, "inputs": {"data, or so": (1, 3, 224, 224)}, "fleet": "f00",
        "devices": [f"node-{number}" for number in range(1, 11)], "profile": "2026-11-20T10:00:00+00:00",
    }  # fmt: skip
    check(document(), "plan.toml", **(values | changes))


def test_a_plan_for_this_model_and_fleet_passes() -> None:
    held()
    held(fleet=None, devices=[])
    held(inputs=None, profile="")
    held(devices=[f"node-{number}" for number in range(12, 0, -1)])


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"sha256": "b" * 64, "model": "resnet18"}, OtherModelError, "a plan for model `vgg16`, not for `resnet18`"),
        ({"sha256": "b" * 64}, OtherModelError, "another model `vgg16`: its file has other contents"),
        ({"inputs": {"data, or so": (1, 3, 256, 256)}}, OtherModelError, "is 1x3x256x256, and 1x3x224x224 was planned"),
        ({"fleet": "f11"}, OtherFleetPlanError, "a plan for fleet `f00`, not for `f11`"),
        ({"devices": [f"node-{number}" for number in range(2, 11)]}, StalePlanError, "`node-1` has left the fleet"),
        ({"profile": "2026-11-21T11:00:00+00:00"}, StalePlanError, "the fleet was measured again"),
    ],
    ids=["model", "file", "sizes", "fleet", "device", "profile"],
)
def test_refuses_a_plan_for_something_else(changes, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        held(**changes)
    assert words in str(caught.value)
    assert caught.value.exit_status == 3


def test_a_plan_for_assumed_devices_fits_any_fleet() -> None:
    assumed = replace(document(), fleet="", profile="")
    check(
        assumed, "p", model="vgg16", sha256=SHA, inputs=None, fleet="f11", devices=["pi-1"], profile="2030-01-01"
    )  # fmt: skip
