"""What rehearsals found is kept over processes, and a bad file is as if there were none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import ConvPlan, Plan, Prediction, SegmentPlan
from cocoi_cli.runtime import rehearsals
from cocoi_cli.runtime.check import Tolerance
from cocoi_cli.runtime.rehearsals import MOST_BYTES, MOST_ENTRIES, Rehearsals, Verdict, key_of, verdict_of
from cocoi_cli.runtime.rungs import Rung, Step, raised, step, stricter

PLAN = Plan(
    "coded",
    6,
    4,
    "f16",
    (
        ConvPlan("a", "coded", 6, 4, 2, 3, "f16", "(6,4) over 56 rows, 3 strips"),
        ConvPlan("b", "local", 0, 0, 0, 0, "f16", "0.02 MMAC: too small to cut"),
        ConvPlan("c", "coded", 6, 4, 2, 1, "f16", "(6,4) over 9 rows, 1 strip"),
        ConvPlan("d", "fused", 0, 0, 0, 0, "f16", "in tiles", segment="d..e"),
        ConvPlan("e", "fused", 0, 0, 0, 0, "f16", "in tiles", segment="d..e"),
    ),
    segments=(SegmentPlan("d..e", ("d", "e"), "x", "y", 12, 6, "f16", "in tiles"),),
)
SINGLE = stricter(PLAN, 0.03)
AUTO = replace(PLAN, scheme="auto")
MIXED = raised(PLAN, [step("a", Rung.WIDE_ANSWERS, 0.03), step("d..e", Rung.SINGLE, 0.02)])
HALF = Tolerance("f16")
SHAPES = {"x": (1, 3, 8, 8), "y": (2,)}
SETTLED = [
    (PLAN, PLAN, ""),
    (PLAN, MIXED, "a WIDE_ANSWERS, d..e UNCODED"),
    (PLAN, SINGLE, "a SINGLE, c SINGLE, d..e UNCODED"),
    (PLAN, raised(PLAN, [step("c", Rung.HOST, 2e-4)]), "c HOST"),
    (PLAN, raised(MIXED, [step("a", Rung.SINGLE, 0.02), step("d..e", Rung.HOST, 0.1)]), "a SINGLE, d..e HOST"),
    (PLAN, stricter(SINGLE, 2e-4), "a HOST, c HOST, d..e HOST"),
    (SINGLE, SINGLE, ""),
    (SINGLE, stricter(SINGLE, 2e-4), "a HOST, c HOST, d..e HOST"),
    (AUTO, stricter(stricter(AUTO, 0.03), 2e-4), "a UNCODED, c UNCODED, d..e UNCODED"),
    (stricter(AUTO, 0.03), stricter(stricter(AUTO, 0.03), 2e-4), "a UNCODED, c UNCODED"),
]


@pytest.mark.parametrize(("asked", "settled", "steps"), SETTLED)
def test_a_verdict_leads_from_the_asked_plan_to_the_settled_one(tmp_path, asked, settled, steps) -> None:
    verdict = verdict_of(asked, settled)
    assert verdict is not None
    assert ", ".join(f"{each.stage} {each.rung.name}" for each in verdict.steps) == steps
    kept = Rehearsals(tmp_path / "new" / "rehearsals.json")
    assert kept.find("key") is None
    kept.keep("key", verdict)
    found = Rehearsals(tmp_path / "new" / "rehearsals.json").find("key")
    assert found is not None
    assert found.apply(asked) == settled


def test_what_no_verdict_leads_to_is_not_kept() -> None:
    assert verdict_of(PLAN, replace(PLAN, n=5)) is None
    assert verdict_of(PLAN, replace(PLAN, layers=PLAN.layers[:1])) is None
    assert verdict_of(PLAN, PLAN.in_float32("all of it")) is None


def test_the_key_tells_apart_what_changes_rounding(monkeypatch) -> None:
    keys = [
        key_of("m", SHAPES, PLAN, HALF),
        key_of("n", SHAPES, PLAN, HALF),
        key_of("m", {"x": (1, 3, 8, 9), "y": (2,)}, PLAN, HALF),
        key_of("m", SHAPES, SINGLE, HALF),
        key_of("m", SHAPES, replace(PLAN, layers=(replace(PLAN.layers[0], strips=2), *PLAN.layers[1:])), HALF),
        key_of("m", SHAPES, replace(PLAN, segments=(replace(PLAN.segments[0], tiles=9),)), HALF),
        key_of("m", SHAPES, MIXED, HALF),
        key_of("m", SHAPES, PLAN, Tolerance("f32")),
        key_of("m", SHAPES, PLAN, Tolerance("f16", 1e-3)),
    ]
    for place, name in ((rehearsals.cocoi_agent, "__version__"), (rehearsals, "RUNTIME_VERSION")):
        monkeypatch.setattr(place, name, "99.9")
        keys.append(key_of("m", SHAPES, PLAN, HALF))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert key_of("m", dict(reversed(SHAPES.items())), PLAN, HALF) == keys[0]


def test_what_a_plan_foretells_and_says_makes_no_difference_to_the_key() -> None:
    layers = tuple(replace(each, seconds=2.0, runner_up="local, 3 s", reason="else") for each in PLAN.layers)
    segments = tuple(replace(each, seconds=2.0, runner_up="coded, 3 s", reason="else") for each in PLAN.segments)
    told = replace(
        PLAN, layers=layers, segments=segments, agents=("u", "v"), prediction=Prediction("mean", 1, 2, "u", 3, 4)
    )
    assert key_of("m", SHAPES, told, HALF) == key_of("m", SHAPES, PLAN, HALF)


GOOD = [["float32", "why", "a"]]
FOUND = Verdict((Step("a", Rung.SINGLE, "why"),))
UNFIT = [
    "",
    "no JSON",
    "[1, 2]",
    "[" * 100_000,
    '{"schema": 3}',
    '{"schema": 2, "entries": {"key": {"kind": "asked", "note": ""}}}',
    '{"schema": 4, "entries": {"key": []}}',
    '{"schema": 3, "entries": [1]}',
    *(
        json.dumps({"schema": 3, "entries": {"key": entry}})
        for entry in (
            None,
            5,
            {},
            {"kind": "asked", "note": ""},
            [5],
            [[]],
            [["float32"]],
            [["mars", "why", "a"]],
            [["float32", 1, "a"]],
            [["float32", "x" * 999, "a"]],
            [["float32", "why", "a", 2]],
            [*GOOD, None],
        )
    ),
]


@pytest.mark.parametrize("text", UNFIT, ids=range(len(UNFIT)))
def test_a_file_that_is_not_ours_is_ignored_and_replaced(tmp_path, text) -> None:
    path = tmp_path / "rehearsals.json"
    path.write_text(text)
    kept = Rehearsals(path)
    assert kept.find("key") is None
    kept.keep("key", FOUND)
    assert kept.find("key") == FOUND


def test_the_file_stays_small_and_keeps_the_latest(tmp_path) -> None:
    kept = Rehearsals(tmp_path / "rehearsals.json")
    entries = {str(number): GOOD for number in range(MOST_ENTRIES)}
    (tmp_path / "rehearsals.json").write_text(json.dumps({"schema": 3, "entries": entries}))
    kept.keep("1", FOUND)
    kept.keep("new", FOUND)
    assert [kept.find(key) is None for key in ("0", "1", "2", "new")] == [True, False, False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["rehearsals.json"]


def test_large_verdicts_push_out_old_ones_before_the_file_grows_too_large(tmp_path) -> None:
    kept = Rehearsals(tmp_path / "rehearsals.json")
    large = Verdict(tuple(Step(f"{index:0200}", Rung.SINGLE, "why") for index in range(1000)))
    for number in range(8):
        kept.keep(str(number), large)
        assert (tmp_path / "rehearsals.json").stat().st_size <= MOST_BYTES
        assert kept.find(str(number)) == large
    assert kept.find("0") is None


def test_a_place_that_takes_no_file_is_done_without(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    kept = Rehearsals(tmp_path / "file" / "rehearsals.json")
    kept.keep("key", FOUND)
    assert kept.find("key") is None
