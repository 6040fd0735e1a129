"""How fast this machine computes and copies, for the planner: a short measurement, kept per machine.

A profile tells of the devices only. The host's part of every plan is timed here with the same ONNX Runtime
and all its threads: a few convolutions and one pass over memory, less than two seconds. The result lies in the
user's cache folder; what cannot be read there or is of another machine or runtime is measured anew.
"""

from __future__ import annotations

import json
import os
import platform
import time
from contextlib import suppress
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import cocoi_agent
from cocoi_cli.errors import FailedError
from cocoi_cli.files import write
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.onnxruntime_session import RUNTIME_VERSION
from cocoi_cli.planning.fields import Field, FieldError
from cocoi_cli.planning.fleet_model import Cell, HostModel, Phase
from cocoi_cli.runtime.host import HostKernels

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cocoi_cli.runtime.host import Kernels

SCHEMA: Final = 1
BUDGET_S: Final = 1.6  # of all measurements; a slow machine measures fewer cells
CELL_S: Final = 0.12  # after which a cell is not repeated
MOST_REPEATS: Final = 5
MOST_GLANCES: Final = 50  # at what takes a millisecond or two: the least of them is kept
PASS_FLOATS: Final = 64 * 112 * 112  # an activation of VGG16, 3.2 MB
HEIGHT: Final = 2

# What one share costs the host beside passes over memory: messages, bookkeeping, system calls, in Python. It cannot be
# timed without a fleet; where it was, it took 0.4 ms and a call of an empty function 32 ns.
TASK_CALLS: Final = 12_500
CALLS: Final = 50_000

# (kernel, in, out, width, rows): early and late layers of VGG16 and ResNet, the cheapest first.
CELLS: Final = (
    (3, 3, 64, 224, 28),
    (1, 256, 64, 56, 28),
    (3, 64, 64, 56, 28),
    (3, 512, 512, 7, 7),
    (1, 1024, 256, 14, 14),
    (3, 64, 64, 224, 28),
    (3, 256, 256, 28, 14),
    (3, 512, 512, 14, 14),
    (3, 256, 256, 56, 14),
    (3, 128, 128, 112, 28),
)


@dataclass(frozen=True, slots=True)
class HostSpeed:
    """What was measured.

    Attributes:
        cells: Convolutions in all threads; at least one.
        pass_bytes_per_s: One pass over memory, in one thread.
        task_s: Cost of one share, in Python.
    """

    cells: tuple[Cell, ...]
    pass_bytes_per_s: float
    task_s: float

    def model(self, nic_up: float, nic_down: float) -> HostModel:
        """The host with a network card of so many bytes per second in each direction."""
        return HostModel(self.cells, self.pass_bytes_per_s, self.task_s, nic_up, nic_down)


def host_speed(path: Path, kernels: Kernels | None = None, clock: Callable[[], float] = time.perf_counter) -> HostSpeed:
    """What is kept at `path`, else what is measured now and then kept there.

    Args:
        path: A file in the cache folder; need not exist.
        kernels: What computes; None for this process's ONNX Runtime with all its threads.
        clock: Seconds.
    """
    found = _kept(path)
    if found is None:
        found = measure(HostKernels() if kernels is None else kernels, clock)
        _keep(path, found)
    return found


def measure(kernels: Kernels, clock: Callable[[], float]) -> HostSpeed:
    """Time a few convolutions and passes; at most about two seconds, on any machine.

    Args:
        kernels: What computes.
        clock: Seconds.
    """
    started = clock()
    values = np.random.default_rng(0).standard_normal(512 * 512 * 9, dtype=np.float32)
    cells: list[Cell] = []
    for cell in CELLS:
        if cells and clock() - started > BUDGET_S:
            break
        cells.append(_cell(kernels, clock, cell, values))
    return HostSpeed(tuple(cells), _passes(clock), _task(clock))


def _cell(kernels: Kernels, clock: Callable[[], float], cell: tuple[int, int, int, int, int], values: Any) -> Cell:  # noqa: ANN401 - an array
    kernel, channels, out_channels, width, rows = cell
    around = (kernel // 2, kernel // 2)
    spec = ConvSpec((kernel, kernel), (1, 1), (1, 1), around, around, 1, channels, out_channels)
    x_shape = (1, channels, rows + kernel - 1, width)
    w_shape = (out_channels, channels, kernel, kernel)
    x = np.resize(values, x_shape)
    w = np.resize(values, w_shape)
    macs = rows * width * channels * out_channels * kernel * kernel
    spent = _repeat(lambda: kernels.convolve(spec, HEIGHT, x, w), clock)
    return Cell(kernel, channels, out_channels, width, rows, Phase(median(spent) / macs, 0.0))


def _passes(clock: Callable[[], float]) -> float:
    source = np.ones(PASS_FLOATS, np.float32)
    target = np.empty_like(source)
    return source.nbytes / min(_repeat(lambda: np.copyto(target, source), clock, MOST_GLANCES))


def _task(clock: Callable[[], float]) -> float:
    """What `TASK_CALLS` calls of a function take."""

    def nothing() -> None:
        return None

    def many() -> None:
        for _ in range(CALLS):
            nothing()

    # The least, for this is kept: what else ran at that moment would count for ever.
    return min(_repeat(many, clock, MOST_GLANCES)) / CALLS * TASK_CALLS


def _repeat(once: Callable[[], object], clock: Callable[[], float], most: int = MOST_REPEATS) -> list[float]:
    """Durations after a first time that does not count."""
    once()
    spent: list[float] = []
    while len(spent) < most and (not spent or sum(spent) < CELL_S):
        began = clock()
        once()
        spent.append(max(clock() - began, 1e-9))
    return spent


# --- the file -----------------------------------------------------------------------------


def _machine() -> dict[str, object]:
    """What a measurement holds for."""
    return {
        "schema": SCHEMA,
        "cocoi": cocoi_agent.__version__,
        "onnxruntime": RUNTIME_VERSION,
        "python": platform.python_version(),
        "node": platform.node(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


def _kept(path: Path) -> HostSpeed | None:
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or document.get("of") != _machine():
            return None
        return _read(Field(document))
    except (OSError, ValueError, RecursionError, FieldError):
        return None


def _read(root: Field) -> HostSpeed:
    cells = []
    for each in root.at("cells").items():
        kernel, channels, out, width, rows = (
            each.at(name).positive() for name in ("kernel", "in", "out", "width", "rows")
        )
        cells.append(Cell(kernel, channels, out, width, rows, Phase(each.at("seconds_per_mac").duration(), 0.0)))
    if not cells:
        raise FieldError("cells", "there are none")
    return HostSpeed(tuple(cells), root.at("pass_bytes_per_s").duration(), root.at("task_s").duration())


def _keep(path: Path, speed: HostSpeed) -> None:
    """Write it down; where that cannot be, it is measured again next time."""
    document: Mapping[str, object] = {
        "of": _machine(),
        "pass_bytes_per_s": speed.pass_bytes_per_s,
        "task_s": speed.task_s,
        "cells": [
            {
                "kernel": cell.kernel,
                "in": cell.in_channels,
                "out": cell.out_channels,
                "width": cell.width,
                "rows": cell.rows,
                "seconds_per_mac": cell.phase.shift_s,
            }
            for cell in speed.cells
        ],
    }
    with suppress(OSError, FailedError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write(str(path), json.dumps(document, indent=1).encode())
