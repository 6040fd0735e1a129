"""Types and sizes of every tensor, for given sizes of the graph's inputs.

ONNX's own inference comes first, on a copy without large weights. What it cannot tell (operators it does
not know) is asked of ONNX Runtime: declared types first, and at last one run on zeros. That run also
settles the sizes that the two would round differently.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, helper

from cocoi_cli.errors import UsageError
from cocoi_cli.model.fold import ancestors
from cocoi_cli.model.graph import Graph, fresh_name, named_constant, node_inputs, sub_model
from cocoi_cli.model.onnxruntime_session import RefusedModelError, open_session, run_session
from cocoi_cli.model.rounded_sizes import sized_by_rounding
from cocoi_cli.model.value_sizes import sized_by_values

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from cocoi_cli.model.network import LoadedModel, Shape, TensorInfo

_INTEGERS = (TensorProto.INT32, TensorProto.INT64)
_MOST_AXES = 8  # integers in the longest list of sizes
_SMALL = 1024  # elements; larger constants are weights, whose values decide no shape


class InputShapeError(UsageError):
    """An array does not have the shape that the model's input declares."""

    code: ClassVar[str] = "input-shape"

    def __init__(self, name: str, expected: tuple[int | str | None, ...], found: Shape) -> None:
        super().__init__(
            f"the input `{name}` takes {_spoken(expected)}, not {_spoken(found)}",
            input=name,
            expected=list(expected),
            found=list(found),
        )
        self.name, self.expected, self.found = name, expected, found


class UnknownInputError(UsageError):
    """A name is no input of the model."""

    code: ClassVar[str] = "unknown-input"

    def __init__(self, name: str, inputs: tuple[str, ...]) -> None:
        listed = ", ".join(f"`{item}`" for item in inputs)
        super().__init__(f"the model has no input `{name}`, its inputs are {listed}", input=name, inputs=list(inputs))
        self.name, self.inputs = name, inputs


class UnknownSizeError(UsageError):
    """A dynamic dimension of an input is fixed by nothing."""

    code: ClassVar[str] = "dynamic-size"

    def __init__(self, name: str, shape: tuple[int | str | None, ...] | None) -> None:
        super().__init__(
            f"nothing fixes the sizes of the input `{name}`, which takes {_spoken(shape)}",
            input=name,
            shape=None if shape is None else list(shape),
        )
        self.name, self.shape = name, shape


def resolve_input_shapes(
    model: LoadedModel, given: Mapping[str, Shape], *, sizes: Mapping[str, int] | None = None, batch: int | None = None
) -> dict[str, Shape]:
    """The shape of every tensor input.

    Args:
        model: The model.
        given: Input name to the shape of its array; may leave inputs out.
        sizes: Symbol of a dynamic dimension to its size, for inputs that are not given.
        batch: Size of a dynamic first dimension, for inputs that are not given.

    Returns:
        Every tensor input's name to its shape. A symbol that a given input fixes holds for the others.

    Raises:
        UnknownInputError: `given` names no input of the model.
        InputShapeError: Rank or a fixed size differs.
        UnknownSizeError: An input is not given, and a dimension of it is fixed by nothing.
    """
    inputs = {item.name: item for item in model.inputs}
    symbols = dict(sizes or {})
    for name, shape in given.items():
        if name not in inputs:
            raise UnknownInputError(name, tuple(inputs))
        declared = inputs[name].shape
        if declared is None:
            continue
        if len(declared) != len(shape) or any(
            isinstance(want, int) and want != size for want, size in zip(declared, shape, strict=True)
        ):
            raise InputShapeError(name, declared, shape)
        symbols.update({want: size for want, size in zip(declared, shape, strict=True) if isinstance(want, str)})
    return {
        item.name: tuple(given[item.name]) if item.name in given else _filled(item, symbols, batch)
        for item in model.inputs
        if item.name in given or item.dtype not in ("sequence", "map", "optional", "sparse_tensor")
    }


def infer_types(graph: Graph, input_shapes: Mapping[str, Shape]) -> dict[str, TypeProto]:
    """`TypeProto` of every tensor outside control-flow bodies, with the sizes that can be told.

    Args:
        graph: The graph.
        input_shapes: Graph input name to its shape.

    Raises:
        RefusedModelError: ONNX's inference does not know an operator and ONNX Runtime refuses the model.
    """
    types = {name: _sized(graph.types[name], input_shapes.get(name)) for name in graph.inputs}
    made = [name for node in graph.nodes for name in node.output if name]
    types.update(_inferred_by_onnx(graph, types))
    rounded = sized_by_rounding(graph)
    if rounded:
        types.update(_inferred_by_onnx(graph, {**types, **_settled(graph, types, rounded)}, given=rounded))
    missing = [name for name in made if not _is_typed(types.get(name))]
    if missing:
        types.update(_declared_by_runtime(graph, types, missing))
    for name, constant in graph.constants.items():
        if isinstance(constant, TensorProto):
            types[name] = helper.make_tensor_type_proto(constant.data_type, constant.dims)
    return types


