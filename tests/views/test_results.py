from __future__ import annotations

import json

import numpy as np

from cocoi_cli.runtime.report import CheckReport, InferenceReport
from cocoi_cli.views.document import inference_document
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.results import quiet_text, result_text

MAP = np.array([[[0, 0, 0, 2], [0, 0, 2, 2], [0, 0, 7, 7]]], np.int64)


def test_probabilities_stand_alone_and_logits_beside_their_softmax():
    chances = np.array([[0.1, 0.7, 0.2]], np.float32)
    assert result_text("x", {"p": chances}, None, 2).splitlines() == [
        "x",
        "  class 1                                         70.00 %",
        "  class 2                                         20.00 %",
    ]
    logits = np.array([[0.0, 2.0]], np.float32)
    assert result_text("x", {"p": logits}, ("no", "yes"), 1).splitlines()[1].split() == ["yes", "88.08", "%", "2.0000"]


def test_quantised_numbers_stay_as_they_are():
    assert quiet_text("x", {"p": np.array([[3, 200, 7]], np.uint8)}, None) == "x: class 1  200"


def test_each_batch_row_has_its_classes():
    text = result_text("x", {"p": np.array([[1, 0], [0, 1]], np.float32)}, ("no", "yes"), 1)
    assert [line.strip().split("  ")[0] for line in text.splitlines()] == [
        "x",
        "batch row 0",
        "no",
        "batch row 1",
        "yes",
    ]


def test_a_map_shows_shares_of_the_picture():
    lines = result_text("x", {"m": MAP}, ("sky", "sea", "sand"), 2).splitlines()
    assert lines[0:2] == ["x", "  m  1x3x4 int64, share of the picture"]
    assert [line.split() for line in lines[2:4]] == [["sky", "58.33", "%"], ["sand", "25.00", "%"]]
    assert lines[4] == "  and 1 more"


def test_other_outputs_tell_shape_and_range():
    text = result_text("x", {"boxes": np.array([[[0.0, 2.0]]], np.float32), "n": np.float32(1)}, None, 5)
    assert text.splitlines()[1:] == ["  boxes  1x1x2 float32  0 to 2, mean 1", "  n  scalar float32  1 to 1, mean 1"]


def test_a_long_label_is_cut():
    text = result_text("x", {"p": np.eye(2, dtype=np.float32)[:1]}, ("l" * 70, "b"), 1)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" in text


def report(outputs, check=None):
    return InferenceReport("net", "x", outputs, float("nan"), float("inf"), (), (), (), check, None)


def test_the_document_has_no_nan():
    check = CheckReport(float("nan"), 0.01, None, False, {"p": float("inf")})
    outputs = {"p": np.array([[np.nan, 1.0]], np.float32)}
    document = json.loads(json_text(inference_document(report(outputs, check), None, None, None, 5, {})))
    assert document["latency_s"] is None
    assert document["check"]["per_output"] == {"p": None}
    assert document["outputs"]["p"]["top"][1] == {"index": 0, "label": None, "value": None, "probability": None}


def test_the_document_of_a_map_lists_areas():
    document = json.loads(json_text(inference_document(report({"m": MAP}), None, None, None, 1, {})))
    assert document["outputs"]["m"]["areas"] == [{"index": 0, "label": None, "share": 7 / 12}]


def test_names_keep_their_script():
    assert "Kätzchen" in json_text({"label": "Kätzchen"})
