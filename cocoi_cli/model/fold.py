"""Making convolutions plain: constant weights, and BatchNormalization inside them.

A pass takes a `Graph` and returns a new one; messages of the file are not written. Only what a
convolution needs is evaluated: weights of other nodes may be large and stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import NodeProto, numpy_helper

from cocoi_cli.model.graph import Graph, attributes, fresh_name, is_default, node_inputs, sub_model
from cocoi_cli.model.onnxruntime_session import open_session, run_session
from cocoi_cli.model.quantised import is_quantised

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


def fold(graph: Graph) -> Graph:
    """Fold constants into the convolutions of the main graph.

    Weights and biases that are computed from constants (Cast, DequantizeLinear, ConstantOfShape, Reshape,
    Transpose, …) become constants; a BatchNormalization that directly and alone follows a float32
    convolution is folded into it. Quantised groups stay untouched.

    Raises:
        RefusedModelError: ONNX Runtime cannot compute a weight.
    """
    return _fold_normalisations(_fold_weights(graph))


def evaluate(graph: Graph, names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """Values of tensors that depend on constants only, computed by ONNX Runtime in one run.

    Raises:
        RefusedModelError: ONNX Runtime cannot compute them.
    """
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    outputs = [onnx.ValueInfoProto(name=name) for name in wanted]
    model = sub_model(graph, ancestors(graph, wanted), [], outputs)
    session = open_session(model.SerializeToString(), threads=1, optimise=False)
    return dict(zip(wanted, run_session(session, wanted, {}), strict=True))


def ancestors(graph: Graph, names: Iterable[str]) -> list[NodeProto]:
    """The nodes that some tensors depend on, in execution order."""
    needed = set(names)
    found = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.output):
            found.append(node)
            needed.update(node_inputs(node))
    return found[::-1]


def _fold_weights(graph: Graph) -> Graph:
    """Replace computed weights and biases of convolutions by constants."""
    producers, consumers = graph.producers(), graph.consumers()
    constant = graph.constant_nodes()
    convolutions = [
        index
        for index, node in enumerate(graph.nodes)
        if is_default(node, "Conv") and not is_quantised(graph, node, producers, consumers)
    ]
    computed = [
        name
        for index in convolutions
        for name in graph.nodes[index].input[1:]
        if name in producers and producers[name] in constant
    ]
    if not computed:
        return graph
    taken = graph.names()
    names: dict[str, str] = {}
    constants = dict(graph.constants)
    for name, values in evaluate(graph, computed).items():
        names[name] = fresh_name(f"{name}_folded", taken.__contains__)
        taken.add(names[name])
        constants[names[name]] = numpy_helper.from_array(values, names[name])
    nodes = list(graph.nodes)
    for index in convolutions:
        node = nodes[index]
        nodes[index] = rewired(node, inputs=[node.input[0], *(names.get(name, name) for name in node.input[1:])])
    return without_dead_constants(replace(graph, nodes=nodes, constants=constants), constant)


def _fold_normalisations(graph: Graph) -> Graph:
    """Fold each BatchNormalization into the convolution that alone feeds it."""
    consumers = graph.consumers()
    pairs = [
        (index, consumers[node.output[0]][0])
        for index, node in enumerate(graph.nodes)
        if _can_take_normalisation(graph, node, consumers)
    ]
    parameters = _parameters(graph, [graph.nodes[second] for _, second in pairs])
    taken = graph.names()
    nodes = list(graph.nodes)
    gone = set()
    constants = dict(graph.constants)
    for first, second in pairs:
        convolution, normalisation = nodes[first], nodes[second]
        if not all(name in parameters for name in normalisation.input[1:5]):
            continue
        folded = _normalised(graph, convolution, normalisation, parameters)
        if folded is None:
            continue
        names = []
        for base, values in zip(("weight", "bias"), folded, strict=True):
            name = fresh_name(f"{normalisation.output[0]}_{base}", taken.__contains__)
            taken.add(name)
            constants[name] = numpy_helper.from_array(values, name)
            names.append(name)
        nodes[first] = rewired(convolution, [convolution.input[0], *names], [normalisation.output[0]])
        gone.add(second)
    kept = replace(graph, nodes=[node for index, node in enumerate(nodes) if index not in gone], constants=constants)
    return without_dead_constants(kept, kept.constant_nodes())


def _can_take_normalisation(graph: Graph, node: NodeProto, consumers: Mapping[str, list[int]]) -> bool:
    """Whether a node is a convolution in float32 with constant weights, read by one BatchNormalization only."""
    if not is_default(node, "Conv") or node.output[0] in graph.outputs:
        return False
    weights = [graph.constants.get(name) for name in node.input[1:] if name]
    # Folded weights would be rounded to float16 once more; ONNX Runtime does not fold there either.
    if not all(getattr(item, "data_type", None) == onnx.TensorProto.FLOAT for item in weights):
        return False
    readers = consumers.get(node.output[0], [])
    if len(readers) != 1:
        return False
    reader = graph.nodes[readers[0]]
    return (
        is_default(reader, "BatchNormalization")
        and reader.input[0] == node.output[0]
        and reader.output[0] != ""
        and infers(reader, graph.opset)
    )


def infers(node: NodeProto, opset: int) -> bool:
    """Whether a BatchNormalization applies stored statistics, one for each channel."""
    given = attributes(node)
    if opset >= 14:
        training = bool(given.get("training_mode", 0))
    elif opset >= 7:
        training = any(node.output[1:])
    else:
        training = not given.get("is_test", 0)
    return not training and given.get("spatial", 1) == 1


def _parameters(graph: Graph, normalisations: Iterable[Any]) -> dict[str, NDArray[Any]]:
    """Constant scales, shifts, means and variances by name."""
    names = {name for node in normalisations for name in node.input[1:5]}
    constant = graph.constant_nodes()
    computed = {name for name, index in graph.producers().items() if index in constant}
    values = {name: graph.array(name) for name in names if hasattr(graph.constants.get(name), "data_type")}
    values.update(evaluate(graph, sorted(names & computed)))
    return values


def _normalised(
    graph: Graph,
    convolution: NodeProto,
    normalisation: NodeProto,
    parameters: Mapping[str, NDArray[Any]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Weight and bias that include the normalisation, worked out in float64; None where they would not be finite."""
    scale, shift, mean, variance = (parameters[name].astype(np.float64) for name in normalisation.input[1:5])
    weight = graph.array(convolution.input[1]).astype(np.float64)
    if any(values.shape != weight.shape[:1] for values in (scale, shift, mean, variance)):
        return None  # ONNX Runtime says what is wrong with it
    biased = len(convolution.input) > 2 and convolution.input[2] != ""
    bias = graph.array(convolution.input[2]).astype(np.float64) if biased else 0.0
    with np.errstate(all="ignore"):  # what overflows is not used
        factor = scale / np.sqrt(variance + attributes(normalisation).get("epsilon", 1e-5))
        new_weight = (weight * factor.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.float32)
        new_bias = ((bias - mean) * factor + shift).astype(np.float32)
    if not (np.isfinite(new_weight).all() and np.isfinite(new_bias).all()):
        return None
    return new_weight, new_bias


def rewired(node: NodeProto, inputs: list[str], outputs: list[str] | None = None) -> NodeProto:
    """A copy of a node that reads and makes other tensors."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    del copy.input[:]
    copy.input.extend(inputs)
    if outputs is not None:
        del copy.output[:]
        copy.output.extend(outputs)
    return copy


def without_dead_constants(graph: Graph, constant: frozenset[int]) -> Graph:
    """Leave out the nodes among `constant` whose results nobody reads any more.

    Args:
        graph: The graph.
        constant: Indices of nodes that may go.
    """
    needed = set(graph.outputs)
    kept = []
    for index in reversed(range(len(graph.nodes))):
        node = graph.nodes[index]
        if index not in constant or needed.intersection(node.output):
            kept.append(node)
            needed.update(node_inputs(node))
    return replace(graph, nodes=kept[::-1])
