"""Fleets of four kinds behind one interface: fake links, real workers in memory, over TCP and over TLS.

All run in the loop of the test, so that a kill happens at an exact moment.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from cocoi_agent.engine import Engine
from cocoi_agent.memory_link import memory_pair
from cocoi_agent.store import MemoryStore
from cocoi_agent.transport import Connection, Server, agent_context, host_context, serve
from cocoi_agent.worker import Settings, Worker
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import LoadedModel, Network
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.inner_link import ANSWER, InnerLink
from cocoi_cli.runtime.link import AgentLink, Connector, tcp
from cocoi_cli.runtime.loading import loading_of
from cocoi_cli.runtime.trust import make_identity

CARRIERS = ("fake", "memory", "tcp", "tls")


class Fleet(Protocol):
    """What a conformance test needs of a fleet."""

    async def prepare(self, network: Network, plan: Plan) -> Mapping[str, tuple[str, ...]]:
        """Load the programs; return stage name to program ids."""

    def kill(self, agent: int) -> None:
        """End an agent without a word."""


class FakeFleet:
    def __init__(self, agents: int, coordinator: Coordinator, kernels: HostKernels) -> None:
        self._links = [InnerLink(f"a{index}", coordinator, kernels, lambda _: ANSWER) for index in range(agents)]
        coordinator.attach(self._links)

    async def prepare(self, network: Network, plan: Plan) -> Mapping[str, tuple[str, ...]]:
        programs = loading_of(network, plan).stages
        for link in self._links:
            link.load(network, plan, programs)
        return programs

    def kill(self, agent: int) -> None:
        self._links[agent].die("killed")


class RealFleet:
    """Real links to real workers; `doors` make connections and `ends` are the agents' sides of them."""

    def __init__(self, links: list[AgentLink], ends: Callable[[int], list[Connection]]) -> None:
        self._links = links
        self._ends = ends

    async def prepare(self, network: Network, plan: Plan) -> Mapping[str, tuple[str, ...]]:
        loading = loading_of(network, plan)
        for home, link in enumerate(self._links):
            await link.prepare(loading.at(home), loading.blobs)
        return loading.stages

    def kill(self, agent: int) -> None:
        for connection in self._ends(agent):
            connection.abort()


def worker(name: str, settings: Settings | None = None) -> Worker:
    clock = asyncio.get_running_loop().time
    return Worker(settings or Settings(name=name), Engine(1), MemoryStore(64 << 20), clock)


@contextlib.asynccontextmanager
async def open_fleet(kind: str, agents: int, coordinator: Coordinator, folder: Path) -> AsyncIterator[Fleet]:
    """A fleet of the kind, attached to the coordinator; everything is closed at the end."""
    if kind == "fake":
        yield FakeFleet(agents, coordinator, HostKernels(threads=1))
        return
    workers = [worker(f"a{index}") for index in range(agents)]
    ends: dict[int, list[Connection]] = {index: [] for index in range(agents)}
    async with contextlib.AsyncExitStack() as stack:
        links = []
        for index, one in enumerate(workers):
            stack.callback(one.close)
            connector = await _door(kind, one, ends[index], folder, stack)
            link = AgentLink(f"a{index}", coordinator)
            await link.open(kind, connector)
            stack.push_async_callback(link.aclose)
            links.append(link)
        coordinator.attach(links)
        yield RealFleet(links, ends.__getitem__)


async def _door(
    kind: str, one: Worker, ends: list[Connection], folder: Path, stack: contextlib.AsyncExitStack
) -> Connector:
    if kind == "memory":
        return _memory_door(one, ends)
    contexts = (None, None)
    if kind == "tls":
        number = id(ends)
        host, agent = make_identity(folder, f"host{number}"), make_identity(folder, f"agent{number}")
        contexts = (
            agent_context(agent.certificate, agent.key, host.certificate),
            host_context(host.certificate, host.key, agent.certificate),
        )

    def connected(connection: Connection) -> None:
        ends.append(connection)
        one.on_connect(connection)

    server: Server = await serve(
        "127.0.0.1",
        0,
        ssl_context=contexts[0],
        on_connect=connected,
        on_message=one.on_message,
        on_lost=one.on_lost,
        limits=one.limits,
        admit=one.admit,
    )
    stack.push_async_callback(server.aclose)
    return tcp("127.0.0.1", server.port, contexts[1])


def _memory_door(one: Worker, ends: list[Connection]) -> Connector:
    async def connector(on_message, on_lost) -> Connection:
        near, far = memory_pair(
            (on_message, on_lost), (one.on_message, one.on_lost), limits=one.limits, admit=one.admit
        )
        ends.append(far)
        one.on_connect(far)
        return near

    return connector


def job_for(
    model: LoadedModel,
    tensors: Mapping[str, np.ndarray],
    agents: int,
    *,
    k: int | None,
    scheme: str = "coded",
    transport: str = "f32",
) -> tuple[Network, Plan]:
    prepared = find_layers(model, {name: array.shape for name, array in tensors.items()})
    plan = default_plan(prepared.layers, agents=agents, scheme=scheme, n=None, k=k, transport=transport)
    return cut(prepared, plan.distributed), plan


def make_job(
    network: Network,
    plan: Plan,
    programs: Mapping[str, tuple[str, ...]],
    tensors: Mapping[str, np.ndarray],
    on_first_strip: Callable[[int], None] | None = None,
) -> Job:
    return Job(
        network=network,
        plan=plan,
        programs=programs,
        tensors=tensors,
        deadline_s=60.0,
        on_first_strip=on_first_strip,
    )
