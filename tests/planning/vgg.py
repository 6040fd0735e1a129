"""Layers and fleets that several tests of the planner use: VGG16 at 224x224, and the emulated fleet's speeds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cocoi_cli.model.network import ConvLayer, ConvSpec
from cocoi_cli.planning.assumed_fleet import assumed_fleet, assumed_host
from cocoi_cli.planning.fleet_model import Cell, DeviceModel, FleetModel, HostModel, Phase

GIGABIT = 112e6  # bytes per second that 940 Mbit/s links carry


def conv(
    name: str, channels: int, out_channels: int, size: int, *, kernel: int = 3, stride: int = 1, obstacle: str = ""
) -> ConvLayer:
    """A square convolution that keeps the size, but for its stride."""
    pad = kernel // 2
    spec = ConvSpec((kernel, kernel), (stride, stride), (1, 1), (pad, pad), (pad, pad), 1, channels, out_channels)
    out = (size + 2 * pad - kernel) // stride + 1
    return ConvLayer(
        name=name,
        spec=spec,
        input_shape=(1, channels, size, size),
        output_shape=(1, out_channels, out, out),
        dtype="float32",
        macs=out * out * channels * out_channels * kernel * kernel,
        obstacle=obstacle or None,
    )


VGG16 = tuple(
    conv(name, *sizes)
    for name, sizes in {
        "conv1_1": (3, 64, 224),
        "conv1_2": (64, 64, 224),
        "conv2_1": (64, 128, 112),
        "conv2_2": (128, 128, 112),
        "conv3_1": (128, 256, 56),
        "conv3_2": (256, 256, 56),
        "conv3_3": (256, 256, 56),
        "conv4_1": (256, 512, 28),
        "conv4_2": (512, 512, 28),
        "conv4_3": (512, 512, 28),
        "conv5_1": (512, 512, 14),
        "conv5_2": (512, 512, 14),
        "conv5_3": (512, 512, 14),
    }.items()
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What `Segment.cost` tells."""

    tiles: int
    macs: int
    bytes_in_elems: int
    bytes_out_elems: int
    largest_macs: int
    largest_in_elems: int
    largest_out_elems: int
    memory_elems: int
    large: int


@dataclass(frozen=True, slots=True)
class Pair:
    """Two 3x3 convolutions and a 2x2 pool: a segment as VGG16 has them."""

    name: str
    layers: tuple[str, ...]
    convs: tuple[ConvLayer, ...]
    input: str = "x"
    output: str = "y"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.convs[0].input_shape

    @property
    def output_shape(self) -> tuple[int, ...]:
        batch, channels, rows, columns = self.convs[-1].output_shape
        return batch, channels, rows // 2, columns // 2

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.convs)

    def cost(self, tiles: int) -> Cost:
        """Each tile needs a row more on each side for every 3x3 convolution after the first."""
        rows, made = self.input_shape[2], self.output_shape[2]
        tiles = min(tiles, made)
        share, most = rows / tiles, 2 * math.ceil(made / tiles)

        def macs(height: float) -> float:
            grown = [min(height + 2 * place, rows) for place in range(len(self.convs))]
            return sum(layer.macs / rows * each for layer, each in zip(self.convs, reversed(grown), strict=True))

        elems, out = math.prod(self.input_shape) / rows, math.prod(self.output_shape)
        halo = 2 * len(self.convs)
        return Cost(
            tiles=tiles,
            macs=round(macs(share) * tiles),
            bytes_in_elems=round(elems * min(share + halo, rows) * tiles),
            bytes_out_elems=out,
            largest_macs=round(macs(most)),
            largest_in_elems=round(elems * min(most + halo, rows)),
            largest_out_elems=out // made * math.ceil(made / tiles),
            memory_elems=round(2 * math.prod(self.convs[0].output_shape) / tiles),
            large=made % tiles or tiles,
        )


VGG_SEGMENTS = (
    Pair("conv1_1..conv1_2", ("conv1_1", "conv1_2"), VGG16[0:2]),
    Pair("conv2_1..conv2_2", ("conv2_1", "conv2_2"), VGG16[2:4]),
)


def laptop(flops_per_s: float = 10e9) -> HostModel:
    """A host whose memory is quick and whose convolutions are as slow as a device's."""
    return assumed_host(flops_per_s=flops_per_s, bytes_per_s=GIGABIT, pass_bytes_per_s=5e9, task_s=0.0004)


def rig(devices: int = 10) -> FleetModel:
    """The emulated fleet as the prototype met it: a tenth of a core each, one core under all of them."""
    # One node alone computes 9.5 GFLOP/s; ten of them on cold caches 7.2, and their shares of time are uneven.
    cells = (Cell(3, 128, 128, 56, 14, Phase(2 / 8e9, 0.16 / 8e9)),)
    wire = Phase(1 / GIGABIT + 3e-9, 0.5e-9)
    return FleetModel(
        tuple(
            DeviceModel(f"node-{number}", cells, wire, wire, 0.0005, 0.0024, None) for number in range(1, devices + 1)
        ),
        laptop(9.5e9),
    )


def pis(devices: int, mbit: float = 940, gflops: float = 10) -> FleetModel:
    """Equal devices of a plain kind, and a host of the same speed."""
    return assumed_fleet(devices, flops_per_s=gflops * 1e9, bytes_per_s=mbit * 0.119e6, host=laptop(gflops * 1e9))
