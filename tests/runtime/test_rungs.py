"""The ladder of a stage: each rung changes what travels, the last one nothing but where it is computed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import ConvPlan, Plan, SegmentPlan
from cocoi_cli.runtime.rungs import Rung, Step, raised, rung_of, stages_of, step, stricter

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


@pytest.mark.parametrize("name", ["a", "e", "c..d"])
@pytest.mark.parametrize("rung", [Rung.WIDE_ANSWERS, Rung.SINGLE])
def test_a_raised_stage_travels_otherwise_and_says_why(name, rung) -> None:
    plan = raised(PLAN, [step(name, rung, 0.0312)])
    assert rungs(plan) == {**rungs(PLAN), name: rung}
    stage = stages_of(plan)[name]
    assert stage.reason.startswith(stages_of(PLAN)[name].reason + "; float32")
    assert stage.reason.endswith("as float16 would err by 3e-02")
    before = stages_of(PLAN)[name]
    assert replace(stage, transport="f16", reply="", reason=before.reason) == before
    others = [layer for layer in plan.layers if layer.layer != name]
    assert others == [layer for layer in PLAN.layers if layer.layer != name]


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
    assert set(rungs(single).values()) == {Rung.SINGLE}
    assert single.layers[0] == mixed.layers[0]
    home = stricter(single, 0.5)
    assert home.is_local
    assert stricter(home, 0.5) == home
