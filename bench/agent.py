"""What the agent adds to ONNX Runtime: time of a share, and memory.

    python bench/agent.py [--rounds 15] [--json FILE]

A real agent process computes one share of VGG16's conv3_2 and conv4_2 at k=4, cut
into strips; the time runs from the moment the agent has the share to the moment the
host has the last strip (both on the machine's monotonic clock, so the way back is
included). Beside it the same strips in bare ONNX Runtime: the same graph, weights
fed, one thread, strips already cut. The two take turns; the ratio is the median of
the ratios within a turn. Memory is the agent's resident set after all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

import numpy as np  # noqa: E402 - the path comes first
from onnx import TensorProto, helper  # noqa: E402

from cocoi_agent.engine import new_session, run_options  # noqa: E402
from cocoi_agent.transport import Connection, connect  # noqa: E402
from cocoi_agent.wire.messages import (  # noqa: E402
    Answer,
    AskVitals,
    Binding,
    Credit,
    Hello,
    Load,
    Message,
    Part,
    Put,
    Run,
    Vitals,
)
from cocoi_agent.wire.programs import program_id  # noqa: E402
from cocoi_agent.wire.tensors import AnyArray, describe  # noqa: E402


@dataclass(frozen=True)
class Layer:
    """A convolution of VGG16 and how a share of it is cut into strips (rows of output)."""

    name: str
    channels: int
    width: int
    strips: tuple[int, ...]


LAYERS = (Layer("conv3_2", 256, 56, (4, 4, 3, 3)), Layer("conv4_2", 512, 28, (4, 3)))
CREDIT = 1 << 26
MEMORY_BAR = 120 * 1024 * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="turns of each layer (default 15)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    report = asyncio.run(measure(options.rounds))
    print(f"{'':10}{'bare ms':>10}{'agent ms':>10}{'ratio':>8}{'computed ms':>13}")
    for name, row in report["layers"].items():
        print(f"{name:10}{row['bare_ms']:10.2f}{row['agent_ms']:10.2f}{row['ratio']:8.3f}{row['computed_ms']:13.2f}")
    memory = report["memory"]
    print(f"\nresident {memory['rss_mb']:.1f} MB, of it weights {memory['weights_mb']:.1f} MB (bar: 120 MB + weights)")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


class Host:
    """The least a host can be: sends, and takes messages one by one."""

    def __init__(self) -> None:
        self._inbox: asyncio.Queue[tuple[float, Message, tuple[AnyArray, ...]]] = asyncio.Queue()
        self._unreturned = 0
        self.connection: Connection | None = None

    def on_message(self, connection: Connection, message: Message, tensors: tuple[AnyArray, ...]) -> None:
        """Note the time of arrival."""
        now = time.monotonic()
        self._unreturned += sum(array.nbytes for array in tensors)
        if self._unreturned > CREDIT // 2:  # in lumps: each return costs the agent a wake-up
            connection.send_nowait_control(Credit(self._unreturned))
            self._unreturned = 0
        if not isinstance(message, Credit):
            self._inbox.put_nowait((now, message, tensors))

    async def ask(self, message: Message, *arrays: AnyArray) -> tuple[float, Message, tuple[AnyArray, ...]]:
        """Send, and wait for one message."""
        assert self.connection is not None
        self.connection.send(message, arrays)
        return await self._inbox.get()

    async def next(self) -> tuple[float, Message, tuple[AnyArray, ...]]:
        """One message and when it came."""
        return await self._inbox.get()


async def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Start an agent, and let it and bare ONNX Runtime take turns."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "agent")}
    command = [sys.executable, "-m", "cocoi_agent", "--embedded", "--security", "none"]
    agent = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in the loop yet
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    assert agent.stdin is not None
    assert agent.stdout is not None
    try:
        port = json.loads(agent.stdout.readline())["port"]
        host = Host()
        host.connection = await connect(
            "127.0.0.1", port, ssl_context=None, on_message=host.on_message, on_lost=lambda *_: None
        )
        await host.ask(Hello((1, 1), "bench", (), "bench", 1 << 28, CREDIT))
        layers = {layer.name: await _measure_layer(host, layer, rounds) for layer in LAYERS}
        _, vitals, _ = await host.ask(AskVitals())
        assert isinstance(vitals, Vitals)
        rss = vitals.memory_rss or 0
        await host.connection.aclose()
    finally:
        agent.stdin.close()
        agent.wait()
        agent.stdout.close()
    weights = sum(layer.channels**2 * 36 for layer in LAYERS)
    memory = {
        "rss_mb": rss / 1e6,
        "weights_mb": weights / 1e6,
        "within_bar": float(rss <= MEMORY_BAR + weights),
    }
    return {"layers": layers, "memory": {"agent": 0.0, **memory}}  # type: ignore[dict-item] # one flat row


async def _measure_layer(host: Host, layer: Layer, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    weights = (rng.standard_normal((layer.channels, layer.channels, 3, 3)) / 48).astype(np.float32)
    x = rng.standard_normal((1, layer.channels, sum(layer.strips) + 2, layer.width)).astype(np.float16)
    graph = conv_graph(layer.channels)
    program = await _load(host, graph, weights)
    parts = _parts(layer)
    session = new_session(graph)
    cut = [np.ascontiguousarray(x[:, :, part.start : part.stop]) for part in parts]
    turns: list[tuple[float, float, float]] = []
    for turn in range(rounds + 2):
        begun = time.perf_counter()
        for strip in cut:
            session.run(["y16"], {"x": strip, "w": weights}, run_options())
        bare = time.perf_counter() - begun
        run = Run(turn, 0, 0, program, (describe("x", x),), axis=2, parts=parts, reply_dtype="f16")
        agent, computed = await _run_share(host, run, x)
        turns.append((bare, agent, computed))
    turns = turns[2:]
    return {
        "bare_ms": statistics.median(turn[0] for turn in turns) * 1e3,
        "agent_ms": statistics.median(turn[1] for turn in turns) * 1e3,
        "ratio": statistics.median(turn[1] / turn[0] for turn in turns),
        "computed_ms": statistics.median(turn[2] for turn in turns) * 1e3,
    }


async def _run_share(host: Host, run: Run, x: AnyArray) -> tuple[float, float]:
    """Seconds from share received to last strip at the host; and to last strip computed."""
    assert host.connection is not None
    host.connection.send(run, [x])
    arrived, answer = 0.0, None
    for _ in run.parts:
        arrived, answer, _ = await host.next()
        assert isinstance(answer, Answer)
        assert answer.status == "done", answer
    assert isinstance(answer, Answer)
    return arrived - answer.received_s, answer.finished_s - answer.received_s


async def _load(host: Host, graph: bytes, weights: AnyArray) -> str:
    blobs = [np.frombuffer(graph, np.uint8), weights.reshape(-1).view(np.uint8)]
    digests = [hashlib.sha256(blob.tobytes()).hexdigest() for blob in blobs]
    for digest, blob in zip(digests, blobs, strict=True):
        await host.ask(Put(digest, (describe("blob", blob),)), blob)
    bindings = (Binding("w", digests[1], "f32", weights.shape),)
    program = program_id(digests[0], bindings, linear=True)
    await host.ask(Load(program, digests[0], bindings, linear=True))
    return program


def _parts(layer: Layer) -> tuple[Part, ...]:
    """Input rows of each strip: two more than it has output rows."""
    starts = [sum(layer.strips[:at]) for at in range(len(layer.strips))]
    return tuple(
        Part(at, start, start + rows + 2) for at, (start, rows) in enumerate(zip(starts, layer.strips, strict=True))
    )


def conv_graph(channels: int) -> bytes:
    """A 3 by 3 convolution with its weights fed, in float16 outside and float32 inside."""
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["wide", "w"], ["y32"], pads=[0, 1, 0, 1]),
        helper.make_node("Cast", ["y32"], ["y16"], to=TensorProto.FLOAT16),
    ]
    graph = helper.make_graph(
        nodes,
        "conv",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1, channels, None, None]),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [channels, channels, 3, 3]),
        ],
        [
            helper.make_tensor_value_info("y16", TensorProto.FLOAT16, None),
            helper.make_tensor_value_info("y32", TensorProto.FLOAT, None),
        ],
    )
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()
    return model


if __name__ == "__main__":
    main()
