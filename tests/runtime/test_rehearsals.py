"""What rehearsals found is kept over processes, and a bad file is as if there were none."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cocoi_cli.planning.plan import ConvPlan, Plan
from cocoi_cli.runtime import rehearsals
from cocoi_cli.runtime.rehearsals import MOST_ENTRIES, Rehearsals, Verdict, key_of, verdict_of

PLAN = Plan(
    "coded",
    6,
    4,
    "f16",
    (
        ConvPlan("a", "coded", 6, 4, 2, 3, "f16", "(6,4) over 56 rows, 3 strips"),
        ConvPlan("b", "local", 0, 0, 0, 0, "f16", "0.02 MMAC: too small to cut"),
        ConvPlan("c", "coded", 6, 4, 2, 1, "f16", "(6,4) over 9 rows, 1 strip"),
    ),
)
SINGLE = PLAN.in_float32("")
SHAPES = {"x": (1, 3, 8, 8), "y": (2,)}
SETTLED = [
    (PLAN, PLAN, "asked"),
    (PLAN, PLAN.in_float32("float32, as float16 would err by 3e-02"), "float32"),
    (PLAN, PLAN.in_float32("whatever").all_local("kept here: even float32 would err by 2e-04"), "host"),
    (SINGLE, SINGLE, "asked"),
    (SINGLE, SINGLE.all_local("kept here: even float32 would err by 2e-04"), "host"),
]


@pytest.mark.parametrize(("asked", "settled", "kind"), SETTLED)
def test_a_verdict_leads_from_the_asked_plan_to_the_settled_one(tmp_path, asked, settled, kind) -> None:
    verdict = verdict_of(asked, settled)
    assert verdict is not None
    assert verdict.kind == kind
    kept = Rehearsals(tmp_path / "new" / "rehearsals.json")
    assert kept.find("key") is None
    kept.keep("key", verdict)
    found = Rehearsals(tmp_path / "new" / "rehearsals.json").find("key")
    assert found is not None
    assert found.apply(asked) == settled


def test_what_no_verdict_leads_to_is_not_kept() -> None:
    assert verdict_of(PLAN, replace(PLAN, n=5)) is None
    assert verdict_of(PLAN, replace(PLAN, layers=PLAN.layers[:1])) is None


def test_the_key_tells_apart_what_changes_rounding(monkeypatch) -> None:
    keys = [
        key_of("m", SHAPES, PLAN),
        key_of("n", SHAPES, PLAN),
        key_of("m", {"x": (1, 3, 8, 9), "y": (2,)}, PLAN),
        key_of("m", SHAPES, SINGLE),
        key_of("m", SHAPES, replace(PLAN, layers=(replace(PLAN.layers[0], strips=2), *PLAN.layers[1:]))),
    ]
    for place, name in ((rehearsals.cocoi_agent, "__version__"), (rehearsals, "RUNTIME_VERSION")):
        monkeypatch.setattr(place, name, "99.9")
        keys.append(key_of("m", SHAPES, PLAN))
    assert len(set(keys)) == len(keys)
    monkeypatch.undo()
    assert key_of("m", dict(reversed(SHAPES.items())), PLAN) == keys[0]


GOOD = {"kind": "asked", "note": ""}
UNFIT = [
    "",
    "no JSON",
    "[1, 2]",
    "[" * 100_000,
    '{"schema": 1}',
    '{"schema": 2, "entries": {"key": {"kind": "asked", "note": ""}}}',
    '{"schema": 1, "entries": [1]}',
    *(
        json.dumps({"schema": 1, "entries": {"key": entry}})
        for entry in (None, 5, {}, {**GOOD, "kind": "mars"}, {**GOOD, "note": 1}, {**GOOD, "note": "x" * 999})
    ),
]


@pytest.mark.parametrize("text", UNFIT, ids=range(len(UNFIT)))
def test_a_file_that_is_not_ours_is_ignored_and_replaced(tmp_path, text) -> None:
    path = tmp_path / "rehearsals.json"
    path.write_text(text)
    kept = Rehearsals(path)
    assert kept.find("key") is None
    kept.keep("key", Verdict("asked", ""))
    assert kept.find("key") == Verdict("asked", "")


def test_the_file_stays_small_and_keeps_the_latest(tmp_path) -> None:
    kept = Rehearsals(tmp_path / "rehearsals.json")
    entries = {str(number): GOOD for number in range(MOST_ENTRIES)}
    (tmp_path / "rehearsals.json").write_text(json.dumps({"schema": 1, "entries": entries}))
    kept.keep("1", Verdict("asked", ""))
    kept.keep("new", Verdict("asked", ""))
    assert [kept.find(key) is None for key in ("0", "1", "2", "new")] == [True, False, False, False]
    assert [path.name for path in tmp_path.iterdir()] == ["rehearsals.json"]


def test_a_place_that_takes_no_file_is_done_without(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    kept = Rehearsals(tmp_path / "file" / "rehearsals.json")
    kept.keep("key", Verdict("asked", ""))
    assert kept.find("key") is None
