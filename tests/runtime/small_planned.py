"""Small networks shaped like VGG and ResNet, and plans for them: fused, coded, hedged, with shares of the host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from cocoi_cli.model.layers import Prepared
from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.model.segments import Segment, segment_between
from cocoi_cli.planning.plan import FUSED, LOCAL, ConvPlan, Plan, SegmentPlan

SIZE = 32


class _Graph:
    """Nodes one after another, with random weights."""

    def __init__(self) -> None:
        self.nodes: list = []
        self.weights: list[TensorProto] = []
        self._rng = np.random.default_rng(9)

    def conv(self, x: str, y: str, into: int, out: int, *, kernel: int = 3, stride: int = 1) -> str:
        values = self._rng.standard_normal((out, into, kernel, kernel)) / np.sqrt(into * kernel**2)
        bias = self._rng.standard_normal(out) / 4
        self.weights += [
            numpy_helper.from_array(values.astype(np.float32), f"w_{y}"),
            numpy_helper.from_array(bias.astype(np.float32), f"b_{y}"),
        ]
        pads, strides = [kernel // 2] * 4, [stride] * 2
        self.nodes.append(helper.make_node("Conv", [x, f"w_{y}", f"b_{y}"], [y], name=y, pads=pads, strides=strides))
        return y

    def node(self, kind: str, inputs: list[str], y: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [y], **attributes))
        return y

    def proto(self) -> ModelProto:
        ends = [
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 10])],
        ]
        graph = helper.make_graph(self.nodes, "net", *ends, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _end(graph: _Graph, x: str) -> ModelProto:
    graph.node("GlobalAveragePool", [x], "pooled")
    graph.node("Flatten", ["pooled"], "logits")
    return graph.proto()


def like_vgg() -> ModelProto:
    """Two convolutions and a pool, the same again, one convolution more."""
    graph = _Graph()
    x = graph.node("Relu", [graph.conv("image", "c1", 3, 16)], "r1")
    x = graph.node("Relu", [graph.conv(x, "c2", 16, 16)], "r2")
    x = graph.node("MaxPool", [x], "p1", kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Relu", [graph.conv(x, "c3", 16, 24)], "r3")
    x = graph.node("Relu", [graph.conv(x, "c4", 24, 24)], "r4")
    return _end(graph, graph.conv(x, "c5", 24, 10))


def like_resnet() -> ModelProto:
    """A stem, a residual block, a block with a projection, one convolution more."""
    graph = _Graph()
    x = graph.node("Relu", [graph.conv("image", "c1", 3, 16)], "p1")
    y = graph.node("Relu", [graph.conv(x, "c2", 16, 16)], "r2")
    y = graph.node("Add", [graph.conv(y, "c3", 16, 16), x], "s1")
    x = graph.node("Relu", [y], "r3")
    y = graph.conv(x, "c4", 16, 24, kernel=3, stride=2)
    z = graph.conv(x, "c6", 16, 24, kernel=1, stride=2)
    x = graph.node("Relu", [graph.node("Add", [y, z], "s2")], "r4")
    return _end(graph, graph.conv(x, "c5", 24, 10))


KINDS = {"vgg": (like_vgg, "image", "p1"), "resnet": (like_resnet, "p1", "r3")}


def planned_network(folder: Path, kind: str) -> LoadedModel:
    """Write and load one of `KINDS`."""
    path = folder / f"{kind}.onnx"
    path.write_bytes(KINDS[kind][0]().SerializeToString())
    return load_model(path)


def input_of(seed: int = 4) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).standard_normal((1, 3, SIZE, SIZE)).astype(np.float32)}


def segment_of(prepared: Prepared, kind: str) -> Segment:
    """The run of layers that is fused in the plans."""
    _, start, end = KINDS[kind]
    return segment_between(prepared, start, end)


def rich_plan(prepared: Prepared, kind: str, *, n: int, transport: str = "f32", host: bool = True) -> Plan:
    """A fused segment; the layers after it coded, hedged and local in turn, with a share of the host."""
    segment = segment_of(prepared, kind)
    tiles = SegmentPlan(
        *(segment.name, segment.layers, segment.input, segment.output, 5, n, transport, "early and wide"), host=host
    )
    layers, turn = [], 0
    for layer in prepared.layers:
        if layer.name in segment.layers:
            layers.append(
                ConvPlan(layer.name, FUSED, 0, 0, 0, 0, transport, f"inside {segment.name}", segment=segment.name)
            )
            continue
        scheme, k, strips = (("coded", n - 1, 2), ("hedged", 1, 4), (LOCAL, 0, 0))[turn % 3]
        turn += 1
        shape = (0, 0, 0, 0) if scheme == LOCAL else (n, k, 2, strips)
        layers.append(
            ConvPlan(layer.name, scheme, *shape, transport, f"{scheme} in turn", host=host and scheme != LOCAL)
        )
    return Plan("auto", n, n - 1, transport, tuple(layers), (tiles,))