def conv_shapes(graph: Graph, types: Mapping[str, TypeProto], wanted: Iterable[str]) -> dict[str, Shape]:
    """Exact shapes of some tensors; ONNX Runtime runs the part before them on zeros where types cannot be relied on.

    Args:
        graph: The graph.
        types: From `infer_types`.
        wanted: Tensor names, the inputs of the convolutions.

    Returns:
        Tensor name to shape, of those and of others that were measured with them. A tensor that is no tensor,
        or that the run did not reach, is left out.
    """
    names = list(dict.fromkeys(wanted))
    shapes = {name: shape for name in names if (shape := known_shape(types.get(name))) is not None}
    unsettled = sized_by_values(graph)
    unknown = [name for name in names if name not in shapes and name not in unsettled]
    others = [name for node in graph.nodes for name in node.output if _lacks_size(types.get(name))]
    both = list(dict.fromkeys([*unknown, *(name for name in others if name not in unsettled)]))
    if both:  # zeros may be no input for what comes after the convolutions
        shapes.update(_measured(graph, types, both) or _measured(graph, types, unknown))
    return shapes


def known_shape(kind: TypeProto) -> Shape | None:
    """The shape in a `TypeProto` where every size is a number."""
    if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    return tuple(int(item.dim_value) for item in dims) if all(item.HasField("dim_value") for item in dims) else None


def any_size(kind: TypeProto) -> TypeProto:
    """The type with the same number of axes and no sizes, but for a short list of integers.

    It may be a list of sizes, and ONNX Runtime refuses a Resize whose sizes it cannot count.
    """
    if not kind.HasField("tensor_type"):
        return kind
    tensor = kind.tensor_type
    shape = known_shape(kind)
    if tensor.elem_type in _INTEGERS and shape is not None and len(shape) == 1 and shape[0] <= _MOST_AXES:
        return kind
    axes = [None] * len(tensor.shape.dim) if tensor.HasField("shape") else None
    return helper.make_tensor_type_proto(tensor.elem_type, axes)


def _filled(item: TensorInfo, symbols: Mapping[str, int], batch: int | None) -> Shape:
    """A declared shape with its symbols replaced."""
    if item.shape is None:
        raise UnknownSizeError(item.name, None)
    sizes = [symbols.get(size) if isinstance(size, str) else size for size in item.shape]
    if sizes and sizes[0] is None:
        sizes[0] = batch
    known = tuple(size for size in sizes if size is not None)
    if len(known) != len(sizes):
        raise UnknownSizeError(item.name, item.shape)
    return known


def _sized(kind: TypeProto, shape: Shape | None) -> TypeProto:
    """A declared type with the sizes of this run."""
    if shape is None or not kind.HasField("tensor_type"):
        return kind
    return helper.make_tensor_type_proto(kind.tensor_type.elem_type, shape)


def _is_typed(kind: TypeProto) -> bool:
    """Whether a type says what the elements are."""
    if kind is None or kind.WhichOneof("value") is None:
        return False
    return not kind.HasField("tensor_type") or kind.tensor_type.elem_type != TensorProto.UNDEFINED


def _settled(graph: Graph, types: Mapping[str, TypeProto], names: Collection[str]) -> dict[str, TypeProto]:
    """Types of tensors whose inferred size is in doubt, with the size that ONNX Runtime gives them, if any."""
    typed = [name for name in names if _is_typed(types.get(name)) and types[name].HasField("tensor_type")]
    unsettled = sized_by_values(graph)
    sizes = _measured(graph, types, [name for name in typed if name not in unsettled])
    settled = {}
    for name in typed:
        kind = any_size(types[name])
        settled[name] = _sized(kind, sizes.get(name))
    return settled


def _lacks_size(kind: TypeProto) -> bool:
    """Whether a type is that of a tensor and leaves sizes open."""
    return _is_typed(kind) and kind.HasField("tensor_type") and known_shape(kind) is None


