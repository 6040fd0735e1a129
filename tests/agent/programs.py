"""Small ONNX programs, what they are loaded from, and plain numpy twins."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper

from cocoi_agent.wire.messages import Binding, Load
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import AnyArray, word_of

F32, F16, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def digest_of(data: AnyArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()


def as_bytes(array: AnyArray) -> AnyArray:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).copy()


@dataclass(frozen=True)
class Recipe:
    """A graph and what is bound to it."""

    graph: bytes
    bound: dict[str, AnyArray] = field(default_factory=dict)
    linear: bool = False
    how: str = "input"

    @property
    def blobs(self) -> dict[str, AnyArray]:
        data = [np.frombuffer(self.graph, np.uint8).copy(), *map(as_bytes, self.bound.values())]
        return {digest_of(one): one for one in data}

    @property
    def load(self) -> Load:
        graph = hashlib.sha256(self.graph).hexdigest()
        bindings = tuple(
            Binding(name, digest_of(array), word_of(array.dtype), array.shape, self.how)
            for name, array in self.bound.items()
        )
        return Load(program_id(graph, bindings, linear=self.linear), graph, bindings, linear=self.linear)

    @property
    def program(self) -> str:
        return self.load.program


def model_of(nodes: list, inputs: list, outputs: list, initializers: list | None = None, **more: object) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers or [])
    opsets = [helper.make_opsetid("", 17), *more.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more).SerializeToString()


def info(name: str, kind: int, shape: list | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def conv_graph(kind: int = F16) -> bytes:
    """`x` (float16 or float32) times weights `w`: `y32`, and the same as float16 in `y16`."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=F32),
        helper.make_node("Conv", ["wide", "w"], ["y32"], pads=[0, 1, 0, 1]),
        helper.make_node("Cast", ["y32"], ["y16"], to=F16),
    ]
    inputs = [info("x", kind, ["n", "c", "h", "w"]), info("w", F32, ["o", "i", "a", "b"])]
    return model_of(nodes, inputs, [info("y16", F16, None), info("y32", F32, None)])


def conv(weights: AnyArray, kind: int = F16, how: str = "input") -> Recipe:
    return Recipe(conv_graph(kind), {"w": weights}, linear=True, how=how)


def affine() -> Recipe:
    """`x * x + c`: not linear; two outputs, one of them whole numbers."""
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["square"]),
        helper.make_node("Add", ["square", "c"], ["y"]),
        helper.make_node("Shape", ["x"], ["size"]),
    ]
    return Recipe(
        model_of(nodes, [info("x", F32, None), info("c", F32, [1])], [info("y", F32, None), info("size", I64, None)]),
        {"c": np.array([3.0], np.float32)},
    )


def chain(length: int, size: int = 192) -> Recipe:
    """A long row of matrix products: many nodes, each short, so that terminate can stop it."""
    names = ["x", *(f"t{at}" for at in range(length - 1)), "y"]
    nodes = [helper.make_node("MatMul", [names[at], "w"], [names[at + 1]]) for at in range(length)]
    graph = model_of(nodes, [info("x", F32, [size, size]), info("w", F32, [size, size])], [info("y", F32, None)])
    return Recipe(graph, {"w": np.eye(size, dtype=np.float32)})


def two_inputs() -> Recipe:
    """`a + b`, both brought by the run."""
    node = helper.make_node("Add", ["a", "b"], ["y"])
    inputs = [info("a", F32, ["n", "m"]), info("b", F32, ["n", "m"])]
    return Recipe(model_of([node], inputs, [info("y", F32, None)]), linear=True)


def convolved(x: AnyArray, w: AnyArray) -> AnyArray:
    """The slow twin of `conv`: no padding in height, one column of it in width."""
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (0, 0), (1, 1)))
    rows, columns = x.shape[2] - w.shape[2] + 1, padded.shape[3] - w.shape[3] + 1
    out = np.zeros((x.shape[0], w.shape[0], rows, columns))
    for a in range(w.shape[2]):
        for b in range(w.shape[3]):
            out += np.einsum("nchw,oc->nohw", padded[:, :, a : a + rows, b : b + columns], w[:, :, a, b])
    return out


def conv_chain(channels: int) -> bytes:
    """Two 3x3 convolutions with a ReLU between, weights built in: tensors in between take memory of their own."""
    weights = np.full((channels, channels, 3, 3), 0.01, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"], pads=[1, 1, 1, 1]),
    ]
    x, y = (helper.make_tensor_value_info(name, F32, [1, channels, None, None]) for name in "xy")
    return model_of(nodes, [x], [y], [onnx.numpy_helper.from_array(weights, "w")])
