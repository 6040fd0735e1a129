"""Single conv stages driven by hand: a stage, its work, what agents would answer, and what ONNX Runtime says."""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cocoi_cli.codes.families.fcdcc import FilterCode
from cocoi_cli.model.finish import Activation, Finish
from cocoi_cli.model.geometry import output_shape
from cocoi_cli.model.network import ConvSpec, ConvStage
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.planning.plan import ConvPlan
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.filter_work import FilterWork
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.loading import code_of, stage_programs
from cocoi_cli.runtime.work import StageWork

KERNELS = HostKernels(1)

SHAPES = {  # kernel, stride, dilation, pads (top, left, bottom, right), input, filters, groups
    "same 3x3": (3, 1, 1, (1, 1, 1, 1), (1, 5, 17, 15), 10, 1),
    "pointwise": (1, 1, 1, (0, 0, 0, 0), (1, 6, 13, 14), 7, 1),
    "stem 7x7": (7, 2, 1, (3, 3, 3, 3), (1, 3, 31, 29), 9, 1),
    "uneven pads, stride 2": (3, 2, 1, (0, 1, 1, 0), (1, 4, 20, 21), 8, 1),
    "dilated": (3, 1, 2, (2, 2, 2, 2), (1, 3, 16, 18), 6, 1),
    "no pads": (5, 1, 1, (0, 0, 0, 0), (1, 4, 19, 20), 5, 1),
    "batch of two": (3, 1, 1, (1, 1, 1, 1), (2, 3, 14, 13), 6, 1),
}
GROUPED = (3, 1, 1, (1, 1, 1, 1), (1, 6, 15, 14), 9, 3)


BIG = 40.0  # of a bias: sums that were finished by mistake stand out


def conv_stage(
    shape: tuple, seed: int = 1, activation: Activation | None = None, *, bias: bool = False
) -> tuple[ConvStage, np.ndarray, np.ndarray]:
    """A stage, an input, and what plain ONNX Runtime makes of it."""
    kernel, stride, dilation, pads, size, filters, groups = shape
    axes = len(size) - 2
    spec = ConvSpec(
        *((kernel,) * axes, (stride,) * axes, (dilation,) * axes, pads[:axes], pads[axes:], groups, size[1], filters)
    )
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(size).astype(np.float32)
    weight = rng.standard_normal((filters, size[1] // groups, *[kernel] * axes)).astype(np.float32)
    finish = Finish((BIG * rng.standard_normal(filters)).astype(np.float32) if bias else None, activation)
    stage = ConvStage("conv", "x", "y", spec, weight, size, output_shape(spec, size), "float32", finish)
    return stage, x, plainly(stage, x)


def plainly(stage: ConvStage, x: np.ndarray) -> np.ndarray:
    """What ONNX Runtime makes of an input of any size, all in one graph."""
    spec, finish = stage.spec, stage.finish
    constants = {"w": stage.weight} if finish.bias is None else {"w": stage.weight, "b": finish.bias}
    convolution = helper.make_node(
        *("Conv", ["x", *constants], ["c"]),
        kernel_shape=spec.kernel,
        strides=spec.strides,
        dilations=spec.dilations,
        pads=[*spec.pads_begin, *spec.pads_end],
        group=spec.group,
    )
    nodes = [convolution, _activation(finish.activation, constants)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "plain", values[:1], values[1:], tensors)
    model = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 13)], graph=graph)
    return open_session(model.SerializeToString(), threads=1).run(None, {"x": x})[0]


def _activation(activation: Activation | None, constants: dict[str, np.ndarray]) -> NodeProto:
    """The operator that an activation was read from, from `c` to `y`."""
    if activation is None:
        return helper.make_node("Identity", ["c"], ["y"])
    if activation.slope != 1.0:
        return helper.make_node("LeakyRelu", ["c"], ["y"], alpha=activation.slope)
    if (activation.lowest, activation.highest) == (0.0, math.inf):
        return helper.make_node("Relu", ["c"], ["y"])
    constants["low"], constants["high"] = np.float32(activation.lowest), np.float32(activation.highest)
    return helper.make_node("Clip", ["c", "low", "high"], ["y"])


def plan_of(scheme: str, n: int, k: int, *, axis: int = 2, strips: int = 1, transport: str = "f32", filters: int = 1):
    return ConvPlan("conv", scheme, n, k, axis, strips, transport, "", filters=filters)


def begin(stage: ConvStage, plan: ConvPlan, x: np.ndarray) -> StageWork:
    code = code_of(plan)
    if isinstance(code, FilterCode):
        return FilterWork(stage, plan, code, x, Blocks())
    return StageWork(stage, plan, code, x, Blocks())


def answer(work: StageWork, strip: int, share: int) -> tuple[np.ndarray, float]:
    """What the agent at which the share is at home would send back."""
    outgoing = work.share(strip, share)
    source = stage_programs(work.stage, work.plan)[outgoing.variant]
    assert source.home in (None, share)
    output = "y16" if outgoing.reply == "f16" else "y32"
    found = KERNELS.run_program(source.graph, {"x": outgoing.x}, [output], source.tensors)[0]
    assert outgoing.x.flags.c_contiguous
    assert work.fits(strip, share, found)
    assert not work.fits(strip, share, found[:, 1:])
    return found, outgoing.scale


def run(work: StageWork, arrived: list[int]) -> np.ndarray:
    """Answer these shares of every strip and what the host must add; return the output."""
    for strip in range(work.strips):
        have = set()
        for share in arrived:
            if work.code.ready(have):
                break
            assert not work.has(strip, share)
            work.accept(strip, share, *answer(work, strip, share))
            have.add(share)
        added = work.code.completing(have)
        for share, found in zip(added, work.convolve(KERNELS, strip, added), strict=True):
            work.accept(strip, share, found, 1.0)
        order = [share for share in arrived if share in have] + list(added)
        work.decode(strip, order, KERNELS)
        assert work.has(strip, 0)
    return work.hand_over()


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
