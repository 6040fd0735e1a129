"""How histories are shared out, counted and judged."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.runtime.inference import Outcome
from cocoi_cli.runtime.report import StageReport


@pytest.fixture(scope="module")
def bench(script):
    script("survivors")
    return script("histories")


def truth(bench, logits, picture="cat"):
    values = np.array([logits], np.float32)
    return bench.Truth(picture, {"y": values}, "y", "y", bench.gap_of(values))


def outcome(logits, decoded=0, gain=1.0):
    row = StageReport("c", "conv", "coded", 6, 4, 1, "", 0.0, 4, 0, 0, 0, decoded, gain, 0, 0)
    return Outcome({"y": np.array([logits], np.float32)}, 0.0, (row,), (), (), None)


def tally(bench):
    return bench.Tally("net", "coded", 1, 0, [])


def test_the_gap_is_between_the_best_two_by_the_largest_magnitude(bench):
    assert bench.gap_of(np.array([[1.0, -8.0, 3.0]])) == pytest.approx(0.25)
    assert bench.gap_of(np.array([[[[2.0]], [[2.0]]]])) == 0.0
    assert bench.gap_of(np.zeros((1, 3))) == 0.0


def test_histories_are_shared_out_evenly_and_completely(bench):
    assert bench.shared_out(10, 4) == [3, 3, 2, 2]
    assert bench.shared_out(2, 3) == [1, 1, 0]
    assert bench.shared_out(5, 0) == []


def test_a_good_history_leaves_its_largest_figures(bench):
    found = tally(bench)
    found.add(outcome([10.0, 4.05], decoded=2, gain=3.0), truth(bench, [10.0, 4.0]), 0.5)
    found.add(outcome([10.0, 4.01], decoded=1, gain=9.0), truth(bench, [10.0, 4.0]), 0.25)
    assert (found.histories, found.decoded, found.gain, found.seconds) == (2, 3, 9.0, 0.75)
    assert found.error == found.logits_error == pytest.approx(0.005, rel=1e-4)
    assert (found.differing, found.wrong) == (0, [])
    assert bench.verdict([found]) == 0


def test_an_error_above_the_limit_is_wrong(bench, capsys):
    found = tally(bench)
    found.add(outcome([10.0, 4.2]), truth(bench, [10.0, 4.0]), 0.0)
    assert (found.differing, len(found.wrong)) == (0, 1)
    assert bench.verdict([found]) == 1
    assert "wrong: net, coded, cat: output 2.0e-02" in capsys.readouterr().out


def test_another_best_class_is_wrong_also_where_the_best_two_are_close(bench, capsys):
    found = tally(bench)
    close, clear = truth(bench, [10.0, 9.95], "cat"), truth(bench, [10.0, 4.0], "bird")
    assert (close.is_close, clear.is_close) == (True, False)
    found.add(outcome([9.96, 9.97]), close, 0.0)
    assert (found.differing, found.differing_close, len(found.wrong)) == (1, 1, 1)
    found.add(outcome([4.0, 10.0]), clear, 0.0)
    assert (found.differing, found.differing_close, len(found.wrong)) == (2, 1, 2)
    assert bench.verdict([found]) == 1
    assert "another best class in 2 (1 of them on pictures with close ones); 2 wrong" in capsys.readouterr().out


def test_figures_stand_under_their_names(bench):
    found = tally(bench)
    assert len(found.row()) < len(bench.COLUMNS)
    found.add(outcome([10.0, 4.05]), truth(bench, [10.0, 4.0]), 0.5)
    assert len(found.row()) == len(bench.COLUMNS)
    assert "everything stays on the host" in bench.Tally("net", "auto", 0, 0, []).row()


def test_models_run_from_end_to_end(bench, shared, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out.json"
    words = ["--histories", "3", "--models", "mnist_cntk,resnet8_cifar10_qdq_int8"]
    monkeypatch.setattr("sys.argv", ["histories.py", "--data", str(shared / "data"), *words, "--json", str(out)])
    assert bench.main() == 0
    assert '"histories": 3,' in out.read_text()
    assert "3 histories: largest error" in capsys.readouterr().out
