from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from cocoi_cli.errors import FleetError
from cocoi_cli.runtime.report import CheckReport, Verification

HUMAN = """\
red.png
  stop                                            94.79 %        4.0000
  yield                                            1.74 %        0.0000
  go                                               1.74 %        0.0000
  turn                                             1.74 %        0.0000
"""
NOTES = """\
labels: the model's metadata (`labels`)
preprocessing: the model's metadata (`preprocess`)
fleet: 2 agents up
plan: 2 of 3 conv layers on the agents, coded (6,4), f16
stage 2 of 4: conv1: 6 strips in 12 ms
stage 3 of 4: features.block.12.conv: 3 strips in 200 ms

stage                   where  cut  used/late/lost     ms  reason
conv1                   (6,4)    6          24/3/2   12.3  over 8 rows
features.block.12.conv  (6,4)    3          10/0/6  200.0  2 shares by the host
2 local stages          host                          1.5

agent         state   used  late  cancelled  failed    sent  received
agent-1       up        18     1          -       -  5.0 kB    123 kB
agent-2       killed     2     -          3       1  1.2 MB       0 B

1 conv layer on this machine: too small to cut (1)
latency 812 ms; this machine alone 95 ms (8.5 x faster alone)
the agents of an embedded fleet share this machine's cores: no speed to win here
largest relative difference from plain ONNX Runtime 3.1e-4
(tolerance 1e-2), top-1 equal
"""


def test_prints_labels_on_stdout_and_everything_else_on_stderr(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), "-m", signs, "--check")
    assert outcome.status == 0
    assert outcome.out == HUMAN
    assert outcome.err == NOTES
    assert fleet.closed


def test_every_table_line_fits_80_columns(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), "-m", signs)
    tables = outcome.err.split("\n\n")[1:3]
    assert len(tables) == 2
    assert max(len(line) for table in tables for line in table.splitlines()) <= 80


def test_passes_the_options_on(cocoi, fleet, signs, picture):
    options = ["--n", 5, "--k", 3, "--scheme", "replication", "--transport", "f32", "--deadline", 7, "--no-fallback"]
    options += ["--tolerance", "1e-3"]
    outcome = cocoi("infer", picture(), "-m", signs, "--embedded", 5, "--kill", 2, *options)
    assert outcome.status == 0
    assert fleet.asked == [("replication", 5)]
    chosen = fleet.calls[0]["options"]
    assert (chosen.n, chosen.k, chosen.scheme, chosen.transport) == (5, 3, "replication", "f32")
    assert chosen.tolerance == 1e-3
    assert (chosen.deadline_s, chosen.fallback, chosen.kill, chosen.check, chosen.trace) == (7, False, 2, False, False)


def test_asks_for_six_agents_and_lets_the_runtime_choose_the_code(cocoi, fleet, signs, picture):
    cocoi("infer", picture(), "-m", signs)
    assert fleet.asked == [("coded", 6)]
    assert (fleet.calls[0]["options"].n, fleet.calls[0]["options"].k) == (None, None)


def test_the_local_scheme_starts_no_agents(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), "-m", signs, "--scheme", "local")
    assert fleet.asked == [("local", 0)]
    assert "latency 812 ms on this machine alone; plain ONNX Runtime 95 ms" in outcome.err


def test_quiet_prints_one_line_per_input_and_nothing_else(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), picture("blue.png", (0, 0, 255)), "-m", signs, "--quiet")
    assert outcome.out == "red.png: stop  94.79 %\nblue.png: go  87.00 %\n"
    assert outcome.err == ""


def test_warnings_are_said_once_even_when_quiet(cocoi, fleet, signs, picture):
    fleet.warnings = ("agent `agent-2` was lost",)
    outcome = cocoi("infer", picture(), picture("blue.png"), "-m", signs, "--quiet")
    assert outcome.err == "warning: agent `agent-2` was lost\n"


