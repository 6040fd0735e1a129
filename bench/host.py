"""What a frame costs the host: processor time beyond kernels and copies.

    python bench/host.py [--rounds 7] [--json FILE]

A *frame* is one message that the host sends or receives during an inference: a share out,
an answer in, a skip, a credit, a ping. The network has the depth, the heights and therefore
the strips of VGG16 at 224, and so its schedule, but few channels and a narrow picture: its
shares have a few kilobytes, so that convolving, encoding, casting, copying and moving bytes
cost next to nothing, while everything that is done per frame, per strip and per stage is done
as often as ever. Real agents in processes of their own answer over the loopback.

Two figures: *all* processor time of the host's process during the inference, by the number
of shares, which is what a plan pays for, and of frames; and the same without what is left of
kernels and copies (casts, mixing, cutting, joining, ONNX Runtime on local stages), whose time
is taken call by call, by frames. System calls stay in both, and so does the change of thread
for each local stage. The second figure is held against the bar, without TLS; with TLS it
stands beside it.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported: as the command line has it

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from small_network import small_vgg

from cocoi_agent.transport import Connection, host_context
from cocoi_cli.codes import generator_code
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import LocalStage, Network
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.runtime import work
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.link import AgentLink, Connector, tcp
from cocoi_cli.runtime.loading import loading_of
from cocoi_cli.runtime.trust import make_identity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from cocoi_agent.transport import OnLost, OnMessage
    from cocoi_agent.wire.messages import Message
    from cocoi_agent.wire.tensors import AnyArray
    from cocoi_cli.planning.plan import Plan

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((6, 4), (10, 8))


class Frames:
    """Counts what goes over the connections of all links."""

    def __init__(self) -> None:
        self.count = 0

    def over(self, connect: Connector) -> Connector:
        """A connector whose connections are counted."""

        async def connector(on_message: OnMessage, on_lost: OnLost, /) -> Connection:
            def counted(connection: Connection, message: Message, tensors: tuple[AnyArray, ...]) -> None:
                self.count += 1
                on_message(connection, message, tensors)

            connection = await connect(counted, on_lost)
            for name in ("send", "send_nowait", "send_nowait_control"):
                setattr(connection, name, self._counted(getattr(connection, name)))
            return connection

        return connector

    def _counted(self, send: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            self.count += 1
            return send(*arguments)

        return counted


class Kernels:
    """Adds up the processor time of kernels and copies, by putting a clock around each."""

    PLACES = (
        (work, ("to_float16", "to_float32", "cut_strip", "join_piece")),
        (generator_code, ("mix",)),
        (HostKernels, ("run_stage",)),
    )

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextlib.contextmanager
    def clocked(self) -> Iterator[None]:
        """Clocks on, and off again."""
        plain = [(place, name, getattr(place, name)) for place, names in self.PLACES for name in names]
        for place, name, function in plain:
            setattr(place, name, self._clocked(function))
        try:
            yield
        finally:
            for place, name, function in plain:
                setattr(place, name, function)

    def _clocked(self, function: Callable[..., object]) -> Callable[..., object]:
        def clocked(*arguments: object, **named: object) -> object:
            begun = time.thread_time()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.thread_time() - begun

        return clocked


@dataclass(frozen=True, slots=True)
class Bench:
    """A fleet with the programs of the network, ready for one inference after another."""

    coordinator: Coordinator
    job: Job
    frames: Frames


def measure(
    rounds: int = 7, sizes: Sequence[tuple[int, int]] = SIZES, secure: Sequence[bool] = (False, True)
) -> dict[str, dict[str, float]]:
    """Microseconds of the host's processor, by size of the code, with and without TLS."""
    return {
        f"({n},{k}){', TLS' if encrypted else ''}": asyncio.run(_measure(n, k, rounds, secure=encrypted))
        for encrypted in secure
        for n, k in sizes
    }


async def _measure(n: int, k: int, rounds: int, *, secure: bool) -> dict[str, float]:
    kernels = Kernels()
    turns = []
    async with _bench(n, k, secure=secure) as bench:
        for turn in range(rounds + 2):  # two to warm up
            frames, aside, cpu = bench.frames.count, kernels.seconds, time.process_time()
            with kernels.clocked():
                outcome = await bench.coordinator.run(bench.job)
            cpu, aside, frames = time.process_time() - cpu, kernels.seconds - aside, bench.frames.count - frames
            shares = sum(agent.used + agent.late + agent.cancelled for agent in outcome.agents)
            if turn > 1:
                turns.append((1e6 * (cpu - aside) / frames, 1e6 * cpu / frames, 1e6 * cpu / shares, frames, shares))
    names = ("us_per_frame", "all_us_per_frame", "all_us_per_share", "frames", "shares")
    return dict(zip(names, map(statistics.median, zip(*turns, strict=True)), strict=True))


@contextlib.asynccontextmanager
async def _bench(n: int, k: int, *, secure: bool) -> AsyncIterator[Bench]:
    kernels, frames = HostKernels(threads=1), Frames()
    coordinator = Coordinator(kernels)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network, plan = _network(folder, n, k)
        loading = loading_of(network, plan)
        links = []
        for number in range(n):
            connect = await _agent(folder, f"agent-{number}", stack, secure=secure)
            link = AgentLink(f"agent-{number}", coordinator)
            await link.open("loopback", frames.over(connect))
            stack.push_async_callback(link.aclose)
            await link.prepare(loading.at(number), loading.blobs)
            links.append(link)
        coordinator.attach(links)
        for stage in network.stages:
            if isinstance(stage, LocalStage):
                kernels.open_stage(stage)
        x = np.random.default_rng(1).standard_normal(network.model.inputs[0].shape).astype(np.float32)
        tensors = {network.model.inputs[0].name: x}
        yield Bench(
            coordinator,
            Job(network=network, plan=plan, programs=loading.stages, tensors=tensors, deadline_s=60.0),
            frames,
        )


def _network(folder: Path, n: int, k: int) -> tuple[Network, Plan]:
    path = folder / "small-vgg.onnx"
    path.write_bytes(small_vgg())
    model = load_model(path)
    shape = tuple(int(size) for size in model.inputs[0].shape or ())
    prepared = find_layers(model, {model.inputs[0].name: shape})
    plan = default_plan(prepared.layers, agents=n, scheme="coded", n=n, k=k, transport="f16")
    assert len(plan.distributed) == len(plan.layers), "a layer of the small network stays local"
    return cut(prepared, plan.distributed), plan


async def _agent(folder: Path, name: str, stack: contextlib.AsyncExitStack, *, secure: bool) -> Connector:
    """Start an agent that ends with the stack; how to connect to it."""
    trust, context = ["--security", "none"], None
    if secure:
        host, agent = make_identity(folder, f"{name}.host"), make_identity(folder, name)
        trust = ["--cert", str(agent.certificate), "--key", str(agent.key), "--peer", str(host.certificate)]
        context = host_context(host.certificate, host.key, agent.certificate)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cocoi_agent", "--embedded", "--id", name, "--port", "0"),
        *("--store", str(folder / f"{name}.store"), *trust),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT / "agent")},
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stack.push_async_callback(process.wait)
    stack.callback(process.stdin.close)  # an embedded agent ends when this pipe does
    port = int(json.loads(await process.stdout.readline())["port"])
    return tcp("127.0.0.1", port, context)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="inferences per fleet (default 7)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    report = measure(options.rounds)
    for name, figures in report.items():
        print(f"{name:18}", {key: round(value, 1) for key, value in figures.items()})
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
