"""Shares that measure agents: programs for them to hold, and a hub that pairs answers with moments."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_agent.wire.messages import Binding, Status
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import bytes_of
from cocoi_cli.fleet.workloads import HEIGHT, dry_convolution
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.slices import slice_program
from cocoi_cli.runtime.link import Program
from cocoi_cli.runtime.link_errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_agent.wire.messages import Answer
    from cocoi_cli.fleet.workloads import Cell
    from cocoi_cli.runtime.inference import Link as AnyLink
    from cocoi_cli.runtime.link import AgentLink
    from cocoi_cli.runtime.report import AnyArray

WIDE: Final = (1, 512, 16, 64)  # a float16 megabyte


@dataclass(frozen=True, slots=True)
class Timed:
    """One answer: when the share was sent and the answer was here, and what the agent's clock says."""

    sent_s: float
    here_s: float
    answer: Answer


class Hub:
    """Owner of the links: pairs answers with shares."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], tuple[float, asyncio.Future[Timed]]] = {}
        self._number = itertools.count(1)

    def send(self, link: AgentLink, program: str, x: AnyArray, reply: str) -> asyncio.Future[Timed]:
        """Send one share; its answer comes as the result."""
        number = next(self._number)
        future: asyncio.Future[Timed] = asyncio.get_running_loop().create_future()
        self._waiting[link.id, number] = time.monotonic(), future
        link.send_share(
            stream=0, codeword=number, share=0, program=program, x=x, scale=1.0, axis=HEIGHT, reply=reply,
            deadline_s=None,
        )  # fmt: skip
        return future

    def answered(self, link: AnyLink, answer: Answer, tensors: Sequence[AnyArray]) -> None:
        """An answer is here."""
        del tensors
        sent, future = self._waiting.pop((link.id, answer.codeword), (0.0, None))
        if future is None or future.done():
            return
        if answer.status is Status.DONE:
            future.set_result(Timed(sent, time.monotonic(), answer))
        else:
            future.set_exception(LinkError(link.id, link.id, f"{answer.message} (`{answer.code}`)"))

    def lost(self, link: AnyLink, cause: str) -> None:
        """An agent is gone, and its shares with it."""
        for key in [key for key in self._waiting if key[0] == link.id]:
            _, future = self._waiting.pop(key)
            if not future.done():
                future.set_exception(LinkError(link.id, link.id, cause))


async def load(link: AgentLink, kernel: int, in_channels: int, out_channels: int) -> str:
    """Make the agent hold a convolution of this size, with any weights."""
    pads = (0, kernel // 2)
    spec = ConvSpec((kernel, kernel), (1, 1), (1, 1), pads, pads, 1, in_channels, out_channels)
    graph = slice_program(spec, HEIGHT, "f16")
    return await _prepare(link, graph, {"w": ("f32", _weights(kernel, in_channels, out_channels))}, linear=True)


async def load_dry(link: AgentLink, cell: Cell, times: int = 1) -> str:
    """Make the agent hold a convolution, done so often in a share, together with what it convolves."""
    kernel, in_channels, out_channels, _, _ = cell
    held = {"w": ("f32", _weights(kernel, in_channels, out_channels)), "held": ("f16", rows_of(cell))}
    return await _prepare(link, dry_convolution(times), held, linear=False)


async def _prepare(link: AgentLink, graph: bytes, held: Mapping[str, tuple[str, AnyArray]], *, linear: bool) -> str:
    digest = hashlib.sha256(graph).hexdigest()
    blobs: dict[str, bytes | memoryview] = {digest: graph}
    bindings = []
    for name, (dtype, array) in held.items():
        data = bytes_of(array)
        key = hashlib.sha256(data).hexdigest()
        blobs[key] = data
        bindings.append(Binding(name, key, dtype, array.shape, "input"))
    program = Program(program_id(digest, tuple(bindings), linear=linear), digest, tuple(bindings), linear=linear)
    await link.prepare((program,), blobs)
    return program.id


def _weights(kernel: int, in_channels: int, out_channels: int) -> AnyArray:
    # Sums as large as what is convolved: those that float16 hardly holds are computed a second time.
    return np.full((out_channels, in_channels, kernel, kernel), (in_channels * kernel**2) ** -0.5, np.float32)


def rows_of(cell: Cell) -> AnyArray:
    """The rows of input that a slice needs, with what its columns need at the sides."""
    kernel, in_channels, _, width, rows = cell
    return noise((1, in_channels, rows + kernel - 1, width + kernel - 1))


def noise(shape: tuple[int, ...]) -> AnyArray:
    """Float16 numbers, the same at any time."""
    return np.random.default_rng(1).standard_normal(shape).astype(np.float16)


NUMBER: Final = noise((1, 1, 1, 1))
"""What makes a share of a program that holds what it convolves."""
