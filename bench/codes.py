"""What the code itself costs: encoding and decoding against the convolution they serve.

For VGG16 layers at (10,8): the time to make both parity shares and to recover one missing
piece, as a share of the time ONNX Runtime takes for the whole convolution, all on one
thread. The three are timed in turns, so that a busy neighbour slows them alike, and
medians are compared. Encoding and decoding are timed twice in each turn: `cold`, the
first call after a convolution has emptied the caches, and then with the data at hand,
as on a host that has just cut the pieces and received the answers while the agents
convolve. Results go into memory that is used again, as they do there (`runtime.blocks`).
Both shares are printed; the second is the one held against the limit.

    python bench/codes.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: one thread against one thread

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from cocoi_cli.codes.families.coded import SystematicCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from cocoi_cli.codes.code import Array

AGENTS = 10
PIECES = 8
REPEATS = 5  # calls per turn with the data at hand
LAYERS = {  # VGG16 at 224: channels in, channels out, height and width of input and output
    "conv1_2": (64, 64, 224),
    "conv2_2": (128, 128, 112),
    "conv3_1": (128, 256, 56),
    "conv3_2": (256, 256, 56),
    "conv3_3": (256, 256, 56),
    "conv4_1": (256, 512, 28),
    "conv4_2": (512, 512, 28),
    "conv4_3": (512, 512, 28),
}
OUTSIDE_THE_BAR = {"conv1_2"}


def main() -> None:
    """Measure, print the table, write the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="turns per layer (default: 15)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()

    print(f"systematic code ({AGENTS},{PIECES}), one thread, medians of {arguments.rounds} turns\n")
    print(f"{'layer':<8} {'conv ms':>9} {'encode ms':>10} {'decode ms':>10} {'share':>8} {'cold':>8}")
    document = measure(arguments.rounds)
    for layer, figures in document.items():
        print(
            f"{layer:<8} {figures['conv_ms']:9.2f} {figures['encode_ms']:10.3f} {figures['decode_ms']:10.3f}"
            f" {figures['percent']:7.2f}% {figures['cold_percent']:7.2f}%"
        )
    largest = {figure: worst(document, figure) for figure in ("percent", "cold_percent")}
    print(f"\nlargest share from conv2_2 to conv4_3: {largest['percent']:.2f}%, cold {largest['cold_percent']:.2f}%")
    if arguments.json:
        arguments.json.write_text(json.dumps({"layers": document, "largest": largest}, indent=2) + "\n")


def measure(rounds: int = 15) -> dict[str, dict[str, float]]:
    """Every layer: medians of conv, encode and decode, and their ratios in percent."""
    code = SystematicCode(AGENTS, PIECES, gain_limit=1000)
    return {layer: measure_layer(*size, code=code, rounds=rounds) for layer, size in LAYERS.items()}


def worst(report: dict[str, dict[str, float]], figure: str) -> float:
    """The largest value of a figure among the layers of the bar."""
    return max(figures[figure] for layer, figures in report.items() if layer not in OUTSIDE_THE_BAR)


def measure_layer(channels: int, filters: int, side: int, *, code: SystematicCode, rounds: int) -> dict[str, float]:
    """Time one 3 by 3 layer: whole convolution, both parity shares, one missing piece."""
    rng = np.random.default_rng(1)
    image = np.maximum(rng.standard_normal((1, channels, side, side)), 0).astype(np.float32)
    session = conv_session(channels, filters)
    weight = (rng.standard_normal((filters, channels, 3, 3)) / math.sqrt(9 * channels)).astype(np.float32)

    height = math.ceil(side / PIECES)
    pieces = rng.standard_normal((PIECES, channels, height + 2, side + 2)).astype(np.float32)
    answers: Array = rng.standard_normal((PIECES, filters, height, side)).astype(np.float32)
    arrived = [*range(1, PIECES), PIECES]  # the first piece is missing, one parity share came

    def convolve() -> None:
        session.run(None, {"x": image, "w": weight})

    mixtures, recovered = np.empty_like(pieces[: AGENTS - PIECES]), np.empty_like(answers[:1])

    def encode() -> None:
        code.encode_shares(pieces, range(PIECES, AGENTS), mixtures)

    def decode() -> None:
        code.decode(arrived, answers, recovered)

    times: dict[str, list[float]] = {}
    for turn in range(rounds + 1):  # the first one warms up and does not count
        for name, step in (("conv", convolve), ("encode", encode), ("conv", convolve), ("decode", decode)):
            cold_ms = milliseconds(step)
            warm_ms = cold_ms if name == "conv" else milliseconds(step, REPEATS)
            if turn:
                times.setdefault(f"{name}, cold", []).append(cold_ms)
                times.setdefault(name, []).append(warm_ms)
    median = {name: statistics.median(kept) for name, kept in times.items()}
    return {
        "conv_ms": median["conv"],
        "encode_ms": median["encode"],
        "decode_ms": median["decode"],
        "percent": 100 * (median["encode"] + median["decode"]) / median["conv"],
        "cold_percent": 100 * (median["encode, cold"] + median["decode, cold"]) / median["conv"],
    }


def milliseconds(step: Callable[[], None], repeats: int = 1) -> float:
    """CPU milliseconds of this thread per call."""
    begun = time.thread_time()
    for _ in range(repeats):
        step()
    return 1000 * (time.thread_time() - begun) / repeats


def conv_session(channels: int, filters: int) -> onnxruntime.InferenceSession:
    """A single-threaded session of one 3 by 3 convolution whose weights are an input."""
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])],
        "conv",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, channels, "height", "width"]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [filters, channels, 3, 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, filters, "height", "width"])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
