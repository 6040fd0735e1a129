"""From a model and its plan to the stages of a simulation, in the order in which the coordinator runs them.

The same rule as `model.stages`: a local stage holds everything that is ready once the shared stages of the
wave before are done, then come the shared ones that wait for nothing else; an activation that a convolution
takes along is part of its stage. No weights are touched.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

from cocoi_cli.model.absorbing import activation_behind
from cocoi_cli.model.graph import node_inputs
from cocoi_cli.model.network import Behind
from cocoi_cli.model.segments import segment_between
from cocoi_cli.model.shapes import known_shape
from cocoi_cli.model.weights import FLOAT, read_bytes
from cocoi_cli.planning.loads import after_pass, whole
from cocoi_cli.simulation.shapes import LocalShape, SharedShape, StageShape, conv_shape, segment_shape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onnx import NodeProto

    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.planning.plan import Plan

# Their results are views, or numbers about sizes: nothing is gone over.
_FREE = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Dropout", "Constant"})


def stage_shapes(prepared: Prepared, plan: Plan) -> tuple[StageShape, ...]:
    """The stages of a planned model.

    Args:
        prepared: The model at known sizes; not written.
        plan: One decision per layer.

    Raises:
        UsageError: If a code family refuses what the plan asks of it.
        IllegalSegmentError: If a segment of the plan cannot be computed tile by tile.
    """
    return _Waves(prepared, plan).stages()


def chain_shapes(layers: Sequence[ConvLayer], plan: Plan) -> tuple[StageShape, ...]:
    """The stages of a chain of convolutions, with what the host does behind each that is distributed.

    Args:
        layers: In order; what lies between them is not known, beside `ConvLayer.behind`.
        plan: One decision per layer, without segments.
    """
    stages: list[StageShape] = []
    for place, (layer, decided) in enumerate(zip(layers, plan.layers, strict=True)):
        if not decided.distributed:
            stages.append(LocalShape(layer.name, (whole(layer),), 0.0))
            continue
        stages.append(conv_shape(layer, decided, place))
        if layer.behind is Behind.HOST:
            stages.append(LocalShape(f"after {layer.name}", (), after_pass(layer)))
    return tuple(stages)


def whole_model(prepared: Prepared) -> LocalShape:
    """The unmodified model in one place."""
    counter = _Counter(prepared)
    return counter.local("the whole model", range(len(prepared.graph.nodes)))


class _Counter:
    """What single nodes of a graph cost."""

    def __init__(self, prepared: Prepared) -> None:
        self._graph, self._types = prepared.graph, prepared.types
        self._constant = prepared.graph.constant_nodes()
        self._layers: dict[int, list[ConvLayer]] = defaultdict(list)
        for layer in prepared.layers:
            self._layers[prepared.nodes[layer.name]].append(layer)

    def local(self, name: str, nodes: Iterable[int]) -> LocalShape:
        """These nodes as a local stage."""
        kept = [index for index in nodes if index not in self._constant]
        slices = tuple(whole(layer) for index in kept for layer in self._layers.get(index, ()) if layer.macs)
        return LocalShape(name, slices, float(sum(self._passes(index) for index in kept)))

    def _passes(self, index: int) -> int:
        """Bytes: a node reads and writes its largest tensor once; weights that it reads count too."""
        node = self._graph.nodes[index]
        if node.op_type in _FREE or index in self._layers:
            return 0
        moving = [*(name for name in node_inputs(node) if name not in self._graph.constants), *node.output]
        return read_bytes(self._graph, node) + FLOAT * max((self._elements(name) for name in moving), default=0)

    def _elements(self, name: str) -> int:
        kind = self._types.get(name)
        shape = None if kind is None else known_shape(kind)
        return 0 if shape is None else math.prod(shape)


class _Waves:
    """One plan's stages, wave by wave."""

    def __init__(self, prepared: Prepared, plan: Plan) -> None:
        self._graph = prepared.graph
        self._counter = _Counter(prepared)
        self._places = {layer.name: place for place, layer in enumerate(prepared.layers)}
        layers = {layer.name: layer for layer in prepared.layers}
        self._units: dict[int, SharedShape] = {}  # first node -> what devices compute there
        self._unit_of: dict[int, int] = {}  # node -> first node of its unit
        for chosen in plan.segments:
            segment = segment_between(prepared, chosen.input, chosen.output)
            inside = [layers[name] for name in chosen.layers]
            shape = segment_shape(segment, inside, chosen, min(self._places[name] for name in chosen.layers))
            self._add(shape, sorted(segment.nodes))
        consumers = prepared.graph.consumers()
        for decided in plan.layers:
            if decided.distributed:
                layer = layers[decided.layer]
                shape = conv_shape(layer, decided, self._places[layer.name])
                self._add(shape, self._nodes_of(layer, prepared.nodes[layer.name], consumers))

    def stages(self) -> tuple[StageShape, ...]:
        """Local and shared stages in order; local ones that do nothing are left out."""
        local: dict[int, list[int]] = defaultdict(list)
        shared: dict[int, list[int]] = defaultdict(list)
        ready: dict[str, int] = {}
        entered: dict[int, int] = {}
        constant = self._graph.constant_nodes()
        for index, node in enumerate(self._graph.nodes):
            if index in constant:
                continue
            unit = self._unit_of.get(index)
            if unit is None:
                wave = _wave(node, ready)
                local[wave].append(index)
                ready.update(dict.fromkeys(node.output, wave))
                continue
            if unit not in entered:
                entered[unit] = _wave(node, ready)
                shared[entered[unit]].append(unit)
            ready.update(dict.fromkeys(node.output, entered[unit] + 1))
        return tuple(self._in_order(local, shared))

    def _in_order(self, local: Mapping[int, list[int]], shared: Mapping[int, list[int]]) -> list[StageShape]:
        stages: list[StageShape] = []
        for wave in range(max([*local, *shared], default=-1) + 1):
            here = self._counter.local(f"local {wave + 1}", local.get(wave, ()))
            if here.slices or here.passes:
                stages.append(here)
            stages.extend(self._units[unit] for unit in shared.get(wave, ()))
        return stages

    def _nodes_of(self, layer: ConvLayer, node: int, consumers: Mapping[str, Sequence[int]]) -> list[int]:
        """The convolution of a distributed layer and the activation that it takes along, unless a segment has that."""
        result = self._graph.nodes[node].output[0]
        taken = activation_behind(self._graph, consumers, result) if layer.behind is Behind.JOINED else None
        return [node] if taken is None or taken[0] in self._unit_of else [node, taken[0]]

    def _add(self, shape: SharedShape, nodes: Sequence[int]) -> None:
        self._units[nodes[0]] = shape
        self._unit_of.update(dict.fromkeys(nodes, nodes[0]))


def _wave(node: NodeProto, ready: Mapping[str, int]) -> int:
    return max((ready.get(name, 0) for name in node_inputs(node)), default=0)
