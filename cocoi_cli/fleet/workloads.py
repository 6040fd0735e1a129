"""What a device is asked to compute for its profile: convolutions, casts, and a certificate to encrypt with."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import onnx
from onnx import TensorProto, helper

from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.slices import PROGRAM_IR_VERSION, PROGRAM_OPSET, slice_program
from cocoi_cli.runtime.trust import make_identity

if TYPE_CHECKING:
    from collections.abc import Sequence

Cell = tuple[int, int, int, int, int]
"""Kernel, input and output channels, width and rows of the output."""

HELPERS: Final = ("reading", "hardware", "encryption")
"""Modules that `ondevice.compute` needs sent along."""

HEIGHT: Final = 2

# The layers of VGG16 and ResNet, in strips as plans cut them: (kernel, in, out, width), rows.
_LAYERS: Final[dict[tuple[int, int, int, int], tuple[int, ...]]] = {
    (3, 3, 64, 224): (28,),
    (3, 64, 64, 224): (4, 14, 28),
    (3, 64, 128, 112): (14,),
    (3, 128, 128, 112): (4, 14),
    (3, 256, 256, 56): (2, 7),
    (3, 512, 512, 28): (2, 4),
    (3, 512, 512, 14): (2,),
    (3, 64, 64, 56): (2, 7, 14),
    (3, 128, 128, 28): (2, 4),
    (3, 256, 256, 14): (2,),
    (3, 512, 512, 7): (1, 2),
    (1, 64, 256, 56): (7,),
    (1, 256, 64, 56): (7,),
    (1, 512, 128, 28): (4,),
    (1, 1024, 256, 14): (2,),
    (1, 2048, 512, 7): (2,),
}

STEADY: Final[Cell] = (3, 256, 256, 56, 7)
"""About as much as a share of a plan; convolved often, it shows how durations spread."""

ENOUGH_FLOPS: Final = 240_000_000
"""Of a share: 24 ms on a device of 10 GFLOP/s, beside one to a few of its fixed cost."""

MOST_IN_A_SHARE: Final = 32

LADEN: Final[tuple[Cell, ...]] = ((3, 64, 64, 224, 14), (3, 64, 128, 112, 14), (3, 128, 128, 112, 14))
"""Strips with many bytes for what they compute, which still takes longer than gigabit Ethernet needs to carry them."""

GRID: Final[tuple[Cell, ...]] = tuple((*layer, rows) for layer, strips in _LAYERS.items() for rows in strips)


def request(budget_s: float, rounds: int, cells: Sequence[Cell] = GRID) -> tuple[dict[str, Any], bytes]:
    """Request and payload of `ondevice.compute`.

    Args:
        budget_s: Seconds that the device may take.
        rounds: How often everything is gone over.
        cells: What to convolve.

    Raises:
        OSError: If there is no place for a temporary file.
    """
    models = {f"conv-{kernel}": _convolution(kernel) for kernel in sorted({cell[0] for cell in cells})}
    models |= {
        "to-float16": _cast(TensorProto.FLOAT, TensorProto.FLOAT16),
        "to-float32": _cast(TensorProto.FLOAT16, TensorProto.FLOAT),
    }
    certificate, key = _throwaway_identity()
    body = {
        "budget_s": budget_s,
        "rounds": rounds,
        "cells": [list(cell) for cell in cells],
        "models": [[name, len(model)] for name, model in models.items()],
        "certificate": certificate,
        "key": key,
    }
    return body, b"".join(models.values())


def flops(cell: Cell) -> int:
    """Operations of one strip, a multiplication and an addition being two."""
    kernel, in_channels, out_channels, width, rows = cell
    return 2 * rows * width * in_channels * out_channels * kernel * kernel


def in_a_share(cell: Cell) -> int:
    """How often a slice is convolved in one share, so that the share's fixed cost and its variation matter little."""
    return min(-(-ENOUGH_FLOPS // flops(cell)), MOST_IN_A_SHARE)


@cache
def dry_convolution(times: int = 1) -> bytes:
    """A program that convolves what it holds, and neither gets nor answers more than a number.

    Inputs `held` float16 and `w` float32 are to be bound to it; `x`, four axes of length 1, makes it a share.

    Args:
        times: How often. To the rows is added each time what came out before, cut off at `x`, so that none of the
            convolutions can be left out; the greatest of the last sums plus `x` is the answer.
    """
    nodes = [helper.make_node("Cast", ["held"], ["wide"], to=TensorProto.FLOAT)]
    more = "x"
    for number in range(times):
        nodes += [
            helper.make_node("Add", ["wide", more], [f"in {number}"]),
            helper.make_node("Conv", [f"in {number}", "w"], [f"rows {number}"]),
            helper.make_node("ReduceMax", [f"rows {number}"], [f"most {number}"], keepdims=1),
            helper.make_node("Min", [f"most {number}", "x"], [f"more {number}"]),
        ]
        more = f"more {number}"
    nodes[-1] = helper.make_node("Add", [f"most {times - 1}", "x"], ["y"])
    types = {"held": TensorProto.FLOAT16, "w": TensorProto.FLOAT, "x": TensorProto.FLOAT, "y": TensorProto.FLOAT}
    ends = {name: helper.make_tensor_value_info(name, kind, [None] * 4) for name, kind in types.items()}
    graph = helper.make_graph(nodes, "dry", [ends["x"], ends["held"], ends["w"]], [ends["y"]])
    model = onnx.ModelProto(
        ir_version=PROGRAM_IR_VERSION, opset_import=[helper.make_opsetid("", PROGRAM_OPSET)], graph=graph
    )
    program: bytes = model.SerializeToString(deterministic=True)
    return program


@cache
def _convolution(kernel: int) -> bytes:
    """The program that agents run for such a layer; channels do not enter."""
    around = (kernel // 2, kernel // 2)
    spec = ConvSpec((kernel, kernel), (1, 1), (1, 1), around, around, 1, 1, 1)
    return slice_program(spec, HEIGHT, "f32")


@cache
def _cast(source: int, target: int) -> bytes:
    node = helper.make_node("Cast", ["x"], ["y"], to=target)
    ends = [helper.make_tensor_value_info(name, kind, ["n"]) for name, kind in (("x", source), ("y", target))]
    model = onnx.ModelProto(
        ir_version=PROGRAM_IR_VERSION,
        opset_import=[helper.make_opsetid("", PROGRAM_OPSET)],
        graph=helper.make_graph([node], "cast", ends[:1], ends[1:]),
    )
    program: bytes = model.SerializeToString(deterministic=True)
    return program


def _throwaway_identity() -> tuple[str, str]:
    """A certificate and its key, which nobody trusts and nothing keeps."""
    with tempfile.TemporaryDirectory(prefix="cocoi-") as folder:
        identity = make_identity(Path(folder), "profile")
        return identity.certificate.read_text("ascii"), identity.key.read_text("ascii")
