"""Reading an ONNX file and refusing, with the reason, what cannot be run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar

import onnx
from google.protobuf.message import DecodeError as ProtobufDecodeError  # type: ignore[import-untyped]  # no stubs
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, ValueInfoProto, helper

from cocoi_cli.errors import ModelError
from cocoi_cli.model.graph import DEFAULT_DOMAINS, bodies
from cocoi_cli.model.inputs import read_bytes
from cocoi_cli.model.network import LoadedModel, TensorInfo
from cocoi_cli.model.onnxruntime_session import known_operators, refusal_of_versions
from cocoi_cli.model.reading import read_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class NotOnnxError(ModelError):
    """The file's bytes are not an ONNX model."""

    code: ClassVar[str] = "not-onnx"

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"`{path}` is not an ONNX model: {reason}", path=str(path), reason=reason)
        self.path, self.reason = path, reason


class EmptyGraphError(ModelError):
    """The model computes nothing."""

    code: ClassVar[str] = "empty-graph"

    def __init__(self, path: Path, missing: str) -> None:
        super().__init__(f"the graph of `{path}` has no {missing}", path=str(path), missing=missing)
        self.path, self.missing = path, missing


class ExternalDataError(ModelError):
    """Weights lie in other files."""

    code: ClassVar[str] = "external-data"

    def __init__(self, path: Path, tensor: str, count: int) -> None:
        super().__init__(
            f"`{path}` keeps {count} tensors in other files, the first is `{tensor}`",
            path=str(path),
            tensor=tensor,
            count=count,
        )
        self.path, self.tensor, self.count = path, tensor, count


class MissingOpsetError(ModelError):
    """The file does not say which operator set it was written for."""

    code: ClassVar[str] = "no-opset"

    def __init__(self, path: Path) -> None:
        super().__init__(f"`{path}` names no version of the default operator set", path=str(path))
        self.path = path


class TooNewModelError(ModelError):
    """The file's format or operator set is newer than the installed ONNX Runtime."""

    code: ClassVar[str] = "model-too-new"

    def __init__(self, path: Path, ir_version: int, opset: int, reason: str) -> None:
        super().__init__(
            f"ONNX Runtime cannot read `{path}` (IR version {ir_version}, operator set {opset}): {reason}",
            path=str(path),
            ir_version=ir_version,
            opset=opset,
            reason=reason,
        )
        self.path, self.ir_version, self.opset, self.reason = path, ir_version, opset, reason


class UnknownOperatorError(ModelError):
    """A node's operator is one that ONNX Runtime does not have."""

    code: ClassVar[str] = "unknown-operator"

    def __init__(self, operator: str, domain: str, node: str) -> None:
        where = f"domain `{domain}`" if domain else "the default domain"
        super().__init__(
            f"ONNX Runtime has no operator `{operator}` of {where}, which the node `{node}` needs",
            operator=operator,
            domain=domain,
            node=node,
        )
        self.operator, self.domain, self.node = operator, domain, node


def load_model(path: Path) -> LoadedModel:
    """Read and check an ONNX file.

    No session is opened for it: what only the kernels can tell is reported when the first stage opens.

    Raises:
        NoSuchFileError: The path names no file.
        UnreadableFileError: It names a directory, or the system refuses.
        ModelError: The file is no ONNX model, is empty, too new, keeps weights elsewhere, has no execution
            order, or needs an operator that ONNX Runtime does not have.
    """
    content = read_bytes(str(path))
    proto = _parse(path, content)
    opset = _checked_opset(path, proto)
    _check_operators(proto)
    read_graph(proto)
    constants = {item.name for item in proto.graph.initializer}
    constants |= {item.values.name for item in proto.graph.sparse_initializer}
    return LoadedModel(
        path=path,
        name=path.stem,
        sha256=hashlib.sha256(content).hexdigest(),
        proto=proto,
        inputs=tuple(_tensor_info(item) for item in proto.graph.input if item.name not in constants),
        outputs=tuple(_tensor_info(item) for item in proto.graph.output),
        metadata={item.key: item.value for item in proto.metadata_props},
        opset=opset,
    )


