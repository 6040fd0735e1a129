from __future__ import annotations

import pytest

from cocoi_cli.benchmark.summary import seconds_per_picture, summarise
from tests.benchmark import made_run as made


def found(run=None):
    return {(each.scenario, each.row): each for each in summarise(run or made.made_run())}


def test_a_cell_has_its_medians_and_its_ratio_to_the_baseline():
    auto = found()["none", "auto"]
    assert auto.p50_s == pytest.approx(0.0625)
    assert auto.ratio.value == pytest.approx(0.5)
    assert (auto.ratio.pairs, auto.inferences, auto.answered) == (6, 6, 6)
    assert (auto.bytes_out, auto.bytes_in, auto.late, auto.cancelled) == (1_500_000, 640_000, 2.0, 1.0)
    assert auto.host_cpu_s == pytest.approx(0.012)
    assert (auto.max_rel_error, auto.top1_equal, auto.living) == (4.6e-4, True, 2)


def test_ratios_are_to_the_same_scenario():
    assert found()["dead-1", "uncoded"].ratio.value == 1.0


def test_what_gave_no_answer_counts_as_that_and_in_no_median():
    dead = found()["dead-1", "auto"]
    assert (dead.inferences, dead.answered, dead.ratio.pairs) == (6, 5, 5)
    assert (dead.max_rel_error, dead.top1_equal, dead.living) == (0.3, False, 1)


def test_tails_need_enough_inferences():
    few = found()["none", "auto"]
    assert (few.p95_s, few.p99_s, few.tail_ratio) == (None, None, None)
    many = found(made.made_run(500))["none", "auto"]
    assert many.p95_s < many.p99_s
    assert many.tail_ratio.value == pytest.approx(0.5)


def test_whole_pictures_on_all_devices_add_their_rates():
    samples = [made.sample(0, 0.2), made.sample(1, 0.4), made.sample(2, None), made.sample(3, 0.4)]
    assert seconds_per_picture(samples, 4) == pytest.approx(1 / (1 / 0.2 + 1 / 0.4 + 1 / 0.4))
    assert seconds_per_picture([made.sample(0, None)], 4) is None
    assert seconds_per_picture([], 4) is None


def test_a_throughput_has_no_ratio_and_no_tail():
    each = found(made.made_run(500))["none", "round-robin"]
    assert (each.ratio, each.p99_s) == (None, None)
    assert each.p50_s is not None


def test_an_absent_row_has_no_figures():
    dask = found()["none", "dask"]
    assert (dask.p50_s, dask.inferences, dask.top1_equal) == (None, 0, None)
    assert dask.absent == "dask.distributed is not installed"


def test_without_the_baseline_there_are_no_ratios():
    run = made.made_run()
    run.cells = [cell for cell in run.cells if cell.row != "uncoded"]
    assert found(run)["none", "auto"].ratio is None


def test_rows_are_held_against_the_best_single_device_and_cocoi_too():
    run = made.made_run(0)
    for row, latency_s in (("auto", 1.0), ("local", 4.0), ("device", 2.0), ("cocoi", 2.5)):
        run.cell("net", "none", row).samples[:] = [made.sample(each, latency_s) for each in range(6)]
    auto = found(run)["none", "auto"]
    assert (auto.to_single.value, auto.to_cocoi.value) == (0.5, 0.4)
    assert found(run)["none", "local"].to_single.value == 2.0
    run.cell("net", "none", "device").samples[:] = [made.sample(each, None) for each in range(6)]
    assert found(run)["none", "auto"].to_single.value == 0.25
    assert found(run)["dead-1", "uncoded"].to_single is None
