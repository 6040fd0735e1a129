"""Cutting a prepared model into stages that run in one place or are distributed.

Nodes are dealt into waves: a local stage holds everything that is ready once the convolutions of the
wave before are done, then come the distributed convolutions that wait for nothing else. A segment counts as
one distributed convolution. What depends on constants only joins the stage that first needs it, so large
weights made by small nodes do not travel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import onnx
from onnx import NodeProto, ValueInfoProto

from cocoi_cli.errors import ModelError, UsageError
from cocoi_cli.model.absorbing import absorb
from cocoi_cli.model.contraction import Contracted, check_apart, contract
from cocoi_cli.model.finish import RAW
from cocoi_cli.model.graph import Graph, node_inputs, sub_model
from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.linear import make_linear
from cocoi_cli.model.network import ConvLayer, ConvStage, FusedStage, LocalStage, Network, Stage
from cocoi_cli.model.shapes import any_size

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["Prepared", "cut", "find_layers"]


class UnknownLayerError(UsageError):
    """A plan names a convolution that the model does not have."""

    code: ClassVar[str] = "unknown-layer"

    def __init__(self, layer: str, model: str) -> None:
        super().__init__(f"the model `{model}` has no convolution `{layer}`", layer=layer, model=model)
        self.layer, self.model = layer, model


class LocalLayerError(UsageError):
    """A plan distributes a convolution that must stay on the host."""

    code: ClassVar[str] = "local-layer"

    def __init__(self, layer: str, obstacle: str) -> None:
        super().__init__(f"the convolution `{layer}` cannot be distributed: {obstacle}", layer=layer, obstacle=obstacle)
        self.layer, self.obstacle = layer, obstacle


class UntypedTensorError(ModelError):
    """The type of a tensor between two stages is known neither to ONNX nor to ONNX Runtime."""

    code: ClassVar[str] = "untyped-tensor"

    def __init__(self, tensor: str) -> None:
        super().__init__(f"the type of the tensor `{tensor}` is unknown", tensor=tensor)
        self.tensor = tensor


def cut(prepared: Prepared, distributed: Collection[str], segments: Sequence[FusedStage] = ()) -> Network:
    """Cut a model so that some of its convolutions, and some runs of layers, are stages of their own.

    A constant bias of a distributed convolution, and an activation that alone reads it, become part of its
    stage; a float16 one gives a float32 sum that the next local stage rounds. If nothing is distributed, the
    network is one local stage: the model as it was read.

    Args:
        prepared: The model at known sizes; not written.
        distributed: Names of layers without an obstacle.
        segments: Made by `tiles.fuse` of segments of this model; none holds a distributed layer.

    Raises:
        UnknownLayerError: A name is no layer of the model.
        LocalLayerError: A layer has an obstacle.
        LayerInSegmentError: A layer is distributed alone and in a segment.
        OverlappingSegmentsError: Two segments share an operator.
        UntypedTensorError: A tensor between two stages has no known type.
    """
    layers = {layer.name: layer for layer in prepared.layers}
    for name in distributed:
        if name not in layers:
            raise UnknownLayerError(name, prepared.model.name)
        obstacle = layers[name].obstacle
        if obstacle is not None:
            raise LocalLayerError(name, obstacle)
    check_apart(distributed, segments)
    if not distributed and not segments:
        return _network(prepared, [_whole_model(prepared)])
    chosen = {prepared.nodes[name]: layers[name] for name in distributed}
    contracted = absorb(contract(make_linear(prepared.graph, chosen), segments))
    return _network(prepared, _Cutter(prepared, contracted).stages())


def deal_waves(graph: Graph, distributed: Collection[int]) -> list[int]:
    """The wave of every node; within a wave all local nodes run before all distributed convolutions.

    Args:
        graph: The graph.
        distributed: Indices of the distributed convolutions and of the nodes that stand for segments.
    """
    constant = graph.constant_nodes()
    waves = [0] * len(graph.nodes)
    ready: dict[str, int] = {}  # tensor to the first wave whose local stage may read it
    for index, node in enumerate(graph.nodes):
        if index in constant:
            continue
        waves[index] = max((ready.get(name, 0) for name in node_inputs(node)), default=0)
        after = waves[index] + (index in distributed)
        ready.update(dict.fromkeys(node.output, after))
    consumers = graph.consumers()
    for index in sorted(constant, reverse=True):
        readers = [reader for name in graph.nodes[index].output for reader in consumers.get(name, ())]
        waves[index] = min((waves[reader] for reader in readers), default=0)
    return waves


class _Cutter:
    """One cut: which stage makes each tensor, and which stages read it."""

    def __init__(self, prepared: Prepared, contracted: Contracted) -> None:
        linear = contracted.linear
        self._prepared, self._linear, self._graph = prepared, linear, linear.graph
        self._segments = contracted.segments
        self._apart = {*linear.layers, *contracted.segments}
        self._groups = self._group(deal_waves(linear.graph, self._apart))
        self._group_of = {index: number for number, group in enumerate(self._groups) for index in group}
        self._consumers = linear.graph.consumers()

    def stages(self) -> list[Stage]:
        """All stages in order of execution."""
        found: list[Stage] = []
        locals_before = 0
        for group in self._groups:
            layer = self._linear.layers.get(group[0])
            if layer is not None:
                found.append(self._conv_stage(self._graph.nodes[group[0]], layer))
            elif group[0] in self._segments:
                found.append(self._segments[group[0]])
            else:
                locals_before += 1
                found.append(self._local_stage(f"local {locals_before}", group))
        return found

    def _group(self, waves: list[int]) -> list[list[int]]:
        """Node indices of each stage: the local nodes of a wave together, what is distributed one by one."""
        groups = []
        for wave in range(max(waves) + 1):
            here = [index for index, number in enumerate(waves) if number == wave]
            local = [index for index in here if index not in self._apart]
            groups += [local] if local else []
            groups += [[index] for index in here if index in self._apart]
        return groups

    def _conv_stage(self, node: NodeProto, layer: ConvLayer) -> ConvStage:
        """The stage of a distributed convolution."""
        if layer.spec is None:  # a layer without an obstacle has one
            raise LocalLayerError(layer.name, "its sizes are unknown")
        return ConvStage(
            name=layer.name,
            input=node.input[0],
            output=node.output[0],
            spec=layer.spec,
            weight=np.ascontiguousarray(self._graph.array(node.input[1]), np.float32),
            input_shape=layer.input_shape,
            output_shape=layer.output_shape,
            dtype="float32",
            finish=self._linear.finishes.get(layer.name, RAW),
        )

    def _local_stage(self, name: str, group: list[int]) -> LocalStage:
        """The stage of some nodes that the host runs."""
        nodes = [self._graph.nodes[index] for index in group]
        made = dict.fromkeys(tensor for node in nodes for tensor in node.output if tensor)
        read = dict.fromkeys(tensor for node in nodes for tensor in node_inputs(node))
        inputs = [tensor for tensor in read if tensor not in made and tensor not in self._graph.constants]
        outputs = [tensor for tensor in made if self._is_needed_outside(tensor, group[0])]
        model = sub_model(self._graph, nodes, map(self._value, inputs), map(self._value, outputs))
        # Ranks that ONNX Runtime could tell from fixed sizes it may not be able to tell from open ones.
        inner = (tensor for tensor in made if tensor not in outputs and self._has_rank(tensor))
        model.graph.value_info.extend(map(self._value, inner))
        origins = {self._linear.origins[index] for index in group}
        gone = {layer.name for layer in self._linear.layers.values()}
        return LocalStage(
            name=name,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            model=model.SerializeToString(),
            layers=tuple(
                layer.name
                for layer in self._prepared.layers
                if layer.name not in gone and self._prepared.nodes[layer.name] in origins
            ),
            operators=len(nodes),
        )

    def _is_needed_outside(self, tensor: str, member: int) -> bool:
        """Whether a tensor made in the stage of node `member` is read in another, or leaves the network."""
        here = self._group_of[member]
        return tensor in self._graph.outputs or any(
            self._group_of[reader] != here for reader in self._consumers.get(tensor, ())
        )

    def _has_rank(self, tensor: str) -> bool:
        """Whether something is a tensor whose number of axes is known."""
        kind = self._prepared.types.get(tensor)
        return kind is not None and kind.HasField("tensor_type") and kind.tensor_type.HasField("shape")

    def _value(self, tensor: str) -> ValueInfoProto:
        """A tensor between stages: its type and number of axes, no sizes."""
        if tensor in self._linear.tensors:
            return self._linear.tensors[tensor]
        kind = self._prepared.types.get(tensor)
        if kind is None:
            raise UntypedTensorError(tensor)
        return onnx.ValueInfoProto(name=tensor, type=any_size(kind))


def _whole_model(prepared: Prepared) -> LocalStage:
    """The model as it was read, as one stage."""
    model = prepared.model
    return LocalStage(
        name="local 1",
        inputs=tuple(item.name for item in model.inputs),
        outputs=tuple(item.name for item in model.outputs),
        model=model.proto.SerializeToString(),
        layers=tuple(layer.name for layer in prepared.layers),
        operators=len(model.proto.graph.node),
    )


def _network(prepared: Prepared, stages: list[Stage]) -> Network:
    """The network of these stages."""
    kept = {item.name for item in prepared.model.outputs}
    last_use: dict[str, int] = {}
    for index, stage in enumerate(stages):
        read = stage.inputs if isinstance(stage, LocalStage) else (stage.input,)
        last_use.update({name: index for name in read if name not in kept})
    return Network(model=prepared.model, stages=tuple(stages), layers=prepared.layers, last_use=last_use)
