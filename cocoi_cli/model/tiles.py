"""Making a segment ready to be computed tile by tile: the programs that agents run, and which tile needs which.

A program does not know how many rows its tile has, only where the tile touches the border of the picture: there
each layer inside has its padding, elsewhere the rows come with the tile. So all tiles inside the picture share
one program, and equal segments of one model do. Weights are inputs, shared by all programs of a segment.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cocoi_cli.model.convolution import read_taps
from cocoi_cli.model.fold import evaluate
from cocoi_cli.model.graph import attributes, is_default
from cocoi_cli.model.network import FusedStage, Tile
from cocoi_cli.model.tile_program import Template, TileGeometry, TileNode, program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from numpy.typing import NDArray

    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.row_ranges import RowGraph, Rows, Step
    from cocoi_cli.model.segments import Segment

# What an operator does depends on the values of these operands, so they cannot come with a run.
_CONFIGURED = ("Resize", "Upsample", "Clip", "Dropout")


def fuse(prepared: Prepared, segment: Segment, tiles: int, transport: str, reply: str) -> FusedStage:
    """Cut a segment into tiles and write their programs.

    Args:
        prepared: The model that the segment was found in; not written.
        segment: What is to be computed.
        tiles: How many; there are never more than rows of the output.
        transport: What tiles travel as, `f16` or `f32`.
        reply: What answers travel as, `f16` or `f32`.

    Raises:
        ValueError: `tiles` is below 1, or a type is neither `f16` nor `f32`.
        RefusedModelError: ONNX Runtime cannot compute a weight.
    """
    for word in (transport, reply):
        if word not in ("f16", "f32"):
            raise ValueError(f"transport `{word}` is neither `f16` nor `f32`")
    template, weights = _template(prepared, segment)
    numbers: dict[TileGeometry, int] = {}
    placed = []
    for rows in segment.cut(tiles):
        held = segment.rows.held(rows)
        number = numbers.setdefault(_geometry(segment.rows, rows, held), len(numbers))
        placed.append(Tile(rows.first, rows.last, held[0].first, held[0].last, number))
    return FusedStage(
        name=segment.name,
        layers=segment.layers,
        input=segment.input,
        output=segment.output,
        input_shape=segment.input_shape,
        output_shape=segment.output_shape,
        tiles=tuple(placed),
        programs=tuple(program(template, geometry, transport, reply) for geometry in numbers),
        host_programs=tuple(program(template, geometry, "f32", "f32") for geometry in numbers),
        whole=program(template, None, "f32", "f32"),
        weights=weights,
    )


def _geometry(graph: RowGraph, rows: Rows, held: tuple[Rows, ...]) -> TileGeometry:
    """Where a tile touches the border, and which rows are dropped on the way."""
    pads, trims = [], []
    for number, step in enumerate(graph.steps):
        needed = step.window.needs(held[number + 1])
        length = graph.lengths[step.inputs[0]]
        pads.append((max(-needed.first, 0), max(needed.last - length, 0)))
        trims.append(tuple(_trim(held[tensor], needed, length) for tensor in step.inputs))
    return TileGeometry(tuple(pads), tuple(trims), _trim(held[-1], rows, graph.lengths[-1]))


def _trim(held: Rows, needed: Rows, length: int) -> tuple[int, int]:
    """Rows to drop before and behind."""
    return max(needed.first, 0) - held.first, held.last - min(needed.last, length)


@dataclass(slots=True)
class _Constants:
    """Names for the constants of a segment: weights are inputs, what configures an operator is built in."""

    values: Mapping[str, NDArray[Any]]
    weights: dict[str, NDArray[np.float32]]
    built_in: dict[str, TensorProto]
    names: dict[str, str]

    def name(self, constant: str, operator: str) -> str:
        """The name of a constant in the programs."""
        values = self.values[constant]
        key = f"{constant} built in" if operator in _CONFIGURED or values.dtype != np.float32 else constant
        if key not in self.names:
            if key == constant and values.size > 1:
                self.names[key] = f"w{len(self.weights)}"
                self.weights[self.names[key]] = np.ascontiguousarray(values, np.float32)
            else:
                self.names[key] = f"c{len(self.built_in)}"
                self.built_in[self.names[key]] = numpy_helper.from_array(values, self.names[key])
        return self.names[key]


def _template(prepared: Prepared, segment: Segment) -> tuple[Template, dict[str, NDArray[np.float32]]]:
    """The segment's nodes under names that depend on their order alone, and its weights."""
    nodes = [prepared.graph.nodes[index] for index in segment.nodes]
    made = [segment.input, *(name for node in nodes for name in node.output if name)]
    tensors = {name: f"t{number}" for number, name in enumerate(made)}
    operands = dict.fromkeys(name for node in nodes for name in node.input if name and name not in tensors)
    constants = _Constants(_values(prepared, operands), {}, {}, {})
    written = []
    for node, step, outgoing in zip(nodes, segment.rows.steps, made[1:], strict=True):
        inputs = [tensors.get(name) or constants.name(name, node.op_type) if name else "" for name in node.input]
        written.append(_tile_node(prepared, node, inputs, tensors[outgoing], step))
    template = Template(
        opset=prepared.graph.opset,
        axes=len(segment.input_shape),
        nodes=tuple(written),
        weights={name: values.ndim for name, values in constants.weights.items()},
        built_in=tuple(constants.built_in.values()),
    )
    return template, constants.weights


def _tile_node(prepared: Prepared, node: NodeProto, inputs: list[str], output: str, step: Step) -> TileNode:
    """A node under other names, without its own, which would make the programs of equal segments differ."""
    copy = NodeProto(op_type=node.op_type, input=inputs, output=[output], attribute=node.attribute)
    taps = None
    if is_default(node, "Conv", "MaxPool", "AveragePool"):
        kernel, spatial = _kernel(prepared, node), _sizes(prepared, node.input[0])[2:]
        taps = read_taps(node, kernel, spatial)
        if "kernel_shape" not in attributes(node):
            copy.attribute.append(helper.make_attribute("kernel_shape", kernel))
    return TileNode(copy, tuple(f"t{tensor}" for tensor in step.inputs), taps)


def _kernel(prepared: Prepared, node: NodeProto) -> tuple[int, ...]:
    if is_default(node, "Conv"):
        return tuple(prepared.graph.constants[node.input[1]].dims[2:])
    return tuple(attributes(node)["kernel_shape"])


def _sizes(prepared: Prepared, tensor: str) -> tuple[int, ...]:
    return tuple(item.dim_value for item in prepared.types[tensor].tensor_type.shape.dim)


def _values(prepared: Prepared, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Values of constants, and of what follows from constants alone."""
    graph = prepared.graph
    known, computed = {}, []
    for name in names:
        if name in graph.constants:
            known[name] = graph.array(name)
        else:
            computed.append(name)
    return {**known, **evaluate(graph, computed)}
