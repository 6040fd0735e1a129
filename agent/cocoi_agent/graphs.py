"""What an agent must know about a graph before ONNX Runtime sees it, and changes to it.

Refused are graphs that would make ONNX Runtime read other files (external data) or
run code that is not its own (operators of other domains), and its own binary
format, which this walk cannot look into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cocoi_agent.protobuf import BadBytesError, Value, fields, nested, varint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from numpy.typing import NDArray

ALLOWED_DOMAINS: Final = frozenset({"", "ai.onnx", "ai.onnx.ml"})
MAX_DEPTH: Final = 32  # of graphs inside nodes of graphs

_MODEL_GRAPH, _MODEL_OPSET, _MODEL_FUNCTION = 7, 8, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_SPARSE = 1, 5, 11, 12, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES = 22, 23
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_FLOAT, _FLOAT16 = 1, 10

_TENSOR_TYPES: Final[Mapping[str, int]] = {
    "f32": 1, "u8": 2, "i8": 3, "u16": 4, "i16": 5, "i32": 6, "i64": 7,
    "bool": 9, "f16": 10, "f64": 11, "u32": 12, "u64": 13,
}  # fmt: skip


class UnfitGraphError(Exception):
    """A graph that the agent refuses.

    Attributes:
        reason: What was found.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def check_graph(model: bytes | memoryview) -> None:
    """Walk over a serialised model.

    Raises:
        UnfitGraphError: If it is no ONNX model, or asks for more than the agent gives.
    """
    view = memoryview(model)
    if bytes(view[4:8]) == b"ORTM":
        raise UnfitGraphError("the graph is in ONNX Runtime's own format")
    try:
        if not _check_model(view):
            raise UnfitGraphError("the bytes hold no graph")
    except BadBytesError as error:
        raise UnfitGraphError(f"the bytes are no ONNX model: {error}") from error


def _check_model(model: memoryview) -> bool:
    has_graph = False
    for number, value in fields(model):
        if number == _MODEL_GRAPH:
            has_graph = True
            _check(value, _check_graph_field, 0)
        elif number == _MODEL_FUNCTION:
            raise UnfitGraphError("the model defines functions of its own")
    return has_graph


def _check(value: Value, check: Any, depth: int) -> None:  # noqa: ANN401 - one of the checks below
    if depth > MAX_DEPTH:
        raise UnfitGraphError(f"graphs are nested more than {MAX_DEPTH} deep")
    for number, inner in fields(_message(value)):
        check(number, inner, depth)


def _check_graph_field(number: int, value: Value, depth: int) -> None:
    if number == _GRAPH_NODE:
        _check(value, _check_node_field, depth)
    elif number == _GRAPH_INITIALIZER:
        _check(value, _check_tensor_field, depth)
    elif number == _GRAPH_SPARSE:
        raise UnfitGraphError("the graph holds sparse tensors")


def _check_node_field(number: int, value: Value, depth: int) -> None:
    if number == _NODE_DOMAIN:
        domain = bytes(_message(value)).decode("utf-8", "replace")
        if domain not in ALLOWED_DOMAINS:
            raise UnfitGraphError(f"operators of the domain `{domain[:64]}` are not supported")
    elif number == _NODE_ATTRIBUTE:
        _check(value, _check_attribute_field, depth)


def _check_attribute_field(number: int, value: Value, depth: int) -> None:
    if number in {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}:
        _check(value, _check_graph_field, depth + 1)
    elif number in {_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS}:
        _check(value, _check_tensor_field, depth)
    elif number in {_ATTRIBUTE_SPARSE, _ATTRIBUTE_SPARSES}:
        raise UnfitGraphError("the graph holds sparse tensors")


def _check_tensor_field(number: int, value: Value, depth: int) -> None:
    del depth
    if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value):
        raise UnfitGraphError("tensors in external files are not supported")


