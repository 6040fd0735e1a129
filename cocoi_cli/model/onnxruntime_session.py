"""Opening ONNX Runtime sessions on the host, and its refusals as `ModelError`."""

from __future__ import annotations

import functools
import os
import re
from typing import TYPE_CHECKING, Any, ClassVar

import onnx

from cocoi_cli.errors import ModelError

# Before its import, and only so: 1.31 would leave a device id in the home folder and report usage.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUNTIME_VERSION: str = ort.__version__

_REFUSALS = (
    native.EPFail,
    native.Fail,
    native.InvalidArgument,
    native.InvalidGraph,
    native.InvalidProtobuf,
    native.NoSuchFile,
    native.NotImplemented,
    native.RuntimeException,
)


class RefusedModelError(ModelError):
    """ONNX Runtime does not run the model: an operator without a kernel, a type that does not match."""

    code: ClassVar[str] = "model-refused"

    def __init__(self, reason: str) -> None:
        super().__init__(f"ONNX Runtime refuses the model: {reason}", reason=reason)
        self.reason = reason


def session_options(threads: int | None = None, *, optimise: bool = True) -> ort.SessionOptions:
    """Options of every session on the host: no spinning threads, and no lines of its own on stderr: errors are raised.

    Args:
        threads: Threads inside an operator; None leaves the choice to ONNX Runtime.
        optimise: Whether ONNX Runtime may rewrite the graph. Without, opening is cheaper.
    """
    _share_arena()
    options = ort.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return options


@functools.cache
def _share_arena() -> None:
    """Let all sessions of this process take their tensors from one arena; each would keep its largest run's memory."""
    place = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(place, None)


def open_session(model: bytes | Path, *, threads: int | None = None, optimise: bool = True) -> ort.InferenceSession:
    """Open a session on the CPU.

    Args:
        model: A serialised model, or the path of one.
        threads: Threads inside an operator; None leaves the choice to ONNX Runtime.
        optimise: Whether ONNX Runtime may rewrite the graph.

    Raises:
        RefusedModelError: ONNX Runtime does not run this model.
    """
    options = session_options(threads, optimise=optimise)
    source: Any = model if isinstance(model, bytes) else str(model)
    try:
        # Its fallback would print on stdout and try the same again.
        return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except (*_REFUSALS, ValueError) as error:  # ValueError: a name that is no UTF-8
        raise RefusedModelError(refusal(error)) from error


def run_session(session: ort.InferenceSession, outputs: list[str], inputs: Mapping[str, Any]) -> list[Any]:
    """Run a session.

    Raises:
        RefusedModelError: An operator does not take its inputs.
    """
    try:
        results: list[Any] = session.run(outputs, dict(inputs))
    except _REFUSALS as error:
        raise RefusedModelError(refusal(error)) from error
    return results


def refusal(error: Exception) -> str:
    """What ONNX Runtime says, without its status, C++ locations and closing stop."""
    text = " ".join(str(error).split())
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"^(?:/|[A-Za-z]:\\)\S+\.(?:cc|h):\d+ .*?\)(?: const)? (?=[A-Z])", "", text)
    return text.rstrip(". ")


@functools.cache
def known_operators() -> frozenset[tuple[str, str]]:
    """`(domain, operator)` of everything ONNX Runtime has a definition of; empty where the build does not list them."""
    listing = getattr(native, "get_all_operator_schema", None)
    if listing is None:
        return frozenset()
    return frozenset((schema.domain, schema.name) for schema in listing())


def refusal_of_versions(ir_version: int, opsets: Mapping[str, int]) -> str | None:
    """Why ONNX Runtime does not read files of these versions, or None: a graph of one node is the probe.

    Args:
        ir_version: Of the file.
        opsets: Domain to version.
    """
    value = {"elem_type": onnx.TensorProto.FLOAT}
    graph = onnx.GraphProto(
        name="probe",
        node=[onnx.NodeProto(op_type="Identity", input=["x"], output=["y"])],
        input=[onnx.ValueInfoProto(name="x", type=onnx.TypeProto(tensor_type=value))],
        output=[onnx.ValueInfoProto(name="y", type=onnx.TypeProto(tensor_type=value))],
    )
    imports = [onnx.OperatorSetIdProto(domain=domain, version=version) for domain, version in opsets.items()]
    probe = onnx.ModelProto(ir_version=ir_version, opset_import=imports, graph=graph)
    try:
        open_session(probe.SerializeToString(), threads=1, optimise=False)
    except RefusedModelError as error:
        # Of operator sets it says in three sentences what the last one holds.
        return error.reason[max(error.reason.find("Current official support"), 0) :]
    return None
