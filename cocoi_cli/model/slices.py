"""The program an agent runs for one geometry: a convolution whose weights are an input.

The same geometry always gives the same bytes, so an agent keeps one session for all
layers that share it. The cut axis has no padding of its own: the zeros arrive with the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

if TYPE_CHECKING:
    from cocoi_cli.model.network import ConvSpec

PROGRAM_IR_VERSION = 8
PROGRAM_OPSET = 13


def slice_program(spec: ConvSpec, axis: int, transport: str) -> bytes:
    """Serialise the ONNX program of a slice.

    Inputs are `x` `(batch, channels, *spatial)`, float16 or float32 by the transport, and `w`
    `(out_channels, in_channels / group, *kernel)` float32. Outputs are `y32`, float32, and for
    `f16` first `y16`, the same in float16. No bias: the sum must be linear in `x`.

    Args:
        spec: The convolution; its channel numbers do not enter.
        axis: Axis of `x` that was cut, where the program does not pad; 2 is height.
        transport: `f16` or `f32`.

    Raises:
        ValueError: `transport` is neither.
    """
    if transport not in ("f16", "f32"):
        raise ValueError(f"transport `{transport}` is neither `f16` nor `f32`")
    half = transport == "f16"
    nodes = [_convolution(spec, axis, "x32" if half else "x")]
    outputs = [_tensor("y32", TensorProto.FLOAT, spec)]
    if half:
        nodes.insert(0, helper.make_node("Cast", ["x"], ["x32"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("Cast", ["y32"], ["y16"], to=TensorProto.FLOAT16))
        outputs.insert(0, _tensor("y16", TensorProto.FLOAT16, spec))
    inputs = [
        _tensor("x", TensorProto.FLOAT16 if half else TensorProto.FLOAT, spec),
        _tensor("w", TensorProto.FLOAT, spec),
    ]
    model = onnx.ModelProto(
        ir_version=PROGRAM_IR_VERSION,
        opset_import=[helper.make_opsetid("", PROGRAM_OPSET)],
        graph=helper.make_graph(nodes, "slice", inputs, outputs),
    )
    program: bytes = model.SerializeToString(deterministic=True)
    return program


def _convolution(spec: ConvSpec, axis: int, x: str) -> NodeProto:
    """The node, without padding on the cut axis."""
    cut = axis - 2
    begin = [0 if at == cut else pad for at, pad in enumerate(spec.pads_begin)]
    end = [0 if at == cut else pad for at, pad in enumerate(spec.pads_end)]
    return helper.make_node(
        "Conv",
        [x, "w"],
        ["y32"],
        dilations=spec.dilations,
        group=spec.group,
        kernel_shape=spec.kernel,
        pads=[*begin, *end],
        strides=spec.strides,
    )


def _tensor(name: str, element: int, spec: ConvSpec) -> ValueInfoProto:
    """A tensor of any size with as many axes as the convolution has."""
    axes = [f"{name}_{number}" for number in range(2 + len(spec.kernel))]
    return helper.make_tensor_value_info(name, element, axes)
