"""Measuring devices through their agents: what an inference finds, without a login.

All agents convolve at once, as in an inference, and what each answers tells when it began
and ended by its own clock. What a share costs beside its convolution (receiving, unpacking,
answering) is what is left when shares follow each other without a pause. Links are measured
one after the other, because they share the host's port.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_agent.wire.messages import Binding, Status
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import bytes_of
from cocoi_cli.fleet.workloads import GRID, HEIGHT, flops
from cocoi_cli.model.network import ConvSpec
from cocoi_cli.model.slices import slice_program
from cocoi_cli.planning.profile import Compute, Convolution, DeviceProfile, Link, Round, Samples
from cocoi_cli.runtime.connecting import open_living
from cocoi_cli.runtime.link import AgentLink, LinkError, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from cocoi_agent.wire.messages import Answer
    from cocoi_cli.fleet.workloads import Cell
    from cocoi_cli.runtime.addresses import AgentAddress
    from cocoi_cli.runtime.inference import Link as AnyLink
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.trust import Identity

SHARES: Final = 6  # of each slice, in flight together: an agent that computes in bursts shows its mean
BUDGET_S: Final = 30.0  # for the slices of one agent; what is left then is skipped
FEWEST: Final = 8  # slices that are measured however slow a device is
STRIDE: Final = 5  # slices are taken at this step, so that those of a slow device are of all kinds
TINY_SHARES: Final = 40
TRIPS: Final = 20
SLICE_S: Final = 60.0  # a slice that takes longer is given up
WIDE: Final = (1, 512, 16, 64)  # a float16 megabyte
PATIENCE_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Timed:
    """One answer: when the share was sent and the answer was here, and what the agent's clock says."""

    sent_s: float
    here_s: float
    answer: Answer


@dataclass(slots=True)
class _Agent:
    """One agent while it is measured."""

    link: AgentLink
    convolutions: list[Convolution] = field(default_factory=list)
    skipped: int = 0
    spent_s: float = 0.0
    tasks: tuple[float, ...] = ()
    rounds: list[Round] = field(default_factory=list)