def _inferred_by_onnx(
    graph: Graph, types: Mapping[str, TypeProto], *, given: Collection[str] = ()
) -> dict[str, TypeProto]:
    """What `onnx.shape_inference` finds; nothing where it gives up.

    Args:
        graph: The graph.
        types: Of the graph inputs, and of the tensors `given`.
        given: Tensors that are taken as `types` says instead of being inferred.
    """
    known = [name for name in (*graph.inputs, *given) if name in types]
    small, values = {}, [onnx.ValueInfoProto(name=name, type=types[name]) for name in known]
    nodes = [node for node in graph.nodes if not set(node.output).intersection(known)]
    for name in dict.fromkeys(name for node in nodes for name in node_inputs(node)):
        constant = graph.constants.get(name)
        if not isinstance(constant, TensorProto):
            continue
        if np.prod(constant.dims, dtype=np.int64) <= _SMALL:
            small[name] = named_constant(constant, name)
        else:
            values.append(helper.make_tensor_value_info(name, constant.data_type, constant.dims))
    outputs = [onnx.ValueInfoProto(name=name) for name in graph.outputs]
    skeleton = sub_model(graph, nodes, values, outputs, small)
    try:
        found = onnx.shape_inference.infer_shapes(skeleton, data_prop=True).graph
    except (
        onnx.shape_inference.InferenceError,
        RuntimeError,
        ValueError,
        TypeError,
    ):  # it stumbles over what ONNX Runtime may well run
        return {}
    told = {item.name: item.type for item in (*found.value_info, *found.output) if _is_typed(item.type)}
    return {**told, **{name: types[name] for name in given if name in types}}


def _declared_by_runtime(graph: Graph, types: Mapping[str, TypeProto], names: list[str]) -> dict[str, TypeProto]:
    """Types as ONNX Runtime infers them when it opens the model."""
    inputs = [onnx.ValueInfoProto(name=name, type=types[name]) for name in graph.inputs]
    outputs = [onnx.ValueInfoProto(name=name) for name in names]
    model = sub_model(graph, ancestors(graph, names), inputs, outputs)
    session = open_session(model.SerializeToString(), threads=1, optimise=False)
    return {item.name: kind for item in session.get_outputs() if (kind := _parsed(item.type, item.shape)) is not None}


def _parsed(text: str, shape: list[Any] | None) -> TypeProto | None:
    """`tensor(float)` or `seq(tensor(float))`, as ONNX Runtime writes types, as a `TypeProto`."""
    if text.startswith("seq(tensor("):
        inner = helper.make_tensor_type_proto(_ELEMENTS[text.removeprefix("seq(tensor(").rstrip(")")], None)
        return helper.make_sequence_type_proto(inner)
    if not text.startswith("tensor("):
        return None
    # No axes is what it reports of a scalar and of a tensor of unknown rank alike.
    sizes = [size if isinstance(size, int) and size >= 0 else None for size in shape] if shape else None
    return helper.make_tensor_type_proto(_ELEMENTS[text.removeprefix("tensor(").rstrip(")")], sizes)


_ELEMENTS = {name.lower(): number for name, number in TensorProto.DataType.items()}


def _measured(graph: Graph, types: Mapping[str, TypeProto], names: list[str]) -> dict[str, Shape]:
    """Run the part of the graph before some tensors on zeros and look at their sizes."""
    if not names:
        return {}
    taken = graph.names()
    labels = {name: fresh_name(f"{name}_shape", taken.__contains__) for name in names}
    part = ancestors(graph, names)
    used = {name for node in part for name in node_inputs(node)} | set(names)
    fed = [name for name in graph.inputs if name in used]
    if any(known_shape(types[name]) is None for name in fed):
        return {}
    model = sub_model(
        graph,
        [*part, *(helper.make_node("Shape", [name], [labels[name]]) for name in names)],
        [onnx.ValueInfoProto(name=name, type=types[name]) for name in fed],
        [helper.make_tensor_value_info(label, TensorProto.INT64, [None]) for label in labels.values()],
    )
    zeros = {name: _zeros(types[name]) for name in fed}
    try:
        # Optimised, a Shape becomes the constant that was inferred, which is what is doubted here.
        session = open_session(model.SerializeToString(), optimise=False)
        found = run_session(session, list(labels.values()), zeros)
    except RefusedModelError:  # zeros may be no input that the model can take
        return {}
    return {name: tuple(int(size) for size in shape) for name, shape in zip(names, found, strict=True)}


def _zeros(kind: TypeProto) -> np.ndarray[Any, Any]:
    """An array of zeros of a type and shape."""
    return np.zeros(known_shape(kind) or (), helper.tensor_dtype_to_np_dtype(kind.tensor_type.elem_type))


def _spoken(shape: tuple[int | str | None, ...] | None) -> str:
    """A shape in words: `1x3xHxW`, `?` where unknown."""
    if shape is None:
        return "a tensor of unknown rank"
    return "`" + "x".join("?" if size is None else str(size) for size in shape) + "`" if shape else "a scalar"
