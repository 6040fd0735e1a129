"""Writes the trained classifier as an ONNX file: plain convolutions, float16 weights, float32 arithmetic.

Needs numpy and onnx only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graph import GraphWriter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import onnx


@dataclass(frozen=True, slots=True)
class Layer:
    """One folded 3x3 convolution with padding 1, followed by ReLU and, where `pool` is set, by a 2x2 max pool."""

    name: str  # such as `1_2`: second convolution of the first block
    weight: np.ndarray  # `[out, in, 3, 3]`
    bias: np.ndarray  # `[out]`
    pool: bool


def write_classifier(
    layers: Sequence[Layer],
    head: tuple[np.ndarray, np.ndarray],
    size: int,
    metadata: Mapping[str, object],
) -> onnx.ModelProto:
    """Assemble the model.

    Args:
        layers: the convolutions in order.
        head: weight `[classes, channels]` and bias `[classes]` of the last layer, behind global average pooling.
        size: height and width of the input.
        metadata: see `GraphWriter.model`.

    Returns:
        A checked model from `image` `[N, 3, size, size]` float32 to `logits` `[N, classes]` float32; N is dynamic.
    """
    writer = GraphWriter(half=True)
    value = "image"
    for layer in layers:
        conv = f"conv{layer.name}"
        inputs = [value, writer.weight(f"{conv}.weight", layer.weight), writer.tensor(f"{conv}.bias", layer.bias)]
        writer.node("Conv", inputs, conv, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
        value = writer.node("Relu", [conv], f"relu{layer.name}")
        if layer.pool:
            value = writer.node(
                "MaxPool", [value], f"pool{layer.name.split('_')[0]}", kernel_shape=[2, 2], strides=[2, 2]
            )
    average = writer.node("GlobalAveragePool", [value], "average")
    features = writer.node("Flatten", [average], "features", axis=1)
    weight, bias = head
    inputs = [features, writer.weight("classify.weight", weight), writer.tensor("classify.bias", bias)]
    writer.node("Gemm", inputs, "logits", transB=1)
    return writer.model("roadsigns", ("image", ["N", 3, size, size]), ("logits", ["N", len(bias)]), metadata)
