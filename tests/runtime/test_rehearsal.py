"""A network that enlarges rounding gets float32, or stays on the host; a tame one keeps float16."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import LoadedModel, Network
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime.check import Tolerance
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.rehearsal import within_budget


def amplifier(folder: Path) -> LoadedModel:
    """A convolution, then minus its own mean, divided by its deviation: a small spread on a large offset is lost."""
    weights = np.random.default_rng(1).standard_normal((8, 3, 3, 3)).astype(np.float32)
    scale, shift = np.ones(8, np.float32), np.zeros(8, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("InstanceNormalization", ["c", "s", "b"], ["y"], epsilon=1e-30),
    ]
    graph = helper.make_graph(
        nodes,
        "amplifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 30, 30])],
        [numpy_helper.from_array(array, name) for name, array in (("w", weights), ("s", scale), ("b", shift))],
    )
    path = folder / "amplifier.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return load_model(path)


def settle(model: LoadedModel, x: np.ndarray, transport: str) -> Plan:
    kernels = HostKernels(threads=1)
    prepared = find_layers(model, {"x": x.shape})
    plan = default_plan(prepared.layers, agents=5, scheme="coded", n=None, k=3, transport=transport)
    reference = kernels.baseline(model, {"x": x}, repeat=False).outputs

    async def cut_by(each: Plan) -> Network:
        return cut(prepared, each.distributed)

    return asyncio.run(within_budget(plan, Tolerance(transport), cut_by, kernels, {"x": x}, reference))


@pytest.mark.parametrize(
    ("spread", "asked", "scheme", "transport"),
    [
        (1.0, "f16", "coded", "f16"),
        (1.0, "f32", "coded", "f32"),
        (1e-3, "f16", "coded", "f32"),
        (1e-3, "f32", "local", "f32"),
        (1e-6, "f16", "local", "f16"),
    ],
)
def test_rounding_that_the_network_enlarges_changes_the_plan(tmp_path, spread, asked, scheme, transport) -> None:
    noise = np.random.default_rng(2).standard_normal((1, 3, 32, 32)).astype(np.float32)
    plan = settle(amplifier(tmp_path), np.float32(1) + np.float32(spread) * noise, asked)
    (layer,) = plan.layers
    assert (layer.scheme, layer.transport) == (scheme, transport)
    if scheme == "local":
        assert "kept here: even float32 would err by" in layer.reason
    elif transport != asked:
        assert "float32, as float16 would err by" in layer.reason
    else:
        assert "err" not in layer.reason
