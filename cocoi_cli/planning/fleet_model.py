"""What a planner and a simulation know of a fleet: how long a piece of work takes on each device. Pure.

Every phase of a share (sending it, computing it, its answer's way back) is shift-exponential: a least time
that is proportional to the size of the phase and, on top, an exponential one. Devices differ; nothing here
assumes that they are alike.

Source: CoCoI (arXiv 2501.06856), the latency model; docs/methods.md, the latency model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cocoi_cli.planning.quantile_table import Empirical

KERNEL_WEIGHT: Final = 2.0
"""How much a kernel's size counts in the distance of two slices, against 1 for each of the other lengths: a 1x1
convolution is a plain matrix product and a 3x3 one is not, whatever their sizes."""

_DIGITS: Final = 9  # of a distance
_ROUNDING: Final = 1e-6  # of probabilities that came as decimal text
_Place = tuple[float, float, float, float, float]


@dataclass(frozen=True, slots=True)
class Phase:
    """A shift-exponential time: size N takes N * shift_s, and an exponential time of mean N * excess_s more.

    Attributes:
        shift_s: Least seconds per unit of size: a byte, or a multiply-accumulate; theta of the paper.
        excess_s: Mean seconds per unit beyond that; 1/mu of the paper.

    Raises:
        ValueError: If one is negative or not finite.
    """

    shift_s: float
    excess_s: float

    def __post_init__(self) -> None:
        _check_times(shift_s=self.shift_s, excess_s=self.excess_s)

    @property
    def mean_s(self) -> float:
        """Mean seconds per unit."""
        return self.shift_s + self.excess_s

    def mean(self, size: float) -> float:
        """Mean seconds of a phase of this size."""
        return size * (self.shift_s + self.excess_s)

    def at(self, size: float, number: float) -> float:
        """Seconds that a phase of this size takes by a uniform number in [0, 1): the quantile of that order."""
        if self.excess_s == 0.0:
            return size * self.shift_s
        return size * (self.shift_s - self.excess_s * math.log1p(-number))

    def scaled(self, factor: float) -> Phase:
        """The same phase at a size that is `factor` units, or on a device that is `factor` times as slow."""
        return Phase(self.shift_s * factor, self.excess_s * factor)


@dataclass(frozen=True, slots=True)
class Cell:
    """A slice of a convolution that was measured.

    Attributes:
        kernel: Rows and columns of the kernel.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        width: Columns of the output.
        rows: Rows of the output.
        phase: Seconds per multiply-accumulate of such a slice.

    Raises:
        ValueError: If a length is below 1.
    """

    kernel: int
    in_channels: int
    out_channels: int
    width: int
    rows: int
    phase: Phase

    def __post_init__(self) -> None:
        lengths = (self.kernel, self.in_channels, self.out_channels, self.width, self.rows)
        if min(lengths) < 1:
            raise ValueError(f"lengths of a slice are at least 1, not {lengths}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of such a slice."""
        return self.kernel**2 * self.in_channels * self.out_channels * self.width * self.rows


class _Nearest:
    """Finds the cell that is most like a slice; remembers what it found, for a planner asks the same over and over."""

    __slots__ = ("_cells", "_found", "_places")

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        if not cells:
            raise ValueError("a model of compute needs at least one measured cell")
        self._cells = cells
        self._places = tuple(
            _place(cell.kernel, cell.in_channels, cell.out_channels, cell.width, cell.rows) for cell in cells
        )
        self._found: dict[tuple[int, int, int, int, int], Phase] = {}

    def phase(self, kernel: int, in_channels: int, out_channels: int, width: int, rows: int) -> Phase:
        """Seconds per multiply-accumulate; of equally near cells the first."""
        wanted = (kernel, in_channels, out_channels, width, rows)
        found = self._found.get(wanted)
        if found is None:
            place = _place(*wanted)
            # Rounded, so that a tie is one on every machine.
            distances = [
                round(sum((a - b) ** 2 for a, b in zip(place, other, strict=True)), _DIGITS) for other in self._places
            ]
            found = self._found[wanted] = self._cells[distances.index(min(distances))].phase
        return found


