"""What the agent adds to ONNX Runtime: time of a share, and memory.

    python bench/agent.py [--rounds 25] [--json FILE]

A real agent process computes one share of VGG16's conv3_2 and conv4_2 at k=4, cut
into strips. The time that is held against the bar runs from the moment the agent has
the share to the moment the last strip is sent: all its bytes are with the kernel.
Beside it stands the moment the host has that strip. Both are read off the machine's
monotonic clock. Bare ONNX Runtime computes the same strips in the same process and
session: strips already cut, weights fed, one thread (`bench/timed_agent.py`). The two
take turns; the ratio is the median of the ratios within a turn. Memory is the agent's
resident set after all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

import numpy as np  # noqa: E402 - the path comes first
from onnx import TensorProto, helper  # noqa: E402
from timed_agent import TURN  # noqa: E402

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
    UnknownMessage,
    Vitals,
)
from cocoi_agent.wire.programs import program_id  # noqa: E402
from cocoi_agent.wire.tensors import AnyArray, describe  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(frozen=True)
class Layer:
    """A convolution of VGG16 and how a share of it is cut into strips (rows of output)."""

    name: str
    channels: int
    width: int
    strips: tuple[int, ...]


LAYERS = (Layer("conv3_2", 256, 56, (4, 4, 3, 3)), Layer("conv4_2", 512, 28, (4, 3)))
CREDIT = 1 << 26
WARM_UP = 5  # turns
MEMORY_BAR = 120 * 1024 * 1024


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="turns of each layer (default 25)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    report = asyncio.run(measure(options.rounds))
    print(f"{'':10}{'bare ms':>9}{'computed':>10}{'sent':>8}{'ratio':>8}{'at host':>10}{'ratio':>8}")
    for name, row in report["layers"].items():
        print(f"{name:10}{row['bare_ms']:9.2f}{row['computed_ms']:10.2f}", end="")
        print(f"{row['sent_ms']:8.2f}{row['sent_ratio']:8.3f}{row['agent_ms']:10.2f}{row['ratio']:8.3f}")
    memory = report["memory"]
    print(f"\nresident {memory['rss_mb']:.1f} MB, of it weights {memory['weights_mb']:.1f} MB (bar: 120 MB + weights)")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


@dataclass(frozen=True)
class Turn:
    """Seconds of one share: bare; and from its arrival until it was computed, was sent, had arrived at the host."""

    bare: float
    computed: float
    sent: float
    arrived: float


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


class Agent:
    """The agent process, what it prints, and the host's end of the connection."""

    def __init__(self, process: subprocess.Popen[bytes], host: Host) -> None:
        self._process = process
        self.host = host

    def line(self) -> dict[str, float]:
        """The next line that the process prints."""
        assert self._process.stdout is not None
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found


@contextlib.asynccontextmanager
async def _agent() -> AsyncIterator[Agent]:
    """Start an agent and greet it; it ends with the context."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "agent")}
    script = str(Path(__file__).with_name("timed_agent.py"))
    process = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in the loop yet
        [sys.executable, script, "--embedded", "--security", "none"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    with process:  # closes the pipes, at which an embedded agent ends, and waits
        agent = Agent(process, Host())
        connection = await connect(
            "127.0.0.1",
            int(agent.line()["port"]),
            ssl_context=None,
            on_message=agent.host.on_message,
            on_lost=lambda *_: None,
        )
        agent.host.connection = connection
        await agent.host.ask(Hello((1, 1), "bench", (), "bench", 1 << 28, CREDIT))
        yield agent
        await connection.aclose()


async def measure(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Let an agent and bare ONNX Runtime take turns.

    Returns:
        Under `layers`, by name: `sent_ratio`, which is held against the bar; `ratio`, with
        the way back to the host; the milliseconds of both and of what they stand on. Under
        `memory`: the agent's resident set.
    """
    async with _agent() as agent:
        layers = {layer.name: await _measure_layer(agent, layer, rounds) for layer in LAYERS}
        _, vitals, _ = await agent.host.ask(AskVitals())
    assert isinstance(vitals, Vitals)
    rss = vitals.memory_rss or 0
    weights = sum(layer.channels**2 * 36 for layer in LAYERS)
    memory = {
        "rss_mb": rss / 1e6,
        "weights_mb": weights / 1e6,
        "within_bar": float(rss <= MEMORY_BAR + weights),
    }
    return {"layers": layers, "memory": {"agent": 0.0, **memory}}  # type: ignore[dict-item] # one flat row


async def _measure_layer(agent: Agent, layer: Layer, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(1)
    weights = (rng.standard_normal((layer.channels, layer.channels, 3, 3)) / 48).astype(np.float32)
    x = rng.standard_normal((1, layer.channels, sum(layer.strips) + 2, layer.width)).astype(np.float16)
    program = await _load(agent.host, conv_graph(layer.channels), weights)
    turns: list[Turn] = []
    for turn in range(rounds + WARM_UP):
        run = Run(turn, 0, 0, program, (describe("x", x),), axis=2, parts=_parts(layer), reply_dtype="f16")
        turns.append(await _turn(agent, run, x))
    del turns[:WARM_UP]
    return {
        "bare_ms": statistics.median(turn.bare for turn in turns) * 1e3,
        "computed_ms": statistics.median(turn.computed for turn in turns) * 1e3,
        "sent_ms": statistics.median(turn.sent for turn in turns) * 1e3,
        "sent_ratio": statistics.median(turn.sent / turn.bare for turn in turns),
        "agent_ms": statistics.median(turn.arrived for turn in turns) * 1e3,
        "ratio": statistics.median(turn.arrived / turn.bare for turn in turns),
    }


async def _turn(agent: Agent, run: Run, x: AnyArray) -> Turn:
    """One share, then the same strips bare."""
    assert agent.host.connection is not None
    agent.host.connection.send(run, [x])
    arrived, answer = 0.0, None
    for _ in run.parts:
        arrived, answer, _ = await agent.host.next()
        assert isinstance(answer, Answer)
        assert answer.status == "done", answer
    assert isinstance(answer, Answer)
    agent.host.connection.send_nowait_control(UnknownMessage(TURN))
    timed = agent.line()
    # Over the loopback the host may run before the agent's last write returns: what has arrived was sent.
    sent, begun = min(timed["sent_s"], arrived), answer.received_s
    return Turn(timed["bare_s"], answer.finished_s - begun, sent - begun, arrived - begun)


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
