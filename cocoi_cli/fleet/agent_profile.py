"""Measuring devices through their agents: what an inference finds, without a login.

An agent has one share at a time in an inference, and so it has here: what a share takes that
hardly computes (receiving, unpacking, answering), at once and after a rest, and what one takes
more that convolves what the agent holds already. Shares that wait for each other in the agent
would cost more, or less: its threads then contend, or take several at once. Only what bytes cost
the processor shows where shares follow each other without a pause: what the wire does meanwhile
is hidden. All agents convolve at once, as in an inference; what needs the wire or many messages
is measured one agent after the other, because they share the host and its port, and then that
port by all together.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.fleet.agent_shares import NUMBER, WIDE, Hub, load, load_dry, noise, rows_of
from cocoi_cli.fleet.port_profile import finished_s, measure_port, received_s
from cocoi_cli.fleet.workloads import GRID, LADEN, STEADY, flops, in_a_share
from cocoi_cli.planning.profile import REST_S, Compute, Convolution, DeviceProfile, Link, Port, Round, Samples
from cocoi_cli.runtime.connecting import open_living
from cocoi_cli.runtime.link import AgentLink
from cocoi_cli.runtime.link_errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from cocoi_cli.fleet.workloads import Cell
    from cocoi_cli.runtime.addresses import AgentAddress
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.trust import Identity

SHARES: Final = 6  # of each slice, one after the other
BUDGET_S: Final = 30.0  # for the slices of one agent; what is left then is skipped
FEWEST: Final = 8  # slices that are measured however slow a device is
STRIDE: Final = 5  # slices are taken at this step, so that those of a slow device are of all kinds
STEADY_SHARES: Final = 24  # of the slice that shows how durations spread
TINY_SHARES: Final = 12
MEGABYTE: Final = 1_000_000
LEAST_PART: Final = 0.25  # of what a share takes is its convolution, however small that is
TRIPS: Final = 20
SLICE_S: Final = 60.0  # a slice that takes longer is given up
PATIENCE_S: Final = 10.0


@dataclass(slots=True)
class _Agent:
    """One agent while it is measured."""

    link: AgentLink
    convolutions: list[Convolution] = field(default_factory=list)
    skipped: int = 0
    spent_s: float = 0.0
    tasks: tuple[float, ...] = ()
    rested: tuple[float, ...] = ()
    carrying: list[float] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)

    @property
    def trip_s(self) -> float:
        """A round trip of a few bytes."""
        return median(trip for each in self.rounds for trip in each.rtt_s)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found.

    Attributes:
        devices: By name; why not, where one was not measured.
        port: Of this host; None with a single agent, or where one failed meanwhile.
    """

    devices: dict[str, DeviceProfile | LinkError]
    port: Port | None


async def measure(
    addresses: Sequence[AgentAddress],
    identity: Identity | None,
    *,
    made: str,
    rounds: int = 3,
    cells: Sequence[Cell] = GRID,
    on_stage: Callable[[str, str], None] | None = None,
) -> Measured:
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
    hub = Hub()
    links = [AgentLink(address.id, hub) for address in addresses]
    found: dict[str, DeviceProfile | LinkError] = {}
    say = on_stage or (lambda _agent, _what: None)
    found.update(await open_living(links, addresses, identity, within_s=PATIENCE_S))
    agents = [_Agent(link) for link in links if link.id not in found]
    try:
        for agent in agents:
            say(agent.link.id, "link")
            await _guard(agent, found, _measure_link(hub, agent, rounds))
        port = await _port(hub, [agent.link for agent in agents if agent.link.id not in found], rounds)
        busy = [agent for agent in agents if agent.link.id not in found]
        for agent in busy:
            say(agent.link.id, "compute")
            await _guard(agent, found, _measure_tasks(hub, agent))
        for cell in [cell for first in range(STRIDE) for cell in cells[first::STRIDE]]:
            busy = [agent for agent in agents if agent.link.id not in found]
            await asyncio.gather(*(_guard(agent, found, _measure_cell(hub, agent, cell)) for agent in busy))
        for agent in agents:
            for cell in LADEN if agent.link.id not in found else ():
                await _guard(agent, found, _measure_bytes(hub, agent, cell))
    finally:
        await asyncio.gather(*(link.aclose() for link in links))
    for agent in agents:
        if agent.link.id not in found:
            found[agent.link.id] = _profile(agent, made)
    return Measured({address.id: found[address.id] for address in addresses}, port)


async def _port(hub: Hub, links: Sequence[AgentLink], rounds: int) -> Port | None:
    """The host's port; nothing where one agent alone, which was measured already, or a failing one would show it."""
    if len(links) < 2:
        return None
    try:
        async with asyncio.timeout(SLICE_S):
            return await measure_port(hub, links, rounds)
    except (LinkError, TimeoutError):
        return None  # whoever failed is found out with what comes next


async def _guard(agent: _Agent, found: dict[str, DeviceProfile | LinkError], step: Coroutine[None, None, None]) -> None:
    """Take a step with one agent; what it fails by is kept as its result."""
    try:
        async with asyncio.timeout(SLICE_S):
            await step
    except LinkError as error:
        found[agent.link.id] = error
    except TimeoutError:
        found[agent.link.id] = LinkError(agent.link.id, agent.link.id, f"no answer within {SLICE_S:g} s")