def test_the_document_of_one_input_has_the_documented_fields(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), "-m", signs, "--json", "--check", "--top", 2)
    document = outcome.document
    assert list(document) == [
        "model", "input", "outputs", "latency_s", "baseline_s", "plan", "stages", "agents", "warnings", "labels",
        "preprocess", "files", "max_rel_error", "top1_equal", "check",
    ]  # fmt: skip
    assert document["outputs"]["logits"]["shape"] == [1, 4]
    top = document["outputs"]["logits"]["top"]
    assert [(entry["index"], entry["label"], entry["value"]) for entry in top] == [(0, "stop", 4.0), (1, "yield", 0.0)]
    assert document["latency_s"] == 0.812
    assert document["max_rel_error"] == 3.1e-4
    assert document["top1_equal"] is True
    assert {"name", "kind", "scheme", "n", "k", "reason", "wall_s", "arrived", "late", "lost"} <= set(
        document["stages"][1]
    )
    assert {"id", "used", "late", "cancelled", "bytes_in", "bytes_out"} <= set(document["agents"][0])
    assert document["plan"]["layers"][2]["reason"] == "0.02 MMAC: too small to cut"
    assert document["labels"] == {"source": "the model's metadata (`labels`)", "count": 4}


def test_agents_that_agree_are_told_and_documented(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), "-m", signs, "--verify")
    assert outcome.status == 0
    assert outcome.err.endswith("verification: the answers to 9 strips agree\n")
    assert fleet.calls[0]["options"].verify == 2
    document = cocoi("infer", picture(), "-m", signs, "--verify", "--json").document
    assert document["verification"] == {
        "passed": True, "codewords": 9, "unchecked": 0, "inconsistent": 0, "suspects": {}, "seconds": 0.004,
        "distrusted": [], "cuts": ["strip"],
    }  # fmt: skip
    assert "verification" not in cocoi("infer", picture(), "-m", signs, "--json").document


def test_an_agent_that_lied_costs_a_warning_for_the_answer_is_right(cocoi, fleet, signs, picture):
    fleet.verification = Verification(9, 0, 0, {}, 0.004, ("agent-2",))
    fleet.warnings = ("agent-2 is not used any more: its answers contradict those of the others in 3 strips",)
    outcome = cocoi("infer", picture(), "-m", signs, "--verify")
    assert outcome.status == 0
    assert outcome.out == HUMAN
    assert f"warning: {fleet.warnings[0]}\n" in outcome.err
    document = cocoi("infer", picture(), "-m", signs, "--verify", "--json").document
    assert document["verification"]["distrusted"] == ["agent-2"]


def test_the_document_of_several_inputs_lists_them(cocoi, fleet, signs, picture):
    outcome = cocoi("infer", picture(), picture("b.png"), "-m", signs, "--json")
    assert [each["input"] for each in outcome.document["results"]] == ["red.png", "b.png"]


