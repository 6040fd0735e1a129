from __future__ import annotations

import io
import json

import pytest

from cocoi_cli.fleet import workloads
from cocoi_cli.fleet.ondevice import compute, encryption
from cocoi_cli.fleet.ondevice.common import Failure
from cocoi_cli.fleet.profiler import compute_record

TINY = ((3, 2, 3, 8, 2), (1, 4, 2, 5, 1))


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """No second of warming up; files, if any, in the test's own folder."""
    monkeypatch.setattr(compute, "WARM_UP_S", 0.0)
    monkeypatch.setattr(compute, "PASS_FLOATS", 1000)
    monkeypatch.setattr(encryption, "BLOCK", 1000)
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def run(budget_s=5.0, rounds=2, cells=TINY, **changes):
    body, payload = workloads.request(budget_s, rounds, cells)
    return compute.main({**json.loads(json.dumps(body)), **changes}, io.BytesIO(payload))


def test_measures_every_cell_pass_and_cipher_in_every_round(tmp_path, capsys):
    found = compute_record(run())
    cells = {(c.kernel, c.in_channels, c.out_channels, c.width, c.rows): c for c in found.convolutions}
    assert set(cells) == set(TINY)
    assert found.skipped == 0
    for cell, each in cells.items():
        assert each.samples.size == workloads.flops(cell)
        assert len(each.samples.seconds) == 2 * compute.MOST_RUNS
        assert min(each.samples.seconds) > 0
    assert set(found.passes) == {"to-float16", "to-float32", "copy"}
    assert {each.size for each in found.passes.values()} == {4000}
    assert set(found.tls) == {f"{name}-{way}" for name in ("chacha20", "aes-256-gcm") for way in ("seal", "open")}
    assert all(len(each.seconds) == 2 * encryption.MOST_BLOCKS for each in found.tls.values())
    assert list(tmp_path.iterdir()) == []
    said = [json.loads(line)["progress"] for line in capsys.readouterr().out.splitlines()]
    assert said == ["compute, round 1 of 2", "compute, round 2 of 2"]


def test_takes_a_condition_in_every_round():
    assert len(run(rounds=3)["conditions"]) == 3


def test_cells_that_would_take_far_too_long_are_left_out(monkeypatch):
    # A device that seems to do one operation a second.
    monkeypatch.setattr(compute.Kernels, "warm_up", lambda self, seconds: 1.0)
    found = compute_record(run(budget_s=1.0, rounds=1))
    assert (found.convolutions, found.skipped, found.flops_per_s) == ((), 2, 0.0)
    assert found.tls["chacha20-seal"].seconds


def test_a_budget_that_is_spent_still_ends_with_something():
    found = compute_record(run(budget_s=0.0, rounds=2))
    assert all(len(each.seconds) == 2 for each in found.passes.values())


def test_a_runtime_that_does_not_work_is_a_failure():
    with pytest.raises(Failure, match="ONNX Runtime does not work here") as caught:
        run(models=[["conv-3", 10]])
    assert caught.value.code == "no-runtime"


def test_the_grid_is_made_of_distinct_strips_of_known_layers():
    assert len(set(workloads.GRID)) == len(workloads.GRID) == 25
    assert workloads.flops((3, 64, 64, 224, 28)) == 2 * 28 * 224 * 64 * 64 * 9
    assert {cell[0] for cell in workloads.GRID} == {1, 3}


def test_each_request_has_a_key_of_its_own():
    first, second = (workloads.request(1.0, 1)[0] for _ in range(2))
    assert first["key"] != second["key"]
    assert "PRIVATE KEY" in first["key"]
