"""float32 to float16 and back through ONNX Runtime: bit for bit numpy's result, ten times as fast.

Source: docs/methods.md, conversion and transport; numpy's time depends on the values and is worst for tiny ones.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from cocoi_cli.model.onnxruntime_session import open_session

if TYPE_CHECKING:
    import onnxruntime as ort
    from numpy.typing import NDArray

FLOAT16, FLOAT32 = np.dtype(np.float16), np.dtype(np.float32)
SMALL = 1 << 15  # elements: below, copying is quicker than telling ONNX Runtime where to write
_ONNX_TYPES = {FLOAT16: TensorProto.FLOAT16, FLOAT32: TensorProto.FLOAT}

_lock = threading.Lock()
_sessions: dict[np.dtype[Any], ort.InferenceSession] = {}  # by the type they make


def to_float16(x: NDArray[np.float32]) -> NDArray[np.float16]:
    """A float16 copy, rounded to nearest even; beyond 65504 it becomes infinite.

    Any thread may call it. `x` is only read.
    """
    return _cast(x, FLOAT32, FLOAT16)


def to_float32(x: NDArray[np.float16], out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """The same values as float32, exact.

    Args:
        x: Only read. Any thread may call this.
        out: Written and returned when given: `x.shape`, C-contiguous. Otherwise a new array is made.
    """
    if out is None:
        return _cast(x, FLOAT16, FLOAT32)
    if out.dtype != FLOAT32 or out.shape != x.shape or not out.flags.c_contiguous:
        raise ValueError(f"a contiguous float32 {x.shape} is needed, not {out.dtype} {out.shape}")
    if x.size < SMALL:
        out[...] = _cast(x, FLOAT16, FLOAT32)
        return out
    session = _session(FLOAT16, FLOAT32)
    binding = session.io_binding()
    binding.bind_cpu_input("x", _flat(x, FLOAT16))
    binding.bind_output("y", "cpu", 0, np.float32, [out.size], out.ctypes.data)
    session.run_with_iobinding(binding)
    return out


def _cast(x: NDArray[Any], source: np.dtype[Any], target: np.dtype[Any]) -> NDArray[Any]:
    result: NDArray[Any] = _session(source, target).run(None, {"x": _flat(x, source)})[0]
    return result.reshape(x.shape)


def _flat(x: NDArray[Any], expected: np.dtype[Any]) -> NDArray[Any]:
    if x.dtype != expected:
        raise TypeError(f"{x.dtype} where {expected} was expected")
    return np.ascontiguousarray(x).reshape(-1)


def _session(source: np.dtype[Any], target: np.dtype[Any]) -> ort.InferenceSession:
    session = _sessions.get(target)
    if session is None:
        with _lock:
            if target not in _sessions:
                _sessions[target] = _open(_ONNX_TYPES[source], _ONNX_TYPES[target])
            session = _sessions[target]
    return session


def _open(source: int, target: int) -> ort.InferenceSession:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=target)],
        "cast",
        [helper.make_tensor_value_info("x", source, ["size"])],
        [helper.make_tensor_value_info("y", target, ["size"])],
    )
    model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 13)], graph=graph)
    return open_session(model.SerializeToString(), threads=1)