def test_a_folder_stands_for_its_pictures_in_order_of_name(cocoi, fleet, signs, picture, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("b.png", "a.jpg", ".hidden.png"):
        picture(f"photos/{name}")
    (tmp_path / "photos" / "notes.txt").write_text("no picture")
    outcome = cocoi("infer", "photos", "-m", signs, "-q")
    assert [line.partition(":")[0] for line in outcome.out.splitlines()] == ["photos/a.jpg", "photos/b.png"]


def test_one_unfit_picture_does_not_cost_the_others(cocoi, fleet, signs, picture, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    outcome = cocoi("infer", picture("a.png"), "broken.png", picture("c.png"), "-m", signs, "-q")
    assert outcome.status == 2
    assert [line.partition(":")[0] for line in outcome.out.splitlines()] == ["a.png", "c.png"]
    assert "error: `broken.png` is not a picture" in outcome.err
    assert "hint: " in outcome.err

    document = cocoi("infer", "a.png", "broken.png", "c.png", "-m", signs, "--json").document
    assert [each.get("error") for each in document["results"]] == [None, "not-an-image", None]


def test_a_broken_fleet_keeps_the_finished_results_in_the_document(cocoi, fleet, signs, picture):
    fleet.fail_on = {"b.png": FleetError("all agents are gone")}
    outcome = cocoi("infer", picture("a.png"), picture("b.png"), "-m", signs, "--json")
    assert outcome.status == 4
    assert outcome.document["error"] == "fleet"
    assert [each["input"] for each in outcome.document["details"]["results"]] == ["a.png"]
    assert fleet.closed


def test_a_failed_check_hands_out_no_answer(cocoi, fleet, signs, picture, tmp_path):
    fleet.check = CheckReport(0.3, 1e-2, False, False, {"logits": 0.3})
    outcome = cocoi("infer", picture(), "-m", signs, "--check", "-o", "out.npz")
    assert outcome.status == 1
    assert outcome.out == ""
    assert not (tmp_path / "out.npz").exists()
    assert "error: result for `red.png` differs from plain ONNX Runtime by 3e-1 in output `logits`" in outcome.err
    assert "the tolerance is 1e-2" in outcome.err

    document = cocoi("infer", "red.png", "-m", signs, "--check", "--json").document
    assert document["error"] == "check-failed"
    assert document["details"]["result"]["max_rel_error"] == 0.3


def test_npz_holds_every_output_under_its_onnx_name(cocoi, fleet, signs, picture, tmp_path):
    assert cocoi("infer", picture(), "-m", signs, "-o", "out.npz").status == 0
    with np.load(tmp_path / "out.npz") as archive:
        assert archive.files == ["logits"]
        np.testing.assert_array_equal(archive["logits"], np.array([[4, 0, 0, 0]], np.float32))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.npz", "red.png", "signs.onnx"]


def test_png_holds_the_picture_that_the_model_made(cocoi, fleet, make, picture, tmp_path):
    outcome = cocoi("infer", picture(color=(10, 200, 30)), "-m", make("enlarger", "big.onnx"), "-o", "out.png")
    assert outcome.status == 0
    made = Image.open(tmp_path / "out.png")
    assert (made.mode, made.size, made.getpixel((3, 3))) == ("RGB", (16, 16), (10, 200, 30))


def test_json_file_holds_the_document_of_the_command(cocoi, fleet, signs, picture, tmp_path):
    outcome = cocoi("infer", picture(), "-m", signs, "-o", "out.json", "--json")
    assert json.loads((tmp_path / "out.json").read_text()) == outcome.document


def test_several_results_go_into_a_folder_named_after_their_inputs(cocoi, fleet, signs, make, picture, tmp_path):
    (tmp_path / "x").mkdir()
    outcome = cocoi("infer", picture("a.png"), picture("x/a.png"), picture("b.v2.png"), "-m", signs, "-o", "results")
    assert outcome.status == 0
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["a-2.npz", "a.npz", "b.v2.npz"]
    cocoi("infer", "a.png", "-m", make("enlarger", "big.onnx"), "-o", "pictures/")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["a.png"]


def test_arrays_are_taken_under_the_input_names(cocoi, fleet, make, tmp_path):
    model = make("adder", "add.onnx")
    np.savez(tmp_path / "in.npz", a=np.ones((1, 2), np.float32), b=np.ones((1, 2), np.float32))
    outcome = cocoi("infer", "in.npz", "-m", model, "-o", "out.npz", "-q")
    assert outcome.status == 0
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(archive["sum"], [[2, 2]])


def test_trace_is_chrome_trace_json_with_a_process_per_input(cocoi, fleet, signs, picture, tmp_path):
    assert cocoi("infer", picture("a.png"), picture("b.png"), "-m", signs, "--trace", "t.json").status == 0
    trace = json.loads((tmp_path / "t.json").read_text())
    names = [e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"]
    assert names == ["a.png", "b.png"]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_tables_survive_any_width(cocoi, fleet, signs, picture, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert "conv1" in cocoi("infer", picture(), "-m", signs).err


def test_the_shipped_model_is_the_default_and_has_a_name(cocoi, fleet, signs, picture, monkeypatch):
    monkeypatch.setattr("cocoi_cli.shipped.shipped_model", lambda: signs)
    for chosen in ([], ["-m", "signs"]):
        outcome = cocoi("infer", picture(), *chosen, "--json")
        assert outcome.document["model"] == "signs"
