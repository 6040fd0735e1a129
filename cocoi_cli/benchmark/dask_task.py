"""What a worker of dask computes: one share of a convolution. Imported there by name; numpy and ONNX Runtime only."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def run_share(graph: bytes, x: NDArray[Any], weights: Mapping[str, NDArray[Any]], output: str) -> NDArray[Any]:
    """The answer to one share, as an agent would give it.

    Args:
        graph: The ONNX program; its session is kept.
        x: The share, float16 or float32.
        weights: By name of the program's inputs.
        output: `y16` or `y32`.
    """
    session = _session(graph)
    result: NDArray[Any] = session.run([output], {"x": x, **weights})[0]
    if output == "y16" and not np.isfinite(result).all():
        # Beyond the range of float16: sent in full, as an agent does.
        result = session.run(["y32"], {"x": x, **weights})[0]
    return result


@functools.lru_cache(maxsize=64)
def _session(graph: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
