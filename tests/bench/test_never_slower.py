"""What a benchmark's figures say about the planner against one machine alone."""

from __future__ import annotations

import json

import pytest

from cocoi_cli.benchmark.records import ModelFacts, Run
from cocoi_cli.views.bench_document import bench_document
from tests.benchmark.made_run import sample, settings


@pytest.fixture(scope="module")
def bench(script):
    return script("never_slower")


def run(times, models=("net",)):
    """A benchmark of rows with these latencies, the same for every model."""
    facts = tuple(ModelFacts(name, "ab" * 32, "stop.png", {"image": (1, 3, 8, 8)}) for name in models)
    chosen = settings(models=facts, rows=tuple(times), scenarios=("none",))
    made = Run(chosen, "2026-01-02T03:04:05+00:00", "cocoi bench", {}, [], {}, complete=True)
    for name in models:
        for row, latencies in times.items():
            cell = made.cell(name, "none", row)
            cell.plan = f"plan of {row}"
            cell.samples += [sample(place, latency) for place, latency in enumerate(latencies)]
    return made


def only(bench, times):
    (verdict,) = bench.verdicts(run(times))
    return verdict


STEADY = [0.10, 0.11, 0.09, 0.10, 0.12, 0.10]


def scaled(factor):
    return [factor * each for each in STEADY]


def test_the_quicker_of_the_two_single_machines_counts(bench):
    found = only(bench, {"auto": scaled(0.9), "local": STEADY, "device": scaled(0.8)})
    assert (found.single, found.ratio, found.verdict) == ("device", pytest.approx(0.9 / 0.8), bench.SLOWER)
    found = only(bench, {"auto": scaled(0.9), "local": STEADY, "device": scaled(3)})
    assert (found.single, found.verdict, found.good) == ("local", bench.NOT_SLOWER, True)
    assert found.low <= found.ratio <= found.high < 1


def test_what_may_be_chance_is_not_slower(bench):
    auto = [0.09, 0.12, 0.10, 0.09, 0.13, 0.11]
    found = only(bench, {"auto": auto, "local": STEADY})
    assert found.ratio > 1 > found.low
    assert found.verdict == bench.NOT_SLOWER


def test_too_few_repetitions_and_absent_rows_show_nothing(bench):
    assert only(bench, {"auto": STEADY[:4], "local": STEADY[:4]}).verdict == bench.UNKNOWN
    assert only(bench, {"auto": STEADY}).verdict == bench.UNKNOWN
    assert only(bench, {"local": STEADY}).verdict == bench.UNKNOWN


def test_no_answer_is_no_good_one(bench):
    found = only(bench, {"auto": [*scaled(0.5), None], "local": [*STEADY, 0.1]})
    assert (found.verdict, found.unanswered, found.good) == (bench.NOT_SLOWER, 1, False)


@pytest.mark.parametrize(("factor", "status"), [(0.5, 0), (2.0, 1)])
def test_the_exit_status_says_whether_the_promise_is_kept(bench, tmp_path, capsys, monkeypatch, factor, status):
    results, out = tmp_path / "out.json", tmp_path / "verdicts.json"
    made = run({"auto": scaled(factor), "local": STEADY, "device": scaled(2)}, models=("net", "other"))
    results.write_text(json.dumps(bench_document(made)))
    monkeypatch.setattr("sys.argv", ["never_slower.py", str(results), "--json", str(out)])
    assert bench.main() == status
    assert [each["model"] for each in json.loads(out.read_text())] == ["net", "other"]
    told = capsys.readouterr().out
    assert f"{0 if status else 2} not slower, {2 if status else 0} slower, 0 not measured of 2" in told


def test_another_document_is_refused(bench, tmp_path, capsys, monkeypatch):
    results = tmp_path / "out.json"
    results.write_text('{"program": "another"}')
    monkeypatch.setattr("sys.argv", ["never_slower.py", str(results)])
    with pytest.raises(SystemExit):
        bench.main()
    assert "is not what `cocoi bench -o` writes" in capsys.readouterr().err