async def _measure_cell(hub: Hub, agent: _Agent, cell: Cell) -> None:
    kernel, in_channels, out_channels, width, rows = cell
    if agent.spent_s > BUDGET_S and len(agent.convolutions) >= FEWEST:
        agent.skipped += 1
        return
    start = time.monotonic()
    times = in_a_share(cell)
    dry = await load_dry(agent.link, cell, times)
    taken = await _series(hub, agent, dry, NUMBER, STEADY_SHARES if cell == STEADY else SHARES)
    seconds = tuple(each / times for each in convolution_seconds(taken, agent.trip_s + fmean(agent.tasks)))
    samples = Samples(flops(cell), seconds)
    agent.convolutions.append(Convolution(kernel, in_channels, out_channels, width, rows, samples))
    agent.spent_s += time.monotonic() - start


async def _measure_bytes(hub: Hub, agent: _Agent, cell: Cell) -> None:
    """What rows that come and go cost the device beside the convolution: much on one core, hardly any on four."""
    kernel, in_channels, out_channels, width, rows = cell
    program = await load(agent.link, kernel, in_channels, out_channels)
    dry = await load_dry(agent.link, cell)
    x = np.ascontiguousarray(rows_of(cell)[..., kernel // 2 : width + kernel // 2])  # the program pads columns
    laden_s = await _burst(hub, agent, program, x) / SHARES
    dry_s = await _burst(hub, agent, dry, NUMBER) / SHARES
    carried = x.nbytes + rows * width * out_channels * x.itemsize
    agent.carrying.append(max(laden_s - dry_s, 1e-7) / carried * MEGABYTE)


async def _series(
    hub: Hub, agent: _Agent, program: str, x: AnyArray, shares: int, *, rest_s: float = 0.0
) -> list[float]:
    """How long each of some shares took, sent when the answer to the one before was there, and after a rest."""
    await hub.send(agent.link, program, x, "f16")  # the first opens the session
    answers = []
    for _ in range(shares):
        if rest_s:
            await asyncio.sleep(rest_s)
        answers.append(await hub.send(agent.link, program, x, "f16"))
    return [each.here_s - each.sent_s for each in answers]


async def _burst(hub: Hub, agent: _Agent, program: str, x: AnyArray) -> float:
    """How long some shares took that were in flight together, from the first beginning on, on the agent's clock."""
    await hub.send(agent.link, program, x, "f16")  # the first opens the session
    answers = await asyncio.gather(*(hub.send(agent.link, program, x, "f16") for _ in range(SHARES)))
    return max(each.answer.finished_s for each in answers) - min(each.answer.started_s for each in answers)


def convolution_seconds(taken: Sequence[float], beside_s: float) -> tuple[float, ...]:
    """What the convolutions of shares took. Pure.

    Args:
        taken: Seconds of each share, its round trip included.
        beside_s: What a share takes that hardly computes.

    Returns:
        All lessened alike, by `beside_s` in the mean; what is left is never believed to be less than `LEAST_PART`.
    """
    part = max(1 - beside_s / fmean(taken), LEAST_PART)
    return tuple(max(each * part, 1e-6) for each in taken)


async def _measure_tasks(hub: Hub, agent: _Agent) -> None:
    """What a share costs that hardly computes, beside its round trip: one after the other in blocks, and rested."""
    program = await load(agent.link, 1, 1, 1)
    x = noise((1, 1, 8, 8))
    blocks = [fmean(await _series(hub, agent, program, x, TINY_SHARES)) for _ in range(3)]
    agent.tasks = tuple(max(block - agent.trip_s, 1e-6) for block in blocks)
    alone = await _series(hub, agent, program, x, TINY_SHARES, rest_s=REST_S)
    agent.rested = tuple(max(each - agent.trip_s, 1e-6) for each in alone)


async def _measure_link(hub: Hub, agent: _Agent, rounds: int) -> None:
    link = agent.link
    thin = await load(link, 1, WIDE[1], 1)
    thick = await load(link, 1, 1, WIDE[1])
    wide, narrow = noise(WIDE), noise((1, 1, *WIDE[2:]))
    for program, x in ((thin, wide), (thick, narrow)):
        await hub.send(link, program, x, "f16")
    for _ in range(rounds):
        trips = tuple([await link.round_trip() for _ in range(TRIPS)])
        up = [await hub.send(link, thin, wide, "f16") for _ in range(2)]
        down = [await hub.send(link, thick, narrow, "f16") for _ in range(2)]
        half = min(trips) / 2
        sent = tuple(max(received_s(link, each) - each.sent_s - half, 1e-6) for each in up)
        came = tuple(max(each.here_s - finished_s(link, each) - half, 1e-6) for each in down)
        agent.rounds.append(Round(trips, Samples(wide.nbytes, sent), Samples(wide.nbytes, came)))


def _profile(agent: _Agent, made: str) -> DeviceProfile:
    machine: Mapping[str, str | int | float] = agent.link.welcome.machine
    facts = {
        "model": str(machine["model"]) if "model" in machine else None,
        "architecture": str(machine["arch"]) if "arch" in machine else None,
        "memory_bytes": int(machine["memory_bytes"]) if "memory_bytes" in machine else None,
    }
    runtime = str(machine.get("onnxruntime", ""))
    tasks = Samples(1, agent.tasks) if agent.tasks else None
    rested = Samples(1, agent.rested) if agent.rested else None
    carrying = Samples(MEGABYTE, tuple(agent.carrying)) if agent.carrying else None
    clock = agent.link.clock
    return DeviceProfile(
        made=made,
        machine_id=None,
        facts=facts,
        conditions=(),
        clock_offset_s=clock.offset_s,
        clock_uncertainty_s=clock.uncertainty_s,
        link=Link("direct", tuple(agent.rounds)),
        compute=Compute(runtime, tuple(agent.convolutions), agent.skipped, {}, {}, tasks, rested, carrying),
    )
