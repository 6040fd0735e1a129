"""The host's own speed: measured once, kept per machine, and bounded in time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cocoi_cli.runtime.host_speed import BUDGET_S, CELLS, MOST_REPEATS, host_speed, measure


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1e-4  # looking at it takes time too
        return self.now


class SlowKernels:
    """Convolutions that take as long as they have multiply-accumulates."""

    def __init__(self, clock: Clock, macs_per_s: float) -> None:
        self.clock, self.macs_per_s, self.calls = clock, macs_per_s, 0

    def convolve(self, spec, axis, x, weight):
        self.calls += 1
        rows, columns = x.shape[2] - spec.kernel[0] + 1, x.shape[3]
        self.clock.now += rows * columns * np.prod(weight.shape) / self.macs_per_s
        return x


def test_the_cells_have_the_speed_that_was_seen() -> None:
    clock = Clock()
    found = measure(SlowKernels(clock, 20e9), clock)
    assert len(found.cells) == len(CELLS)
    for cell in found.cells[2:]:  # the first are so short that looking at the clock counts
        assert cell.phase.shift_s == pytest.approx(1 / 20e9, rel=0.1)
    model = found.model(1e8, 2e8)
    assert (model.nic_up, model.nic_down) == (1e8, 2e8)
    assert model.pass_bytes_per_s > 0


@pytest.mark.parametrize("speed", [5e7, 1e9, 5e9])
def test_a_slow_machine_measures_fewer_cells(speed: float) -> None:
    clock = Clock()
    kernels = SlowKernels(clock, speed)
    found = measure(kernels, clock)
    assert 1 <= len(found.cells) <= len(CELLS)
    longest = max(kernel * kernel * a * b * width * rows for kernel, a, b, width, rows in CELLS) / speed
    assert clock.now < BUDGET_S + 3 * longest + 1
    assert kernels.calls <= len(CELLS) * (MOST_REPEATS + 1)


def test_is_measured_once_per_machine(tmp_path: Path) -> None:
    path, clock = tmp_path / "new" / "host-speed.json", Clock()
    kernels = SlowKernels(clock, 10e9)
    first = host_speed(path, kernels, clock)
    calls = kernels.calls
    assert host_speed(path, kernels, clock) == first
    assert kernels.calls == calls


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "{",
        lambda text: "[]",
        lambda text: json.dumps(json.loads(text) | {"of": {}}),
        lambda text: json.dumps(json.loads(text) | {"cells": []}),
        lambda text: json.dumps(json.loads(text) | {"task_s": -1}),
        lambda text: json.dumps(json.loads(text) | {"cells": [{"kernel": 0}]}),
    ],
    ids=["cut", "list", "other machine", "no cells", "negative", "zero"],
)
def test_what_cannot_be_used_is_measured_anew(spoil, tmp_path: Path) -> None:
    path, clock = tmp_path / "host-speed.json", Clock()
    first = host_speed(path, SlowKernels(clock, 10e9), clock)
    path.write_text(spoil(path.read_text()))
    kernels = SlowKernels(clock, 10e9)
    assert len(host_speed(path, kernels, clock).cells) == len(first.cells)
    assert kernels.calls > 0


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    clock = Clock()
    assert host_speed(blocked / "host-speed.json", SlowKernels(clock, 10e9), clock).cells