def _parse(path: Path, content: bytes) -> ModelProto:
    """The `ModelProto`, with something in it."""
    if not content:
        raise NotOnnxError(path, "it is empty")
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except ProtobufDecodeError as error:
        raise NotOnnxError(path, "its bytes are no protocol buffer") from error
    if not proto.HasField("graph"):
        raise NotOnnxError(path, "it holds no graph")
    if not _names_are_text(proto.graph):
        raise NotOnnxError(path, "a name in it is no UTF-8")
    if not proto.graph.node:
        raise EmptyGraphError(path, "nodes")
    if not proto.graph.output:
        raise EmptyGraphError(path, "outputs")
    elsewhere = [item.name for item in _tensors(proto.graph) if item.data_location == TensorProto.EXTERNAL]
    if elsewhere:
        raise ExternalDataError(path, elsewhere[0], len(elsewhere))
    return proto


def _checked_opset(path: Path, proto: ModelProto) -> int:
    """Version of the default operator set, one that ONNX Runtime accepts."""
    versions = {item.domain: item.version for item in proto.opset_import}
    opset = next((versions[domain] for domain in DEFAULT_DOMAINS if domain in versions), 0)
    if not opset and any(node.domain in DEFAULT_DOMAINS for node in proto.graph.node):
        raise MissingOpsetError(path)
    reason = refusal_of_versions(proto.ir_version, versions)
    if reason:
        raise TooNewModelError(path, proto.ir_version, opset, reason)
    return opset


def _check_operators(proto: ModelProto) -> None:
    """Refuse operators that ONNX Runtime does not have; the model's own functions are fine."""
    own = {(item.domain, item.name) for item in proto.functions}
    known = known_operators()
    if not known:  # a build of ONNX Runtime that does not list them: it will tell when a session opens
        return
    for node in _nodes([*proto.graph.node, *(node for item in proto.functions for node in item.node)]):
        domain = "" if node.domain in DEFAULT_DOMAINS else node.domain
        if (domain, node.op_type) not in known and (node.domain, node.op_type) not in own:
            raise UnknownOperatorError(node.op_type, domain, node.name or next(iter(node.output), ""))


def _nodes(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """All nodes, with those inside control flow."""
    for node in nodes:
        yield node
        for _, body in bodies(node):
            yield from _nodes(body.node)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    """Every `TensorProto` of a graph: initialisers, attributes, bodies."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
        for _, body in bodies(node):
            yield from _tensors(body)


def _names_are_text(graph: GraphProto) -> bool:
    """Whether every name can be read: the parser lets other bytes pass and fails when they are looked at."""
    try:
        nodes = list(_nodes(graph.node))
        names = [item.name for item in (*graph.input, *graph.output, *graph.initializer, *graph.value_info)]
        names += [name for node in nodes for name in (node.name, node.op_type, node.domain, *node.input, *node.output)]
        names += [item.name for node in nodes for item in node.attribute]
        return all(isinstance(name, str) for name in names)
    except UnicodeDecodeError:
        return False


def _tensor_info(value: ValueInfoProto) -> TensorInfo:
    """Name, type and shape as declared."""
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorInfo(value.name, (kind or "unknown").removesuffix("_type"), None)
    tensor = value.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(_dimension(item) for item in tensor.shape.dim)
    return TensorInfo(value.name, dtype_name(tensor.elem_type), shape)


def _dimension(item: TensorShapeProto.Dimension) -> int | str | None:
    """A size, a symbol or None; sizes below one that some exporters write mean unknown."""
    if item.HasField("dim_param") and item.dim_param:
        return str(item.dim_param)
    if item.HasField("dim_value") and item.dim_value > 0:
        return int(item.dim_value)
    return None


def dtype_name(element: int) -> str:
    """Numpy's name of an ONNX element type; ONNX's own, in lower case, where numpy has none."""
    if element == TensorProto.BFLOAT16:
        return "bfloat16"
    if element == TensorProto.STRING:
        return "object"
    try:
        return str(helper.tensor_dtype_to_np_dtype(element).name)
    except (KeyError, ValueError):
        return "unknown"
