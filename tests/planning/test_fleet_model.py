from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest

from cocoi_cli.planning.fleet_model import Cell, DeviceModel, FleetModel, HostModel, Phase

FAST, SLOW = Phase(1e-10, 1e-11), Phase(4e-10, 0.0)
CELLS = (Cell(3, 64, 64, 56, 7, FAST), Cell(3, 64, 64, 56, 2, SLOW), Cell(1, 512, 128, 28, 4, Phase(2e-10, 0.0)))
WIRE = Phase(8e-9, 1e-9)
DEVICE = DeviceModel("pi-1", CELLS, WIRE, WIRE, 0.0005, 0.0008, 1 << 30)
HOST = HostModel(CELLS, 1e9, 0.0003, 1.1e8, 1.1e8)


def test_a_phase_grows_with_its_size():
    phase = Phase(2.0, 0.5)
    assert phase.mean(4) == 10
    assert phase.mean_s == 2.5
    assert phase.scaled(4) == Phase(8.0, 2.0)


@pytest.mark.parametrize("model", [DEVICE, HOST])
def test_a_slice_takes_the_speed_of_the_cell_that_is_most_like_it(model):
    like = {"in_channels": 64, "out_channels": 64, "width": 56}
    assert model.compute(1000, kernel=3, rows=7, **like) == FAST.scaled(1000)
    assert model.compute(1000, kernel=3, rows=5, **like) == FAST.scaled(1000)
    assert model.compute(1000, kernel=3, rows=3, **like) == SLOW.scaled(1000)
    assert model.compute(1000, kernel=3, rows=224, **like) == FAST.scaled(1000)
    assert model.compute(10, kernel=1, in_channels=256, out_channels=256, width=28, rows=4) == Phase(2e-9, 0.0)


def test_distance_is_in_the_logarithm_and_a_kernel_counts_twice():
    cells = (Cell(3, 64, 64, 56, 7, FAST), Cell(1, 64, 64, 56, 7, SLOW))
    device = replace(DEVICE, cells=cells)
    at = {"in_channels": 64, "out_channels": 64, "width": 56, "rows": 7}
    assert device.compute(1, kernel=2, **at) == FAST
    assert device.compute(1, kernel=5, **at) == FAST
    near = replace(DEVICE, cells=(Cell(3, 8, 64, 56, 7, FAST), Cell(1, 64, 64, 56, 7, SLOW)))
    # exp(2 ln 3) = 9 > 8: eight times fewer channels are nearer than the other kernel.
    assert near.compute(1, kernel=3, **at) == FAST


def test_of_equally_near_cells_the_first_counts():
    device = replace(DEVICE, cells=(Cell(3, 64, 64, 56, 2, FAST), Cell(3, 64, 64, 56, 8, SLOW)))
    assert device.compute(1, kernel=3, in_channels=64, out_channels=64, width=56, rows=4) == FAST


def test_a_long_share_varies_less_than_in_proportion():
    steady = replace(DEVICE, steady_s=0.050)
    assert steady.steadied(Phase(0.040, 0.010)) == Phase(0.040, 0.010)  # just as long
    long = steady.steadied(Phase(0.160, 0.040))  # four times as long: twice the random part, the same mean
    assert (long.shift_s, long.excess_s) == pytest.approx((0.180, 0.020))
    assert DEVICE.steadied(Phase(1.6, 0.4)) == Phase(1.6, 0.4)  # not known


def test_models_are_values():
    assert replace(DEVICE) == DEVICE
    assert hash(replace(DEVICE)) == hash(DEVICE)
    assert replace(DEVICE, cells=CELLS[:1]) != DEVICE
    assert copy.deepcopy(FleetModel((DEVICE,), HOST)) == FleetModel((DEVICE,), HOST)
    assert "_nearest" not in repr(DEVICE)


def test_what_was_replaced_is_looked_up_anew():
    at = {"kernel": 3, "in_channels": 64, "out_channels": 64, "width": 56, "rows": 7}
    assert DEVICE.compute(1, **at) == FAST
    assert replace(DEVICE, cells=(replace(CELLS[0], phase=SLOW),)).compute(1, **at) == SLOW


def test_a_slowdown_has_a_mean():
    assert DEVICE.mean_slowdown == 1
    assert replace(DEVICE, slowdown=((0.98, 1.0), (0.02, 5.0))).mean_slowdown == pytest.approx(1.08)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": ()}, "at least one measured cell"),
        ({"rtt_s": -1.0}, "rtt_s is finite"),
        ({"task_s": math.nan}, "task_s is finite"),
        ({"memory_bytes": -1}, "memory_bytes"),
        ({"slowdown": ()}, "sum to 1"),
        ({"slowdown": ((0.5, 1.0), (0.4, 2.0))}, "sum to 1"),
        ({"slowdown": ((1.0, 0.0),)}, "factors positive"),
        ({"slowdown": ((1.0, math.inf),)}, "factors positive"),
        ({"slowdown": ((-0.5, 1.0), (1.5, 1.0))}, "probabilities are at least 0"),
    ],
)
def test_a_device_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(DEVICE, **change)


@pytest.mark.parametrize("change", [{"cells": ()}, {"nic_up": 0.0}, {"nic_down": math.nan}, {"pass_bytes_per_s": -1.0}])
def test_a_host_that_cannot_be_is_refused(change):
    with pytest.raises(ValueError, match=r"positive|at least one"):
        replace(HOST, **change)


@pytest.mark.parametrize("times", [(-1.0, 0.0), (0.0, math.inf), (math.nan, 0.0)])
def test_a_phase_that_cannot_be_is_refused(times):
    with pytest.raises(ValueError, match="finite and at least 0"):
        Phase(*times)


def test_a_cell_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        Cell(3, 64, 64, 0, 7, FAST)


def test_devices_have_names_of_their_own():
    with pytest.raises(ValueError, match="unique"):
        FleetModel((DEVICE, DEVICE), HOST)
