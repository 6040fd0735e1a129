"""Which operators can be computed row by row, and through which window their rows depend on each other.

What is not listed here reads all rows (InstanceNormalization, GlobalAveragePool), moves them (Transpose,
Reshape) or has not been needed; it ends a segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto

from cocoi_cli.model.convolution import BadAttributeError, read_taps
from cocoi_cli.model.fold import infers
from cocoi_cli.model.geometry import kernel_extent
from cocoi_cli.model.graph import attributes, is_default
from cocoi_cli.model.row_ranges import Rows, Window
from cocoi_cli.model.shapes import known_shape
from cocoi_cli.model.value_sizes import sized_by_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from onnx import NodeProto

    from cocoi_cli.model.convolution import Taps
    from cocoi_cli.model.graph import Graph
    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import ConvSpec, Shape

ROW_AXIS = 2  # height, or the only spatial axis

# One row of the input makes the same row of the output; whatever else they read is constant.
_SINGLE = (
    *("Abs", "Celu", "Ceil", "Clip", "Dropout", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"),
    *("Identity", "LeakyRelu", "Log", "LRN", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid"),
    *("Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
)
# The same for several operands, which are broadcast.
_BROADCAST = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "PRelu", "Sub", "Sum")
# Both give input row `i // factor` at output row `i` for every whole factor.
_NEAREST = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))


@dataclass(frozen=True, slots=True)
class RowReader:
    """What the windows of a graph's operators are read from.

    Attributes:
        graph: The folded graph.
        constants: Shape of every dense constant and of every tensor that follows from constants.
        shapes: Shape of every other float32 tensor with batch, channels and at least one spatial axis.
        specs: Index of a node to the convolution it is, where nothing stands in its way.
    """

    graph: Graph
    constants: Mapping[str, Shape]
    shapes: Mapping[str, Shape]
    specs: Mapping[int, ConvSpec]

    @classmethod
    def of(cls, prepared: Prepared) -> RowReader:
        """Look up what is known of a prepared model."""
        graph, types, unsettled = prepared.graph, prepared.types, sized_by_values(prepared.graph)
        dense = (item for item in graph.constants.items() if isinstance(item[1], TensorProto))
        constants = {name: tuple(constant.dims) for name, constant in dense}
        made = [name for index in graph.constant_nodes() for name in graph.nodes[index].output if name]
        constants.update({name: shape for name in made if (shape := known_shape(types.get(name))) is not None})
        shapes = {}
        for name, kind in types.items():
            shape = known_shape(kind)
            if shape is None or name in unsettled or name in constants:
                continue
            if len(shape) > ROW_AXIS and min(shape) > 0 and kind.tensor_type.elem_type == TensorProto.FLOAT:
                shapes[name] = shape
        specs = {
            prepared.nodes[layer.name]: layer.spec
            for layer in prepared.layers
            if layer.obstacle is None and layer.spec is not None
        }
        return cls(graph, constants, shapes, specs)

    def moving(self, node: NodeProto) -> tuple[str, ...]:
        """The tensors a node reads that are not constant, each once."""
        return tuple(dict.fromkeys(name for name in node.input if name and name not in self.constants))

    def window(self, index: int) -> Window | None:
        """The window of a node on its rows; None where it cannot be computed row by row."""
        node = self.graph.nodes[index]
        moving, results = self.moving(node), [name for name in node.output if name]
        if not moving or len(results) != 1 or not all(name in self.shapes for name in (*moving, *results)):
            return None
        out = self.shapes[results[0]]
        if any(len(self.shapes[name]) != len(out) or self.shapes[name][0] != out[0] for name in moving):
            return None
        window = self._window(index, node)
        if window is None:
            return None
        lengths = {self.shapes[name][ROW_AXIS] for name in moving}
        return window if len(lengths) == 1 and window.is_within(lengths.pop(), out[ROW_AXIS]) else None

    def _window(self, index: int, node: NodeProto) -> Window | None:
        """The window by operator, before it is held against the sizes."""
        if is_default(node, *_BROADCAST):
            return Window() if self._broadcasts(node) else None
        if is_default(node, "Concat"):
            axis = int(attributes(node).get("axis", 1))
            return None if axis % len(self.shapes[node.output[0]]) in (0, ROW_AXIS) or self._fixed(node) else Window()
        if self.moving(node) != (node.input[0],):
            return None
        if is_default(node, *_SINGLE) or (is_default(node, "BatchNormalization") and infers(node, self.graph.opset)):
            return Window()
        if is_default(node, "Conv"):
            return _of_convolution(self.specs.get(index))
        if is_default(node, "MaxPool", "AveragePool"):
            return self._of_pooling(node)
        if is_default(node, "DepthToSpace"):
            return Window(repeat=int(attributes(node)["blocksize"]))
        if is_default(node, "SpaceToDepth"):
            block = int(attributes(node)["blocksize"])
            return Window(stride=block, extent=block)
        return self._of_enlargement(node) if is_default(node, "Resize", "Upsample") else None

    def _fixed(self, node: NodeProto) -> bool:
        """Whether a constant is among the inputs: it has all rows, a tile has not."""
        return any(name in self.constants for name in node.input)

    def _broadcasts(self, node: NodeProto) -> bool:
        """Whether the constants among the operands are the same for every row."""
        behind = len(self.shapes[node.output[0]]) - ROW_AXIS  # the row axis, counted from the last
        shapes = [self.constants[name] for name in node.input if name in self.constants]
        if node.op_type == "PRelu" and node.input[0] in self.constants:
            return False
        return all(len(shape) < behind or shape[-behind] == 1 for shape in shapes)

    def _of_pooling(self, node: NodeProto) -> Window | None:
        x, y = self.shapes[node.input[0]], self.shapes[node.output[0]]
        given = attributes(node)
        kernel = tuple(given.get("kernel_shape", ()))
        if len(kernel) != len(x) - ROW_AXIS:
            return None
        try:
            taps = read_taps(node, kernel, x[ROW_AXIS:])
        except BadAttributeError:
            return None
        # What a mean over a window that reaches over the edge counts has changed between versions.
        if node.op_type == "AveragePool" and given.get("ceil_mode", 0) and not _fits_exactly(taps, x[ROW_AXIS:]):
            return None
        window = Window(taps.strides[0], kernel_extent(kernel[0], taps.dilations[0]), taps.pads_begin[0])
        beyond = window.needs(Rows(0, y[ROW_AXIS])).last - x[ROW_AXIS]
        return window if beyond < kernel[0] else None  # ONNX Runtime takes no more padding than that

    def _of_enlargement(self, node: NodeProto) -> Window | None:
        given = attributes(node)
        x, y = self.shapes[node.input[0]], self.shapes[node.output[0]]
        coordinates = given.get("coordinate_transformation_mode", "half_pixel")
        modes = coordinates, given.get("nearest_mode", "round_prefer_floor")
        if given.get("mode", "nearest") != "nearest" or (
            node.op_type == "Resize" and self.graph.opset > 10 and modes not in _NEAREST
        ):
            return None
        repeat = y[ROW_AXIS] // x[ROW_AXIS]
        scales = self._scales(node)
        # Sizes instead of scales would have to be changed for every tile.
        if (len(node.input) > 3 and node.input[3]) or len(scales) != len(x) or scales[ROW_AXIS] != repeat:
            return None
        return Window(repeat=repeat) if scales[0] == scales[1] == 1 and repeat > 0 else None

    def _scales(self, node: NodeProto) -> tuple[float, ...]:
        """The scales of an enlargement; empty where it has none that are constant."""
        given = attributes(node).get("scales")
        if given is not None:
            return tuple(given)
        at = 1 if node.op_type == "Upsample" or self.graph.opset < 11 else 2
        constant = self.graph.constants.get(node.input[at]) if len(node.input) > at else None
        if not isinstance(constant, TensorProto):
            return ()
        return tuple(map(float, np.ravel(self.graph.array(node.input[at]))))


def _of_convolution(spec: ConvSpec | None) -> Window | None:
    if spec is None:
        return None
    return Window(spec.strides[0], kernel_extent(spec.kernel[0], spec.dilations[0]), spec.pads_begin[0])


def _fits_exactly(taps: Taps, spatial: Shape) -> bool:
    """Whether the last window ends at the last padded position on every axis."""
    return all(
        (length + begin + end - kernel_extent(kernel, dilation)) % stride == 0
        for length, kernel, stride, dilation, begin, end in zip(
            spatial, taps.kernel, taps.strides, taps.dilations, taps.pads_begin, taps.pads_end, strict=True
        )
    )
