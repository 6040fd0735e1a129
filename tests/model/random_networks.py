"""Small random CNNs: every attribute a convolution may have, in random company."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 19, 21, 22)


@dataclass(frozen=True)
class Tensor:
    """A tensor under construction: `(batch, channels, *spatial)`."""

    name: str
    channels: int
    spatial: tuple[int, ...]


def random_network(seed: int) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A model that ONNX Runtime runs, and arrays for its inputs; the same for the same seed."""
    builder = _Builder(np.random.default_rng(seed))
    return builder.build()


def dtype_of(model: onnx.ModelProto) -> np.dtype:
    """The type a random network computes in."""
    return helper.tensor_dtype_to_np_dtype(model.graph.output[0].type.tensor_type.elem_type)


class _Builder:
    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.opset = int(rng.choice(OPSETS))
        self.half = bool(rng.random() < 0.2)
        self.batch = int(rng.choice((1, 1, 2, 3)))
        self.axes = int(rng.choice((1, 2, 2, 2, 2, 2, 2, 3)))
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.arrays: dict[str, np.ndarray] = {}
        self.count = 0

    @property
    def dtype(self) -> type:
        return np.float16 if self.half else np.float32

    @property
    def element(self) -> int:
        return TensorProto.FLOAT16 if self.half else TensorProto.FLOAT

    def build(self) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
        rng = self.rng
        x = self.graph_input()
        outputs = []
        for _ in range(int(rng.integers(2, 5))):
            block = rng.choice((self.plain, self.plain, self.residual, self.branches, self.pooled, self.two_inputs))
            x = block(x)
            if rng.random() < 0.15:
                outputs.append(x)
        outputs.append(self.convolution(x) if rng.random() < 0.3 else self.head(x))
        names = dict.fromkeys(item.name for item in outputs)
        graph = helper.make_graph(
            self.nodes,
            "random",
            self.inputs + ([] if self.opset > 8 else [self.value_of(item) for item in self.initializers]),
            [helper.make_tensor_value_info(name, self.element, None) for name in names],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 3 if self.opset <= 8 else 8
        return model, self.arrays

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def value_of(self, item: onnx.TensorProto) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(item.name, item.data_type, item.dims)

    def node(self, kind: str, inputs: list[str], **attributes: object) -> str:
        output = self.name(kind.lower())
        label = "" if self.rng.random() < 0.2 else f"{kind}_{output}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=label, **attributes))
        return output

    def initializer(self, values: np.ndarray) -> str:
        name = self.name("w")
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def graph_input(self) -> Tensor:
        rng = self.rng
        name = self.name("input")
        channels = int(rng.integers(1, 5))
        spatial = tuple(int(size) for size in rng.integers(6, 21 if self.axes < 3 else 9, self.axes))
        shape = (self.batch, channels, *spatial)
        last = rng.random() < 0.25
        if last:
            shape = (shape[0], *shape[2:], shape[1])
        self.arrays[name] = rng.standard_normal(shape).astype(self.dtype)
        declared = [f"{name}_{at}" if rng.random() < 0.3 else size for at, size in enumerate(shape)]
        declared[-1 if last else 1] = channels
        self.inputs.append(helper.make_tensor_value_info(name, self.element, declared))
        if last:
            name = self.node("Transpose", [name], perm=[0, self.axes + 1, *range(1, self.axes + 1)])
        return Tensor(name, channels, spatial)

    def plain(self, x: Tensor) -> Tensor:
        return self.activation(self.normalised(self.convolution(x)))

    def residual(self, x: Tensor) -> Tensor:
        y = self.activation(self.normalised(self.same(x, x.channels)))
        y = self.same(y, x.channels)
        order = [x.name, y.name] if self.rng.random() < 0.5 else [y.name, x.name]
        return self.activation(Tensor(self.node("Add", order), x.channels, x.spatial))

    def branches(self, x: Tensor) -> Tensor:
        parts = [self.same(x, int(self.rng.integers(1, 5))) for _ in range(int(self.rng.integers(2, 4)))]
        parts = [self.activation(part) if self.rng.random() < 0.5 else part for part in parts]
        joined = self.node("Concat", [part.name for part in parts], axis=1)
        return Tensor(joined, sum(part.channels for part in parts), x.spatial)

    def two_inputs(self, x: Tensor) -> Tensor:
        other = self.graph_input()
        pooled = self.node("GlobalAveragePool", [self.convolution(other, x.channels).name])
        return Tensor(self.node("Mul" if self.rng.random() < 0.5 else "Add", [x.name, pooled]), x.channels, x.spatial)

    def pooled(self, x: Tensor) -> Tensor:
        if min(x.spatial) < 4:
            return self.plain(x)
        kind = str(self.rng.choice(("MaxPool", "AveragePool")))
        name = self.node(kind, [x.name], kernel_shape=[2] * self.axes, strides=[2] * self.axes)
        return self.plain(Tensor(name, x.channels, tuple((size - 2) // 2 + 1 for size in x.spatial)))

    def head(self, x: Tensor) -> Tensor:
        name = self.node("Flatten", [self.node("GlobalAveragePool", [self.convolution(x).name])])
        return Tensor(self.node("Softmax", [name], axis=1), x.channels, ())

    def activation(self, x: Tensor) -> Tensor:
        kind = str(self.rng.choice(("Relu", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "")))
        return Tensor(self.node(kind, [x.name]), x.channels, x.spatial) if kind else x

    def normalised(self, x: Tensor) -> Tensor:
        if self.rng.random() < 0.6:
            return x
        rng, size = self.rng, x.channels
        values = [rng.uniform(0.5, 1.5, size), rng.normal(size=size), rng.normal(size=size), rng.uniform(0.5, 2, size)]
        names = [self.initializer(item.astype(self.dtype)) for item in values]
        return Tensor(self.node("BatchNormalization", [x.name, *names], epsilon=1e-3), size, x.spatial)

    def same(self, x: Tensor, channels: int) -> Tensor:
        """A convolution that keeps the map's size."""
        kernel = [int(size) for size in self.rng.choice((1, 3, 3, 5), self.axes)]
        if self.rng.random() < 0.3:
            automatic = str(self.rng.choice(("SAME_UPPER", "SAME_LOWER")))
            return self.conv_node(x, channels, kernel, {"auto_pad": automatic}, x.spatial)
        dilations = [int(size) for size in self.rng.choice((1, 1, 2), self.axes)]
        total = [dilation * (size - 1) for dilation, size in zip(dilations, kernel, strict=True)]
        begin = [int(self.rng.integers(0, size + 1)) for size in total]
        pads = [*begin, *(size - first for size, first in zip(total, begin, strict=True))]
        return self.conv_node(x, channels, kernel, {"pads": pads, "dilations": dilations}, x.spatial)

    def convolution(self, x: Tensor, channels: int = 0) -> Tensor:
        """A convolution with any attributes that leave something of the map."""
        rng = self.rng
        channels = channels or int(rng.integers(1, 9))
        strides = [int(size) for size in rng.choice((1, 1, 1, 2, 3), self.axes)]
        automatic = str(rng.choice(("", "", "", "VALID", "SAME_UPPER", "SAME_LOWER")))
        if automatic.startswith("SAME"):
            kernel = [int(size) for size in rng.integers(1, 6, self.axes)]
            spatial = tuple(-(-size // stride) for size, stride in zip(x.spatial, strides, strict=True))
            return self.conv_node(x, channels, kernel, {"auto_pad": automatic, "strides": strides}, spatial)
        pads = [0] * (2 * self.axes) if automatic else [int(size) for size in rng.integers(0, 3, 2 * self.axes)]
        kernel, dilations, spatial = [], [], []
        for axis, size in enumerate(x.spatial):
            padded = size + pads[axis] + pads[axis + self.axes]
            kernel.append(int(rng.integers(1, min(padded, 7) + 1)))
            fits = kernel[-1] == 1 or 2 * (kernel[-1] - 1) < padded
            dilations.append(int(rng.choice((1, 2))) if fits else 1)
            spatial.append((padded - dilations[-1] * (kernel[-1] - 1) - 1) // strides[axis] + 1)
        attributes: dict[str, object] = {"strides": strides, "dilations": dilations}
        attributes.update({"auto_pad": automatic} if automatic else {"pads": pads})
        return self.conv_node(x, channels, kernel, attributes, tuple(spatial))

    def conv_node(
        self, x: Tensor, channels: int, kernel: list[int], attributes: dict[str, object], spatial: tuple[int, ...]
    ) -> Tensor:
        rng = self.rng
        group = int(
            rng.choice([size for size in range(1, x.channels + 1) if x.channels % size == channels % size == 0])
        )
        shape = (channels, x.channels // group, *kernel)
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
        inputs = [x.name, self.weight(values)]
        if rng.random() < 0.6:
            inputs.append(self.initializer(rng.standard_normal(channels).astype(self.dtype)))
        if rng.random() < 0.5:
            attributes = {**attributes, "kernel_shape": kernel}
        return Tensor(self.node("Conv", inputs, group=group, **attributes), channels, spatial)

    def weight(self, values: np.ndarray) -> str:
        """Weights, stored in one of the ways exporters have."""
        way = str(
            self.rng.choice(("initializer", "initializer", "constant", "cast", "transpose", "dequantize", "fill"))
        )
        if way == "constant":
            return self.node("Constant", [], value=numpy_helper.from_array(values.astype(self.dtype)))
        if way == "cast" and not self.half:
            return self.node("Cast", [self.initializer(values.astype(np.float16))], to=TensorProto.FLOAT)
        if way == "transpose":
            order = list(range(values.ndim))[::-1]
            return self.node("Transpose", [self.initializer(values.astype(self.dtype).transpose())], perm=order)
        if way == "dequantize" and self.opset >= 13 and not self.half:
            levels = np.clip(np.round(values * 50), -127, 127).astype(np.int8)
            scale = self.initializer(np.float32(0.02) * np.ones(()).astype(np.float32))
            return self.node("DequantizeLinear", [self.initializer(levels), scale])
        if way == "fill" and self.opset >= 9:
            fill = numpy_helper.from_array(np.full(1, 1 / np.prod(values.shape[1:]), self.dtype))
            return self.node("ConstantOfShape", [self.initializer(np.array(values.shape, np.int64))], value=fill)
        return self.initializer(values.astype(self.dtype))
