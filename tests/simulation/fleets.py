"""Fleets for simulations: equal devices of round figures, without noise unless asked for."""

from __future__ import annotations

from cocoi_cli.planning.fleet_model import Cell, DeviceModel, FleetModel, HostModel, Phase


def cell(gflops: float, noise: float = 0.0) -> Cell:
    """One speed for every convolution; `noise` is the mean of the exponential part, as a part of the least time."""
    return Cell(3, 64, 64, 56, 8, Phase(2e-9 / gflops, noise * 2e-9 / gflops))


def device(name: str, gflops: float = 10.0, mbit: float = 940.0, noise: float = 0.0, rtt_s: float = 0.001,
           task_s: float = 0.001) -> DeviceModel:  # fmt: skip
    wire = Phase(8e-6 / mbit, 0.0)
    return DeviceModel(name, (cell(gflops, noise),), wire, wire, rtt_s, task_s, None)


def host(gflops: float = 10.0, mbit: float = 940.0, passes: float = 5e9, task_s: float = 0.0) -> HostModel:
    return HostModel((cell(gflops),), passes, task_s, mbit / 8e-6, mbit / 8e-6)


def fleet(devices: int, **each: float) -> FleetModel:
    return FleetModel(tuple(device(f"device-{number + 1}", **each) for number in range(devices)), host())