@dataclass(frozen=True, slots=True)
class Spreads:
    """How the durations of a device were spread about their means, each of mean 1.

    Attributes:
        compute: Of computing a share that takes no longer than the model's `steady_s`.
        send: Of the way to the device.
        receive: Of the way back.
    """

    compute: Empirical
    send: Empirical
    receive: Empirical


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """How long a share takes on one device.

    Attributes:
        name: Unique in the fleet.
        cells: Measured slices, at least one, computed in as many threads as an agent uses.
        send: Host to device, per byte.
        receive: Device to host, per byte.
        rtt_s: Round trip of a few bytes.
        task_s: Fixed cost of one share on the device beside the convolution: receiving, unpacking, answering.
        memory_bytes: Of the whole device; None where unknown.
        slowdown: Pairs of probability and factor, one drawn for each task and applied to all that the device does
            for it: `task_s`, the convolution and its part of `send` and `receive`; ((1.0, 1.0),) for none.
            Probabilities sum to 1.
        carrying: Part of `send` and `receive` that the device's own processor is busy with, and that takes longer
            where everything on the device does; from 0, where the wire decides alone, to 1.
        steady_s: Duration up to which the random part of computing grows with the share. Beyond, it grows with the
            square root only, since short disturbances average out; infinite where that is not known.
        rest_gain_s: What the first share takes less after a rest (`REST_S`) than `task_s` says, at most all of it;
            below 0 where it takes more.
        spreads: What a simulation draws from, with the means of the phases; None to draw from the phases themselves.

    Raises:
        ValueError: If there is no cell, or a value is outside what its description allows.
    """

    name: str
    cells: tuple[Cell, ...]
    send: Phase
    receive: Phase
    rtt_s: float
    task_s: float
    memory_bytes: int | None
    slowdown: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    carrying: float = 0.0
    steady_s: float = math.inf
    rest_gain_s: float = 0.0
    spreads: Spreads | None = None
    _nearest: _Nearest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_times(rtt_s=self.rtt_s, task_s=self.task_s, carrying=self.carrying)
        _check_slowdown(self.slowdown)
        if not math.isfinite(self.rest_gain_s) or self.rest_gain_s > self.task_s:
            raise ValueError(f"a rest saves at most `task_s`, {self.task_s} s, not {self.rest_gain_s}")
        if self.carrying > 1:
            raise ValueError(f"carrying is a part of the whole, not {self.carrying}")
        if self.memory_bytes is not None and self.memory_bytes < 0:
            raise ValueError(f"memory_bytes is at least 0, not {self.memory_bytes}")
        object.__setattr__(self, "_nearest", _Nearest(self.cells))

    def compute(self, macs: int, *, kernel: int, in_channels: int, out_channels: int, width: int, rows: int) -> Phase:
        """Seconds that a slice of a convolution takes, as a phase of size 1; without slowdown and `task_s`.

        Args:
            macs: Multiply-accumulates of the slice.
            kernel: Rows and columns of its kernel; the root of their product where they differ.
            in_channels: Channels of its input that one output channel sees.
            out_channels: Channels of its output.
            width: Columns of its output.
            rows: Rows of its output.

        Returns:
            The speed of the measured cell whose lengths are nearest in the logarithm, times `macs`.
        """
        return self._nearest.phase(kernel, in_channels, out_channels, width, rows).scaled(macs)

    def steadied(self, phase: Phase) -> Phase:
        """All that a share computes, as a phase of size 1, with the spread that its duration has."""
        if phase.mean_s <= self.steady_s:
            return phase
        excess_s = phase.excess_s * math.sqrt(self.steady_s / phase.mean_s)
        return Phase(phase.mean_s - excess_s, excess_s)

    def compute_s(self, phase: Phase, number: float) -> float:
        """Seconds that a share computes by a uniform number in [0, 1).

        Args:
            phase: Of all that it computes, from `steadied`.
            number: The order of the quantile.
        """
        if self.spreads is None:
            return phase.at(1.0, number)
        narrow = math.sqrt(min(self.steady_s / phase.mean_s, 1.0)) if phase.mean_s > 0 else 1.0
        return phase.mean_s * (1.0 + narrow * (self.spreads.compute.quantile(number) - 1.0))

    def send_s(self, size: float, number: float) -> float:
        """Seconds of so many bytes to the device, likewise."""
        if self.spreads is None:
            return self.send.at(size, number)
        return self.send.mean(size) * self.spreads.send.quantile(number)

    def receive_s(self, size: float, number: float) -> float:
        """Seconds of so many bytes from the device, likewise."""
        if self.spreads is None:
            return self.receive.at(size, number)
        return self.receive.mean(size) * self.spreads.receive.quantile(number)

    @property
    def mean_slowdown(self) -> float:
        """Mean factor of a task."""
        return sum(probability * factor for probability, factor in self.slowdown)


