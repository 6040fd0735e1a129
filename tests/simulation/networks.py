"""Chains of convolutions without weights: what a simulation needs of VGG16 and of a toy."""

from __future__ import annotations

import math

from cocoi_cli.model.geometry import output_shape
from cocoi_cli.model.network import ConvLayer, ConvSpec

VGG16 = (
    (3, 64, 224), (64, 64, 224), (64, 128, 112), (128, 128, 112), (128, 256, 56), (256, 256, 56), (256, 256, 56),
    (256, 512, 28), (512, 512, 28), (512, 512, 28), (512, 512, 14), (512, 512, 14), (512, 512, 14),
)  # fmt: skip


def conv(name: str, channels: int, filters: int, size: int, kernel: int = 3, stride: int = 1) -> ConvLayer:
    pad = kernel // 2
    spec = ConvSpec(
        kernel=(kernel, kernel), strides=(stride, stride), dilations=(1, 1), pads_begin=(pad, pad), pads_end=(pad, pad),
        group=1, in_channels=channels, out_channels=filters,
    )  # fmt: skip
    shape = (1, channels, size, size)
    result = output_shape(spec, shape)
    macs = math.prod(result) * channels * kernel * kernel
    return ConvLayer(name, spec, shape, result, "float32", macs, None)


def vgg16() -> tuple[ConvLayer, ...]:
    return tuple(conv(f"conv{index}", *sizes) for index, sizes in enumerate(VGG16, 1))