class _Hub:
    """Owner of the links: pairs answers with shares."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, int], tuple[float, asyncio.Future[_Timed]]] = {}
        self._number = itertools.count(1)

    def send(self, link: AgentLink, program: str, x: AnyArray, reply: str) -> asyncio.Future[_Timed]:
        """Send one share; its answer comes as the result."""
        number = next(self._number)
        future: asyncio.Future[_Timed] = asyncio.get_running_loop().create_future()
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
            future.set_result(_Timed(sent, time.monotonic(), answer))
        else:
            future.set_exception(LinkError(link.id, link.id, f"{answer.message} (`{answer.code}`)"))

    def lost(self, link: AnyLink, cause: str) -> None:
        """An agent is gone, and its shares with it."""
        for key in [key for key in self._waiting if key[0] == link.id]:
            _, future = self._waiting.pop(key)
            if not future.done():
                future.set_exception(LinkError(link.id, link.id, cause))


async def measure(
    addresses: Sequence[AgentAddress],
    identity: Identity | None,
    *,
    made: str,
    rounds: int = 3,
    cells: Sequence[Cell] = GRID,
    on_stage: Callable[[str, str], None] | None = None,
) -> dict[str, DeviceProfile | LinkError]:
    """Measure agents; one that is down or fails holds up nobody.

    Args:
        addresses: Of the agents, with distinct names.
        identity: Certificate and key of this host; None where the fleet has none.
        made: The date of the profile, ISO 8601.
        rounds: How often each link is gone over.
        cells: What to convolve.
        on_stage: Told what is being done with each agent.

    Raises:
        BadKeysError: This host has no usable key.
    """
    hub = _Hub()
    links = [AgentLink(address.id, hub) for address in addresses]
    found: dict[str, DeviceProfile | LinkError] = {}
    say = on_stage or (lambda _agent, _what: None)
    found.update(await open_living(links, addresses, identity, within_s=PATIENCE_S))
    agents = [_Agent(link) for link in links if link.id not in found]
    try:
        for agent in agents:
            say(agent.link.id, "link")
            await _guard(agent, found, _measure_link(hub, agent, rounds))
        for cell in [cell for first in range(STRIDE) for cell in cells[first::STRIDE]]:
            busy = [agent for agent in agents if agent.link.id not in found]
            for agent in busy:
                say(agent.link.id, "compute")
            await asyncio.gather(*(_guard(agent, found, _measure_cell(hub, agent, cell)) for agent in busy))
        busy = [agent for agent in agents if agent.link.id not in found]
        await asyncio.gather(*(_guard(agent, found, _measure_tasks(hub, agent)) for agent in busy))
    finally:
        await asyncio.gather(*(link.aclose() for link in links))
    for agent in agents:
        if agent.link.id not in found:
            found[agent.link.id] = _profile(agent, made)
    return {address.id: found[address.id] for address in addresses}


async def _guard(agent: _Agent, found: dict[str, DeviceProfile | LinkError], step: Coroutine[None, None, None]) -> None:
    """Take a step with one agent; what it fails by is kept as its result."""
    try:
        async with asyncio.timeout(SLICE_S):
            await step
    except LinkError as error:
        found[agent.link.id] = error
    except TimeoutError:
        found[agent.link.id] = LinkError(agent.link.id, agent.link.id, f"no answer within {SLICE_S:g} s")


async def _measure_cell(hub: _Hub, agent: _Agent, cell: Cell) -> None:
    kernel, in_channels, out_channels, width, rows = cell
    if agent.spent_s > BUDGET_S and len(agent.convolutions) >= FEWEST:
        agent.skipped += 1
        return
    start = time.monotonic()
    program = await _load(agent.link, kernel, in_channels, out_channels)
    x = _noise((1, in_channels, rows + kernel - 1, width))
    await hub.send(agent.link, program, x, "f16")  # the first opens the session
    answers = await asyncio.gather(*(hub.send(agent.link, program, x, "f16") for _ in range(SHARES)))
    seconds = tuple(max(each.answer.finished_s - each.answer.started_s, 1e-6) for each in answers)
    agent.convolutions.append(
        Convolution(kernel, in_channels, out_channels, width, rows, Samples(flops(cell), seconds))
    )
    agent.spent_s += time.monotonic() - start


async def _measure_tasks(hub: _Hub, agent: _Agent) -> None:
    """What a share costs that hardly computes: shares without a pause, in blocks."""
    program = await _load(agent.link, 1, 1, 1)
    x = _noise((1, 1, 8, 8))
    await asyncio.gather(*(hub.send(agent.link, program, x, "f16") for _ in range(TINY_SHARES)))
    blocks = []
    for _ in range(3):
        start = time.monotonic()
        await asyncio.gather(*(hub.send(agent.link, program, x, "f16") for _ in range(TINY_SHARES)))
        blocks.append((time.monotonic() - start) / TINY_SHARES)
    agent.tasks = tuple(blocks)


async def _measure_link(hub: _Hub, agent: _Agent, rounds: int) -> None:
    link = agent.link
    thin = await _load(link, 1, WIDE[1], 1)
    thick = await _load(link, 1, 1, WIDE[1])
    wide, narrow = _noise(WIDE), _noise((1, 1, *WIDE[2:]))
    for program, x in ((thin, wide), (thick, narrow)):
        await hub.send(link, program, x, "f16")
    for _ in range(rounds):
        trips = tuple([await link.round_trip() for _ in range(TRIPS)])
        up = [await hub.send(link, thin, wide, "f16") for _ in range(2)]
        down = [await hub.send(link, thick, narrow, "f16") for _ in range(2)]
        half, offset = min(trips) / 2, link.clock.offset_s
        sent = tuple(max(each.answer.received_s - offset - each.sent_s - half, 1e-6) for each in up)
        came = tuple(max(each.here_s - (each.answer.finished_s - offset) - half, 1e-6) for each in down)
        agent.rounds.append(Round(trips, Samples(wide.nbytes, sent), Samples(wide.nbytes, came)))


async def _load(link: AgentLink, kernel: int, in_channels: int, out_channels: int) -> str:
    """Make the agent hold a convolution of this size, with any weights."""
    pads = (0, kernel // 2)
    spec = ConvSpec((kernel, kernel), (1, 1), (1, 1), pads, pads, 1, in_channels, out_channels)
    graph = slice_program(spec, HEIGHT, "f16")
    weight = np.full((out_channels, in_channels, kernel, kernel), 1e-3, np.float32)
    data = bytes_of(weight)
    hashes = [hashlib.sha256(each).hexdigest() for each in (graph, data)]
    bindings = (Binding("w", hashes[1], "f32", weight.shape, "input"),)
    program = Program(program_id(hashes[0], bindings, linear=True), hashes[0], bindings)
    await link.prepare((program,), {hashes[0]: graph, hashes[1]: data})
    return program.id


def _noise(shape: tuple[int, ...]) -> AnyArray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float16)


def _profile(agent: _Agent, made: str) -> DeviceProfile:
    machine: Mapping[str, str | int | float] = agent.link.welcome.machine
    facts = {
        "model": str(machine["model"]) if "model" in machine else None,
        "architecture": str(machine["arch"]) if "arch" in machine else None,
        "memory_bytes": int(machine["memory_bytes"]) if "memory_bytes" in machine else None,
    }
    runtime = str(machine.get("onnxruntime", ""))
    tasks = Samples(1, agent.tasks) if agent.tasks else None
    clock = agent.link.clock
    return DeviceProfile(
        made=made,
        machine_id=None,
        facts=facts,
        conditions=(),
        clock_offset_s=clock.offset_s,
        clock_uncertainty_s=clock.uncertainty_s,
        link=Link("direct", tuple(agent.rounds)),
        compute=Compute(runtime, tuple(agent.convolutions), agent.skipped, {}, {}, tasks),
    )