@dataclass(frozen=True, slots=True)
class HostModel:
    """What the host's own part takes.

    Attributes:
        cells: Its own convolutions, in all threads that it would use; at least one.
        pass_bytes_per_s: One pass over memory: to cut, cast, encode or join.
        task_s: Its own cost of one share (Python, sockets); shares wait for one another here.
        nic_up: Bytes per second to all devices together.
        nic_down: Bytes per second from all devices together.

    Raises:
        ValueError: If there is no cell, or a speed is not positive.
    """

    cells: tuple[Cell, ...]
    pass_bytes_per_s: float
    task_s: float
    nic_up: float
    nic_down: float
    _nearest: _Nearest = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_times(task_s=self.task_s)
        for name in ("pass_bytes_per_s", "nic_up", "nic_down"):
            speed: float = attrgetter(name)(self)
            if not speed > 0:
                raise ValueError(f"{name} is positive, not {speed}")
        object.__setattr__(self, "_nearest", _Nearest(self.cells))

    def compute(self, macs: int, *, kernel: int, in_channels: int, out_channels: int, width: int, rows: int) -> Phase:
        """Seconds that a slice takes on the host, as a phase of size 1: `DeviceModel.compute` on its own cells."""
        return self._nearest.phase(kernel, in_channels, out_channels, width, rows).scaled(macs)

    def steadied(self, phase: Phase) -> Phase:
        """The same phase: how the host's durations spread was not measured apart."""
        return phase


@dataclass(frozen=True, slots=True)
class FleetModel:
    """The devices that a plan may use, and the host.

    Attributes:
        devices: In the order of their homes: the holder of share i is devices[i].
        host: Beside them.

    Raises:
        ValueError: If two devices have the same name.
    """

    devices: tuple[DeviceModel, ...]
    host: HostModel

    def __post_init__(self) -> None:
        names = [device.name for device in self.devices]
        if len(set(names)) < len(names):
            raise ValueError(f"names of devices are unique, not {names}")


def _place(kernel: int, in_channels: int, out_channels: int, width: int, rows: int) -> _Place:
    return (
        KERNEL_WEIGHT * math.log(kernel),
        math.log(in_channels),
        math.log(out_channels),
        math.log(width),
        math.log(rows),
    )


def _check_times(**times: float) -> None:
    for name, value in times.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is finite and at least 0, not {value}")


def _check_slowdown(slowdown: tuple[tuple[float, float], ...]) -> None:
    if any(not probability >= 0 or not 0 < factor < math.inf for probability, factor in slowdown):
        raise ValueError(f"probabilities are at least 0 and factors positive, not {slowdown}")
    if abs(sum(probability for probability, _ in slowdown) - 1) > _ROUNDING:
        raise ValueError(f"probabilities of slowdown sum to 1, not {sum(p for p, _ in slowdown)}")
