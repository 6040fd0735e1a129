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

_lock = threading.Lock()
_sessions: dict[int, ort.InferenceSession] = {}


def to_float16(x: NDArray[np.float32]) -> NDArray[np.float16]:
    """A float16 copy, rounded to nearest even; beyond 65504 it becomes infinite.

    Any thread may call it. `x` is only read.
    """
    return _cast(x, TensorProto.FLOAT, TensorProto.FLOAT16)


def to_float32(x: NDArray[np.float16]) -> NDArray[np.float32]:
    """A float32 copy, exact. Any thread may call it. `x` is only read."""
    return _cast(x, TensorProto.FLOAT16, TensorProto.FLOAT)


def _cast(x: NDArray[Any], source: int, target: int) -> NDArray[Any]:
    if x.dtype != helper.tensor_dtype_to_np_dtype(source):
        raise TypeError(f"{x.dtype} where {np.dtype(helper.tensor_dtype_to_np_dtype(source))} was expected")
    flat = np.ascontiguousarray(x).reshape(-1)
    result: NDArray[Any] = _session(source, target).run(None, {"x": flat})[0]
    return result.reshape(x.shape)


def _session(source: int, target: int) -> ort.InferenceSession:
    with _lock:
        if target not in _sessions:
            graph = helper.make_graph(
                [helper.make_node("Cast", ["x"], ["y"], to=target)],
                "cast",
                [helper.make_tensor_value_info("x", source, ["size"])],
                [helper.make_tensor_value_info("y", target, ["size"])],
            )
            model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 13)], graph=graph)
            _sessions[target] = open_session(model.SerializeToString(), threads=1)
        return _sessions[target]
