"""A fleet that nobody has measured: so many devices alike, of a speed and a link that are assumed. Pure."""

from __future__ import annotations

from typing import Final

from cocoi_cli.planning.fleet_model import Cell, DeviceModel, FleetModel, HostModel, Phase

EXCESS: Final = 0.1  # of the least time, in the mean: a device with nothing else to do
RTT_S: Final = 0.0005
TASK_S: Final = 0.0015  # receiving, unpacking and answering one share, in Python on a small processor
COPY_BYTES_PER_S: Final = 0.8e9  # in and out of sockets there
GIBIBYTE: Final = 1 << 30


def assumed_fleet(
    devices: int,
    *,
    flops_per_s: float,
    bytes_per_s: float,
    host: HostModel,
    task_s: float = TASK_S,
    excess: float = EXCESS,
    memory_bytes: int | None = 2 * GIBIBYTE,
) -> FleetModel:
    """A fleet of equal devices.

    Args:
        devices: How many, `device-1` and so on.
        flops_per_s: Floating-point operations per second of each; a multiply-accumulate is two.
        bytes_per_s: Of each link, in each direction.
        host: The machine in the middle.
        task_s: Fixed cost of one share on a device.
        excess: Random part of every time, in units of the least time.
        memory_bytes: Of each; None for unknown.
    """
    compute = _around(2 / flops_per_s, excess)
    wire = Phase(1 / bytes_per_s + 1 / COPY_BYTES_PER_S, excess / bytes_per_s)
    cells = (Cell(3, 128, 128, 56, 14, compute),)
    return FleetModel(
        tuple(
            DeviceModel(f"device-{number + 1}", cells, wire, wire, RTT_S, task_s, memory_bytes)
            for number in range(devices)
        ),
        host,
    )


def assumed_host(*, flops_per_s: float, bytes_per_s: float, pass_bytes_per_s: float, task_s: float) -> HostModel:
    """A host of one speed for every convolution; `bytes_per_s` is its network card's, in each direction."""
    cells = (Cell(3, 128, 128, 56, 14, Phase(2 / flops_per_s, 0.0)),)
    return HostModel(cells, pass_bytes_per_s, task_s, bytes_per_s, bytes_per_s)


def _around(mean: float, excess: float) -> Phase:
    """A phase of this mean of which so much is random."""
    return Phase(mean / (1 + excess), mean * excess / (1 + excess))
