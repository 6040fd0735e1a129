"""Real agents behind loopback sockets, in the loop of the test: any may lie, stop and come back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import numpy as np

from cocoi_agent.engine import Engine as AgentEngine
from cocoi_agent.store import MemoryStore
from cocoi_agent.transport import Connection, Server, serve
from cocoi_agent.worker import Settings, Worker
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.deployed import DeployedFleet


class LyingEngine(AgentEngine):
    """Adds noise of so much of the largest value to every answer; 0 for the truth."""

    def __init__(self) -> None:
        super().__init__(1)
        self.lie = 0.0

    def run(self, program, feeds, outputs, options):
        return [spoiled(y, self.lie) for y in super().run(program, feeds, outputs, options)]


def spoiled(y: np.ndarray, fraction: float) -> np.ndarray:
    """The array with noise; the same one for 0."""
    if not fraction:
        return y
    noise = np.random.default_rng(y.size).standard_normal(y.shape)
    return (y + fraction * np.abs(y).max() * noise).astype(y.dtype)


class LoopAgent:
    """One agent that can be stopped and started anew at the same port; what it held is forgotten."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self.engine = LyingEngine()
        self._worker: Worker | None = None
        self._server: Server | None = None
        self._ends: list[Connection] = []

    async def start(self) -> None:
        one = Worker(Settings(name=self.name), self.engine, MemoryStore(64 << 20), asyncio.get_running_loop().time)
        self._worker = one

        def connected(connection: Connection) -> None:
            self._ends.append(connection)
            one.on_connect(connection)

        self._server = await serve(
            "127.0.0.1",
            self.port,
            ssl_context=None,
            on_connect=connected,
            on_message=one.on_message,
            on_lost=one.on_lost,
            limits=one.limits,
            admit=one.admit,
        )
        self.port = self._server.port

    def cut(self) -> None:
        """End every connection without a word."""
        ends, self._ends = self._ends, []
        for connection in ends:
            connection.abort()

    async def stop(self) -> None:
        self.cut()
        server, self._server = self._server, None
        if server is not None:
            await server.aclose()
        one, self._worker = self._worker, None
        if one is not None:
            one.close()


class LoopFleet:
    """So many agents, `a0`, `a1`, ..."""

    def __init__(self, agents: int) -> None:
        self.agents = {f"a{index}": LoopAgent(f"a{index}") for index in range(agents)}

    @property
    def addresses(self) -> tuple[AgentAddress, ...]:
        return tuple(AgentAddress(each.name, "127.0.0.1", each.port, None) for each in self.agents.values())

    @property
    def deployed(self) -> DeployedFleet:
        return DeployedFleet(self.addresses, None)


@contextlib.asynccontextmanager
async def loop_fleet(agents: int) -> AsyncIterator[LoopFleet]:
    """A fleet whose agents have started; all are stopped at the end."""
    fleet = LoopFleet(agents)
    try:
        for agent in fleet.agents.values():
            await agent.start()
        yield fleet
    finally:
        for agent in fleet.agents.values():
            await agent.stop()
