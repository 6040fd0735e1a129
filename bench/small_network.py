"""A network with the schedule of VGG16 and tensors of a few kilobytes."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

BLOCKS = (2, 2, 3, 3, 3)  # convolutions of each block; each block ends by halving the height
HEIGHT = 224
CHANNELS = WIDTH = 12  # the smallest that the default plan finds worth distributing at the last height


def small_vgg() -> bytes:
    """The ONNX file: input `x` of `(1, 12, 224, 12)`, output `y`."""
    rng = np.random.default_rng(7)
    nodes, tensors, value = [], [], "x"
    for block, convolutions in enumerate(BLOCKS, start=1):
        for number in range(1, convolutions + 1):
            name = f"conv{block}_{number}"
            weight = (rng.standard_normal((CHANNELS, CHANNELS, 3, 3)) / np.sqrt(4.5 * CHANNELS)).astype(np.float32)
            tensors += [numpy_helper.from_array(weight, f"{name}.w")]
            tensors += [numpy_helper.from_array(np.zeros(CHANNELS, np.float32), f"{name}.b")]
            nodes.append(
                helper.make_node("Conv", [value, f"{name}.w", f"{name}.b"], [name], name=name, pads=[1, 1, 1, 1])
            )
            nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"]))
            value = f"{name}.relu"
        if block < len(BLOCKS):
            # Only the height shrinks, and the width stays small from the start.
            nodes.append(helper.make_node("MaxPool", [value], [f"pool{block}"], kernel_shape=[2, 1], strides=[2, 1]))
            value = f"pool{block}"
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["y"]))
    graph = helper.make_graph(
        nodes,
        "small-vgg",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, CHANNELS, 1, 1])],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data
