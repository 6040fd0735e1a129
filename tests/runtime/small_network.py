"""A small network to infer with: two convolutions, a residual addition, a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import LoadedModel


def small_network(folder: Path, *, size: int = 40, channels: int = 8) -> LoadedModel:
    """Write it into `folder` and load it; input `image` `(1, 3, size, size)`, output `logits` `(1, 5)`."""
    path = folder / f"small_{size}_{channels}.onnx"
    path.write_bytes(small_proto(size, channels).SerializeToString())
    return load_model(path)


def small_proto(size: int, channels: int) -> ModelProto:
    rng = np.random.default_rng(5)

    def weights(name: str, *shape: int) -> TensorProto:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "r1"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], name="conv3", strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c3"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 5])],
        [
            weights("w1", channels, 3, 3, 3),
            weights("b1", channels),
            weights("w2", channels, channels, 3, 3),
            weights("b2", channels),
            weights("w3", 5, channels, 3, 3),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def picture(size: int = 40, seed: int = 3) -> dict[str, np.ndarray]:
    """An input for it."""
    return {"image": np.random.default_rng(seed).standard_normal((1, 3, size, size)).astype(np.float32)}
