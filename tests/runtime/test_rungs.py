"""The ladder of a stage: each rung changes what travels, the last one nothing but where it is computed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import ConvPlan, Plan, SegmentPlan
from cocoi_cli.runtime.losses import noise_gain
from cocoi_cli.runtime.rungs import Rung, Step, raised, rung_of, stages_of, step, stricter, without_code

PLAN = Plan(
    "coded",
    6,
    4,
    "f16",
    (
        ConvPlan("a", "coded", 6, 4, 2, 3, "f16", "(6,4) over 56 rows, 3 strips", seconds=1.0),
        ConvPlan("b", "local", 0, 0, 0, 0, "f16", "0.02 MMAC: too small to cut"),
        ConvPlan("c", "fused", 0, 0, 0, 0, "f16", "in tiles", segment="c..d"),
        ConvPlan("d", "fused", 0, 0, 0, 0, "f16", "in tiles", segment="c..d"),
        ConvPlan("e", "fcdcc", 6, 4, 2, 1, "f16", "filters too", filters=2),
    ),
    segments=(SegmentPlan("c..d", ("c", "d"), "x", "y", 12, 6, "f16", "in tiles"),),
)


def rungs(plan: Plan) -> dict[str, Rung]:
    return {name: rung_of(stage) for name, stage in stages_of(plan).items()}


def test_every_stage_begins_at_the_lowest_rung_of_its_types() -> None:
    assert rungs(PLAN) == {"a": Rung.HALF, "e": Rung.HALF, "c..d": Rung.HALF}
    wide = replace(PLAN.layers[0], reply="f32")
    assert rung_of(wide) is Rung.WIDE_ANSWERS
    assert rung_of(replace(wide, transport="f32")) is Rung.SINGLE
    assert rung_of(replace(wide, transport="f32", reply="")) is Rung.SINGLE


@pytest.mark.parametrize(("scheme", "n", "k"), [("hedged", 6, 1), ("uncoded", 6, 6), ("replication", 6, 3)])
def test_float32_without_a_code_is_one_rung_higher(scheme, n, k) -> None:
    assert rung_of(ConvPlan("a", scheme, n, k, 2, 1, "f32", "")) is Rung.UNCODED
    assert rung_of(ConvPlan("a", scheme, n, k, 2, 1, "f16", "")) is Rung.HALF
    assert rung_of(replace(PLAN.segments[0], transport="f32")) is Rung.UNCODED


@pytest.mark.parametrize("name", ["a", "e", "c..d"])
@pytest.mark.parametrize("rung", [Rung.WIDE_ANSWERS, Rung.SINGLE])
def test_a_raised_stage_travels_otherwise_and_says_why(name, rung) -> None:
    plan = raised(PLAN, [step(name, rung, 0.0312)])
    found = Rung.UNCODED if (name, rung) == ("c..d", Rung.SINGLE) else rung
    assert rungs(plan) == {**rungs(PLAN), name: found}
    stage = stages_of(plan)[name]
    assert stage.reason.startswith(stages_of(PLAN)[name].reason + "; float32")
    assert stage.reason.endswith("as float16 would err by 3e-02")
    before = stages_of(PLAN)[name]
    assert replace(stage, transport="f16", reply="", reason=before.reason) == before
    others = [layer for layer in plan.layers if layer.layer != name]
    assert others == [layer for layer in PLAN.layers if layer.layer != name]


def test_a_code_that_nobody_asked_for_is_dropped_and_its_strips_become_tiles() -> None:
    steps = [step("a", Rung.UNCODED, 0.0123)]
    dropped = raised(replace(PLAN, scheme="auto"), steps).layers[0]
    assert (dropped.scheme, dropped.n, dropped.k, dropped.strips, dropped.transport) == ("hedged", 6, 1, 12, "f32")
    assert dropped.reason.endswith("; float32 without a code, as it would err by 1e-02")
    asked_for = raised(PLAN, steps).layers[0]
    assert (asked_for.scheme, asked_for.k, asked_for.strips, asked_for.transport) == ("coded", 4, 3, "f32")


def test_what_doing_without_a_code_leaves() -> None:
    auto = replace(PLAN, scheme="auto")
    coded, mixed = PLAN.layers[0], PLAN.layers[4]
    assert without_code(auto, coded) == 1 / noise_gain(coded) < 0.5
    assert without_code(PLAN, coded) == 1.0  # it was asked for
    assert without_code(auto, mixed) == 1.0  # agents hold mixed filters only
    assert without_code(auto, PLAN.segments[0]) == 1.0
    assert without_code(auto, replace(coded, scheme="hedged", k=1)) == 1.0


def test_a_layer_at_home_is_local_and_a_segment_at_home_is_gone_with_its_layers() -> None:
    plan = raised(PLAN, [step("a", Rung.HOST, 2e-4), step("c..d", Rung.HOST, 2e-4)])
    assert [layer.scheme for layer in plan.layers] == ["local", "local", "local", "local", "fcdcc"]
    assert plan.segments == ()
    assert {layer.reason for layer in plan.layers if layer.layer in "acd"} == {
        "kept here: even float32 would err by 2e-04"
    }
    assert plan.layers[1] == PLAN.layers[1]


def test_steps_for_stages_that_are_not_there_are_passed_over() -> None:
    assert raised(PLAN, [Step("b", Rung.HOST, ""), Step("z", Rung.SINGLE, ""), Step("c", Rung.SINGLE, "")]) == PLAN
    assert raised(PLAN, []) == PLAN


def test_without_knowledge_all_go_to_float32_and_then_home() -> None:
    mixed = raised(PLAN, [step("a", Rung.SINGLE, 0.1), step("e", Rung.WIDE_ANSWERS, 0.1)])
    single = stricter(mixed, 0.5)
    assert rungs(single) == {"a": Rung.SINGLE, "e": Rung.SINGLE, "c..d": Rung.UNCODED}
    assert single.layers[0] == mixed.layers[0]
    home = stricter(single, 0.5)
    assert home.is_local
    assert stricter(home, 0.5) == home


def test_codes_that_nobody_asked_for_are_dropped_before_all_go_home() -> None:
    single = stricter(replace(PLAN, scheme="auto"), 0.5)
    dropped = stricter(single, 0.5)
    assert rungs(dropped) == {"a": Rung.UNCODED, "e": Rung.SINGLE, "c..d": Rung.UNCODED}
    assert dropped.segments == single.segments
    assert stricter(dropped, 0.5).is_local
