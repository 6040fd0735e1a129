"""`cocoi bench` over fleets that take no time."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.benchmark.errors import (
    AgentsStayAwayError,
    BadResultsError,
    FaultsFailedError,
    NoFaultsError,
    NothingToMeasureError,
    ScenarioTooLargeError,
    UnknownRowError,
    UnknownScenarioError,
)
from cocoi_cli.codes.errors import BadCodeError
from cocoi_cli.commands.bench import Request
from cocoi_cli.commands.bench_results import command_line
from cocoi_cli.commands.bench_work import run
from cocoi_cli.files import OutputNotWritableError
from cocoi_cli.model.inputs import NoSuchFileError
from cocoi_cli.planning.errors import BadSizeError, TooFewAgentsError
from cocoi_cli.runtime.failures import CannotDecodeError
from cocoi_cli.runtime.options import BadOptionError

ROWS = "uncoded,coded,local"


@pytest.fixture
def bench(shelf, model, tmp_path):
    """Runs a benchmark; returns its document."""
    out = tmp_path / "out.json"

    def bench(**changes):
        fields = {"models": (model,), "embedded": 3, "schemes": ROWS, "inferences": 6, "warm_up": 1, "quiet": True}
        assert run(Request(**fields | {"output": str(out)} | changes)) == 0
        return json.loads(out.read_text())

    bench.out = out
    return bench


def cells(document):
    return {(cell["scenario"], cell["row"]): cell for cell in document["cells"]}


def test_every_cell_gets_its_inferences_after_the_warm_up(bench, shelf):
    document = bench()
    assert document["complete"]
    assert {key: len(cell["samples"]) for key, cell in cells(document).items()} == {
        ("none", "uncoded"): 6, ("none", "coded"): 6, ("none", "local"): 6,
    }  # fmt: skip
    assert Counter(shelf.rows) == {"uncoded": 7, "coded": 7, "local": 7}
    assert shelf.rows[:3] == ["uncoded", "coded", "local"]
    assert (shelf.opened, shelf.closed) == (1, 1)


def test_rows_run_in_turns(bench, shelf):
    bench(inferences=8)
    measured = shelf.rows[3:]
    for at in range(0, len(measured), 3):
        assert sorted(measured[at : at + 3]) == ["coded", "local", "uncoded"]
    assert len({tuple(measured[at : at + 3]) for at in range(0, len(measured), 3)}) > 2


def test_each_row_is_asked_for_as_it_is_defined(bench, shelf):
    bench(schemes="uncoded,uncoded-forgetful,coded,cocoi,local", n=3, k=2, transport="f16", deadline=7.0, inferences=1)
    found = {("forgetful" if each.forget else each.scheme): each for each in shelf.asked}
    assert (found["uncoded"].transport, found["uncoded"].strips, found["uncoded"].k) == ("f32", 1, None)
    assert (found["forgetful"].transport, found["forgetful"].strips, found["forgetful"].scheme) == ("f32", 1, "uncoded")
    assert (found["coded"].transport, found["coded"].strips, found["coded"].n, found["coded"].k) == ("f16", None, 3, 2)
    assert (found["cocoi"].transport, found["cocoi"].strips, found["cocoi"].k) == ("f32", 1, 2)
    assert all(each.deadline_s == 7.0 and not each.compare and not each.check for each in shelf.asked)


def test_a_sample_has_what_the_report_says(bench):
    sample = cells(bench())["none", "coded"]["samples"][0]
    assert (sample["bytes_out"], sample["bytes_in"]) == (300, 150)
    assert (sample["used"], sample["late"], sample["cancelled"], sample["living"]) == (6, 3, 3, 3)
    assert (sample["max_rel_error"], sample["top1_equal"], sample["error"]) == (0.0, True, "")
    assert set(sample["stages_s"]) == {"conv1", "conv2"}


def test_cells_name_their_plan_and_transport(bench):
    found = cells(bench(schemes="uncoded,coded,local,device"))
    assert (found["none", "uncoded"]["plan"], found["none", "uncoded"]["transport"]) == (
        "1 of 1 layer uncoded (3,2)", "f32",
    )  # fmt: skip
    assert (found["none", "local"]["plan"], found["none", "local"]["transport"]) == ("unmodified model", "")
    assert (found["none", "device"]["plan"], found["none", "device"]["transport"]) == ("unmodified model", "")


def test_an_answer_is_compared_with_plain_onnx_runtime(bench, shelf):
    shelf.changes = {"outputs": {"logits": np.full((1, 5), 7.0, np.float32)}}
    document = bench()
    assert cells(document)["none", "coded"]["samples"][0]["max_rel_error"] > 1
    assert document["summaries"][0]["max_rel_error"] > 1


def test_the_best_device_is_found_first_and_then_used(bench, shelf):
    bench(schemes="device,uncoded", inferences=4)
    devices = [word for word in shelf.rows if word.startswith("device")]
    assert sorted(devices[:3]) == ["device agent-1", "device agent-2", "device agent-3"]
    assert len(set(devices[3:])) == 1


def test_whole_pictures_take_the_devices_in_turn(bench, shelf):
    document = bench(schemes="round-robin", inferences=6)
    devices = [word for word in shelf.rows if word.startswith("device")][1:]
    assert devices == [f"device agent-{1 + number % 3}" for number in range(6)]
    assert document["summaries"][0]["ratio"] is None
    assert cells(document)["none", "round-robin"]["samples"][1]["note"] == "agent-2"


def test_an_inference_without_an_answer_is_a_finding(bench, shelf):
    def fails(options):
        if options.scheme == "coded" and len(shelf.asked) % 2:
            raise CannotDecodeError(1, 2)

    shelf.fails = fails
    samples = cells(bench())["none", "coded"]["samples"]
    assert {sample["error"] for sample in samples} == {"", "cannot-decode"}
    assert all((sample["latency_s"] is None) == bool(sample["error"]) for sample in samples)


def test_when_agents_are_gone_fewer_are_asked(bench, shelf):
    def fails(options):
        if options.n == 3:
            raise TooFewAgentsError(asked=3, live=2, symbol="n")

    shelf.fails = fails
    samples = cells(bench(n=3, k=3, schemes="coded"))["none", "coded"]["samples"]
    assert all(sample["latency_s"] is not None for sample in samples)
    assert (shelf.asked[-1].n, shelf.asked[-1].k) == (2, 2)


def test_a_scheme_that_refuses_is_left_out_and_said(bench, shelf, capsys):
    def fails(options):
        if options.scheme == "cocoi":
            raise BadCodeError("cocoi", 3, 2, "no")

    shelf.fails = fails
    document = bench(schemes="uncoded,cocoi")
    assert cells(document)["none", "cocoi"]["absent"] == "no `cocoi` code has n = 3 and k = 2: no"
    assert document["complete"]
    out = capsys.readouterr().out
    assert "\ncocoi is not measured: no `cocoi` code has n = 3 and k = 2: no\n" in out


def test_when_all_refuse_the_first_refusal_is_the_error(bench, shelf):
    def fails(options):
        raise BadCodeError("coded", 3, 2, "no")

    shelf.fails = fails
    with pytest.raises(BadCodeError):
        bench(schemes="coded")
    assert (shelf.opened, shelf.closed) == (1, 1)


@pytest.fixture
def no_dask(monkeypatch):
    monkeypatch.setattr("cocoi_cli.commands.bench_request.is_installed", lambda: False)


@pytest.mark.parametrize(
    ("row", "schemes", "reason"),
    [
        ("dask", "uncoded,dask", "dask.distributed is not installed"),
        ("auto", None, "the planner needs a fleet that was measured, not embedded agents"),
    ],
)
def test_a_row_that_cannot_run_says_why_at_once_and_under_the_table(
    bench, shelf, no_dask, capsys, row, schemes, reason
):
    document = bench(schemes=schemes, inferences=1)
    assert (cells(document)["none", row]["absent"], cells(document)["none", row]["samples"]) == (reason, [])
    assert row not in shelf.rows
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0] == f"warning: {row} is left out: {reason}"
    assert f"{row} is not measured: {reason}" in " ".join(captured.out.split())


def test_a_benchmark_that_is_done_but_for_absent_rows_runs_nothing_more(bench, shelf, no_dask):
    bench(schemes="uncoded,dask")
    shelf.asked.clear()
    assert bench(schemes="uncoded,dask", resume=True)["complete"]
    assert shelf.asked == []


def test_workers_of_this_machine_meet_no_faults(bench, shelf, monkeypatch):
    monkeypatch.setattr("cocoi_cli.commands.bench_request.is_installed", lambda: True)
    document = bench(schemes="dask", scenarios="dead-1")
    assert cells(document)["dead-1", "dask"]["absent"] == "faults do not reach its workers on this machine"
    assert shelf.opened == 0


def test_ctrl_c_keeps_what_was_measured(bench, shelf):
    def fails(options):
        if len(shelf.asked) == 3 + 3 * 2 + 2:
            raise KeyboardInterrupt

    shelf.fails = fails
    with pytest.raises(KeyboardInterrupt):
        bench()
    document = json.loads(bench.out.read_text())
    assert not document["complete"]
    assert sum(len(cell["samples"]) for cell in document["cells"]) == 3 * 2 + 1
    assert (shelf.opened, shelf.closed) == (1, 1)


def test_a_resumed_benchmark_goes_on_where_it_was(bench, shelf):
    whole = bench(seed=4)
    shelf.asked.clear()

    def fails(options):
        if len(shelf.asked) == 3 + 3 * 2 + 2:
            raise KeyboardInterrupt

    shelf.fails = fails
    with pytest.raises(KeyboardInterrupt):
        bench(seed=4)
    before = json.loads(bench.out.read_text())
    shelf.asked.clear()
    shelf.fails = None
    document = bench(seed=4, resume=True)
    assert document["complete"]
    assert document["made"] == before["made"]
    assert len(shelf.asked) == 3 + 3 * 4 - 1
    for key, cell in cells(before).items():
        assert cells(document)[key]["samples"][: len(cell["samples"])] == cell["samples"]
    for key, cell in cells(whole).items():
        repetitions = [sample["repetition"] for sample in cells(document)[key]["samples"]]
        assert repetitions == [sample["repetition"] for sample in cell["samples"]]


def test_a_resumed_benchmark_may_be_longer_and_one_that_is_done_runs_nothing(bench, shelf):
    bench()
    shelf.asked.clear()
    assert bench(resume=True)["complete"]
    assert shelf.asked == []
    assert len(cells(bench(resume=True, inferences=9))["none", "coded"]["samples"]) == 9


def test_resume_without_a_file_begins(bench):
    assert bench(resume=True)["complete"]


def test_only_the_same_benchmark_is_resumed(bench):
    bench()
    with pytest.raises(BadResultsError, match="its `seed` is 1, and 2 was asked for"):
        bench(resume=True, seed=2)
    with pytest.raises(BadResultsError, match=r"its `rows` is \('uncoded', 'coded', 'local'\), and \('local',\) was"):
        bench(resume=True, schemes="local")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "not JSON of a benchmark"), ("[]", "found a list, expected an object"), ('{"program": "x"}', "`program`")],
)
def test_a_file_of_something_else_is_not_resumed(bench, text, complaint):
    bench.out.write_text(text)
    with pytest.raises(BadResultsError) as caught:
        bench(resume=True)
    assert complaint in caught.value.message
    assert bench.out.read_text() == text


def test_the_tables_go_to_standard_output(bench, capsys):
    bench(quiet=False, markdown=str(bench.out.parent / "out.md"))
    captured = capsys.readouterr()
    tables = captured.out.split("\n\n")
    assert tables[0].startswith("small_16_4")
    assert "none" in tables[0].splitlines()[0]
    assert tables[1].startswith("none ")
    assert max(map(len, captured.out.splitlines())) <= 80
    assert "written: " in captured.err
    assert "| coded |" in (bench.out.parent / "out.md").read_text()


def test_json_is_one_document(bench, capsys):
    bench(json=True)
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(bench.out.read_text())


def test_nothing_moves_in_a_pipe(bench, capsys):
    bench()
    assert capsys.readouterr().err == ""


def test_figures_are_drawn(bench, tmp_path):
    pytest.importorskip("matplotlib")
    folder = tmp_path / "figures"
    bench(plots=str(folder), schemes="uncoded", inferences=5)
    assert sorted(path.name for path in folder.iterdir()) == [
        "latency-small-16-4-none.png",
        "ratio-small-16-4.png",
        "stages-small-16-4-none.png",
        "timeline-small-16-4-none-uncoded.png",
    ]


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"schemes": "coded,spline"}, UnknownRowError, "no scheme `spline`"),
        ({"schemes": " , "}, BadOptionError, "it names nothing"),
        ({"scenarios": "noise"}, UnknownScenarioError, "no scenario `noise`"),
        ({"scenarios": "delay"}, NoFaultsError, "agents on this machine can only be frozen or killed"),
        ({"scenarios": "dead-2", "embedded": 2}, ScenarioTooLargeError, "hits 2 devices, and the fleet has 2"),
        ({"n": 4}, TooFewAgentsError, "`n` = 4 was asked for, and 3 agents are live"),
        ({"n": 2, "k": 3}, BadSizeError, "`k` must not be above `n`"),
        ({"n": 0}, BadSizeError, "`n` must be at least 1"),
        ({"k": 0}, BadSizeError, "`k` must be at least 1"),
        ({"schemes": "coded,auto"}, BadOptionError, "the planner needs a fleet that was measured"),
        ({"embedded": 0}, BadOptionError, "at least 1 agent"),
        ({"fleet": "f.toml"}, BadOptionError, "names other agents"),
        ({"faults": "f"}, BadOptionError, "frozen and killed without a script"),
        ({"embedded": None, "faults": "f"}, BadOptionError, "there is no fleet file"),
        ({"deadline": float("nan")}, BadOptionError, "seconds must be above 0"),
        ({"resume": True, "output": None}, BadOptionError, "names the results to go on with"),
        ({"image": "none.png"}, NoSuchFileError, "none.png"),
        ({"models": ("none.onnx",)}, NoSuchFileError, "none.onnx"),
        ({"markdown": "absent/out.md"}, OutputNotWritableError, "absent"),
        ({"scenario_file": "none.toml"}, NoSuchFileError, "none.toml"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(bench, shelf, changes, kind, text):
    with pytest.raises(kind) as caught:
        bench(**changes)
    assert text in caught.value.message
    assert shelf.opened == 0


def test_nothing_to_measure_is_an_error(bench, shelf, no_dask):
    with pytest.raises(NothingToMeasureError, match=r"can be measured: `dask`: dask\.distributed is not installed"):
        bench(schemes="dask")
    assert shelf.opened == 0


def test_two_models_of_one_name_are_refused(bench, model):
    with pytest.raises(BadOptionError, match="two models have this name"):
        bench(models=(model, model))


def test_the_command_line_names_what_decides_the_figures():
    assert command_line(Request()) == "cocoi bench"
    request = Request(models=("a net.onnx",), embedded=4, schemes="coded,uncoded", seed=3, k=2, deadline=1.5)
    request = replace(request, output="o.json", quiet=True, resume=True)
    assert command_line(request) == (
        "cocoi bench 'a net.onnx' --embedded 4 --schemes coded,uncoded --k 2 --seed 3 --deadline 1.5"
    )


def test_errors_have_the_status_of_their_family():
    assert (FaultsFailedError.exit_status, AgentsStayAwayError.exit_status) == (4, 4)
    assert (BadResultsError.exit_status, UnknownRowError.exit_status) == (3, 2)
