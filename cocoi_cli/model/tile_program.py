"""The ONNX program of one kind of tile."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cocoi_cli.model.fold import rewired
from cocoi_cli.model.row_operators import ROW_AXIS
from cocoi_cli.model.slices import PROGRAM_IR_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.convolution import Taps

_END = np.iinfo(np.int64).max
_SLICE_TAKES_INPUTS = 10  # operator set from which on a Slice has its bounds as inputs


@dataclass(frozen=True, slots=True)
class TileGeometry:
    """What distinguishes the tiles of a segment, beside their height.

    Attributes:
        pads: For each step the rows of padding before and behind.
        trims: For each step and each tensor that it reads the rows that it drops before and behind.
        last: Rows of the output that are dropped before and behind.
    """

    pads: tuple[tuple[int, int], ...]
    trims: tuple[tuple[tuple[int, int], ...], ...]
    last: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TileNode:
    """A node of a segment.

    Attributes:
        proto: The `NodeProto` under the names of the template; padding as in the graph.
        reads: The tensors among its inputs that have rows, each once.
        taps: Of a convolution or pooling, resolved for the whole picture.
    """

    proto: NodeProto = field(repr=False)
    reads: tuple[str, ...]
    taps: Taps | None


@dataclass(frozen=True, slots=True)
class Template:
    """A segment ready to be written for any tile: tensor `t0` is its input, node `i` makes `t<i + 1>`.

    Attributes:
        opset: Version of the default operator set.
        axes: Of every tensor with rows.
        nodes: In execution order.
        weights: Name of each weight to its number of axes.
        built_in: `TensorProto` of the other constants.
    """

    opset: int
    axes: int
    nodes: tuple[TileNode, ...]
    weights: Mapping[str, int]
    built_in: tuple[TensorProto, ...] = field(repr=False)


def program(template: Template, geometry: TileGeometry | None, transport: str, reply: str) -> bytes:
    """Serialise the program of one kind of tile.

    Inputs are `x` `(batch, channels, rows, …)`, float16 or float32 by the transport, and the weights in float32.
    Outputs are `y32`, float32, and for a reply in `f16` first `y16`, the same in float16. The same template and
    geometry give the same bytes.

    Args:
        template: The segment.
        geometry: The kind of tile; None for the whole picture at any size.
        transport: `f16` or `f32`.
        reply: `f16` or `f32`.
    """
    half, last = transport == "f16", (0, 0) if geometry is None else geometry.last
    writer = _Writer(template, "t0" if half else "x", "y32" if last == (0, 0) else "y")
    if half:
        writer.nodes.append(helper.make_node("Cast", ["x"], ["t0"], to=TensorProto.FLOAT))
    for number, node in enumerate(template.nodes):
        writer.write(node, None if geometry is None else (geometry.pads[number], geometry.trims[number]))
    if last != (0, 0):
        writer.slice("y", last, "y32")
    outputs = [_tensor("y32", TensorProto.FLOAT, template.axes)]
    if reply == "f16":
        writer.nodes.append(helper.make_node("Cast", ["y32"], ["y16"], to=TensorProto.FLOAT16))
        outputs.insert(0, _tensor("y16", TensorProto.FLOAT16, template.axes))
    inputs = [
        _tensor("x", TensorProto.FLOAT16 if half else TensorProto.FLOAT, template.axes),
        *(_tensor(name, TensorProto.FLOAT, axes) for name, axes in template.weights.items()),
    ]
    graph = helper.make_graph(writer.nodes, "tile", inputs, outputs, [*template.built_in, *writer.bounds.values()])
    opset = [helper.make_opsetid("", template.opset)]
    model = onnx.ModelProto(ir_version=PROGRAM_IR_VERSION, opset_import=opset, graph=graph)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


class _Writer:
    """The nodes of one program as they are written."""

    def __init__(self, template: Template, first: str, last: str) -> None:
        """Begin with a segment whose input and output have these names."""
        self.nodes: list[NodeProto] = []
        self.bounds: dict[str, TensorProto] = {}
        self._opset = template.opset
        self._names = {"t0": first, f"t{len(template.nodes)}": last}
        self._slices: dict[tuple[str, tuple[int, int]], str] = {}

    def write(self, node: TileNode, at: tuple[tuple[int, int], tuple[tuple[int, int], ...]] | None) -> None:
        """Append a node of the template, with the padding and the rows that a tile has there."""
        names = dict(self._names)
        if at is not None:
            for tensor, trim in zip(node.reads, at[1], strict=True):
                names[tensor] = self._trimmed(names.get(tensor, tensor), trim)
        inputs = [names.get(name, name) for name in node.proto.input]
        copy = rewired(node.proto, inputs, [self._names.get(name, name) for name in node.proto.output])
        if at is not None and node.taps is not None:
            _pad(copy, node.taps, at[0])
        self.nodes.append(copy)

    def slice(self, tensor: str, trim: tuple[int, int], result: str) -> None:
        """Append a node that drops rows before and behind."""
        starts, ends = [trim[0]], [-trim[1] if trim[1] else _END]
        if self._opset < _SLICE_TAKES_INPUTS:
            self.nodes.append(helper.make_node("Slice", [tensor], [result], starts=starts, ends=ends, axes=[ROW_AXIS]))
            return
        operands = [self._bound(values[0]) for values in (starts, ends, [ROW_AXIS])]
        self.nodes.append(helper.make_node("Slice", [tensor, *operands], [result]))

    def _trimmed(self, tensor: str, trim: tuple[int, int]) -> str:
        """A tensor without some rows, made once."""
        if trim == (0, 0):
            return tensor
        if (tensor, trim) not in self._slices:
            result = f"{tensor}_{trim[0]}_{trim[1]}"
            self.slice(tensor, trim, result)
            self._slices[tensor, trim] = result
        return self._slices[tensor, trim]

    def _bound(self, value: int) -> str:
        """The name of a constant of one integer."""
        name = f"bound_{value}"
        if name not in self.bounds:
            self.bounds[name] = numpy_helper.from_array(np.array([value], np.int64), name)
        return name


def _pad(node: NodeProto, taps: Taps, rows: tuple[int, int]) -> None:
    """Set the padding: of the tile on the row axis, of the picture on the others."""
    kept = [item for item in node.attribute if item.name not in ("auto_pad", "pads")]
    del node.attribute[:]
    node.attribute.extend(kept)
    pads = [rows[0], *taps.pads_begin[1:], rows[1], *taps.pads_end[1:]]
    node.attribute.append(helper.make_attribute("pads", pads))


def _tensor(name: str, element: int, axes: int) -> onnx.ValueInfoProto:
    """A tensor of any size. Sizes have no names: before operator set 11 a Slice is said to keep those of its input."""
    return helper.make_tensor_value_info(name, element, [None] * axes)