def _message(value: Value) -> memoryview:
    if isinstance(value, int):
        raise BadBytesError("a number where a message was expected")
    return value


def with_initializers(model: memoryview, constants: Mapping[str, tuple[str, NDArray[Any]]]) -> bytes:
    """The model with some of its inputs replaced by constants, so that ONNX Runtime may prepack them.

    Args:
        model: Serialised model, checked before.
        constants: Input name to (type word, array in C order).
    """
    kept: list[bytes] = []
    for number, value in fields(model):
        if number == _MODEL_GRAPH:
            kept.append(nested(number, _without_inputs(_message(value), constants.keys())))
        else:
            kept.append(varint(number, value) if isinstance(value, int) else nested(number, value))
    # Repeated messages merge: this graph adds its initializers to the one above.
    tensors = b"".join(nested(_GRAPH_INITIALIZER, _tensor(n, w, a)) for n, (w, a) in constants.items())
    return b"".join((*kept, nested(_MODEL_GRAPH, tensors)))


def _without_inputs(graph: memoryview, names: Set[str]) -> bytes:
    kept: list[bytes] = []
    for number, value in fields(graph):
        if isinstance(value, int):
            kept.append(varint(number, value))
        elif number != _GRAPH_INPUT or _name_of(value) not in names:
            kept.append(nested(number, value))
    return b"".join(kept)


def _name_of(value_info: memoryview) -> str:
    for number, value in fields(value_info):
        if number == 1 and not isinstance(value, int):
            return bytes(value).decode("utf-8", "replace")
    return ""


def _tensor(name: str, word: str, array: NDArray[Any]) -> bytes:
    dims = b"".join(varint(1, size) for size in array.shape)
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return b"".join((dims, varint(2, _TENSOR_TYPES[word]), nested(8, name.encode()), nested(9, raw)))


def float16_cast_model() -> bytes:
    """A model that casts its float32 input `x`, of any shape, to the float16 output `y`.

    ONNX Runtime casts ten times as fast as numpy, and at one speed for all values.
    """
    return _model([_cast(b"x", b"y", _FLOAT16)], {b"x": _FLOAT}, {b"y": _FLOAT16})


def conv_model() -> bytes:
    """A model that convolves its float16 input `x` with the float32 input `w`, without padding.

    The output is `y32`, and the same cast to float16 as `y16`: as the programs of a host do it.
    """
    nodes = [
        _cast(b"x", b"wide", _FLOAT),
        nested(1, b"wide") + nested(1, b"w") + nested(2, b"y32") + nested(4, b"Conv"),
        _cast(b"y32", b"y16", _FLOAT16),
    ]
    return _model(nodes, {b"x": _FLOAT16, b"w": _FLOAT}, {b"y16": _FLOAT16, b"y32": _FLOAT})


def _cast(source: bytes, target: bytes, element: int) -> bytes:
    attribute = nested(1, b"to") + varint(3, element) + varint(20, 2)
    return nested(1, source) + nested(2, target) + nested(4, b"Cast") + nested(_NODE_ATTRIBUTE, attribute)


def _model(nodes: Sequence[bytes], inputs: Mapping[bytes, int], outputs: Mapping[bytes, int]) -> bytes:
    """IR 8, opset 13: known to every ONNX Runtime that agents run with."""
    graph = b"".join(nested(_GRAPH_NODE, node) for node in nodes) + nested(2, b"cocoi")
    graph += b"".join(nested(_GRAPH_INPUT, _value_info(name, element)) for name, element in inputs.items())
    graph += b"".join(nested(_GRAPH_OUTPUT, _value_info(name, element)) for name, element in outputs.items())
    return varint(1, 8) + nested(_MODEL_GRAPH, graph) + nested(_MODEL_OPSET, nested(1, b"") + varint(2, 13))


def _value_info(name: bytes, element: int) -> bytes:
    return nested(1, name) + nested(2, nested(1, varint(1, element)))
