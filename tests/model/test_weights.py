"""Which weights are read beside those of convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cocoi_cli.model.weights import bytes_beside, read_bytes
from tests.model.graphs import make, node, prepare, weights

if TYPE_CHECKING:
    from pathlib import Path


def test_dense_layers_count_and_convolutions_do_not(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "kernels"], ["a"], pads=[1, 1, 1, 1]),
        node("Flatten", ["a"], ["flat"]),
        node("Gemm", ["flat", "dense", "bias"], ["b"]),
        node("Add", ["b", "small"], ["y"]),
    ]
    constants = {
        "kernels": weights(32, 32, 3, 3),  # 9,216 elements
        "dense": weights(32 * 64, 10),
        "bias": np.zeros(10, np.float32),
        "small": np.zeros(10, np.float32),
    }
    proto = make(nodes, {"x": (1, 32, 8, 8)}, ["y"], constants)
    prepared = prepare(tmp_path, proto, {"x": np.zeros((1, 32, 8, 8), np.float32)})
    assert bytes_beside(prepared) == 4 * 32 * 64 * 10
    reads = {each.op_type: read_bytes(prepared.graph, each) for each in prepared.graph.nodes}
    assert reads == {"Conv": 4 * 9216, "Flatten": 0, "Gemm": 4 * 32 * 64 * 10, "Add": 0}
