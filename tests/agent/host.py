"""A host for tests: a real worker at the other end of an in-memory link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cocoi_agent.connection import Connection
from cocoi_agent.engine import Engine
from cocoi_agent.memory_link import memory_pair
from cocoi_agent.store import MemoryStore
from cocoi_agent.wire.messages import Answer, Credit, Hello, Message, Put, Run, Welcome
from cocoi_agent.wire.tensors import AnyArray, describe
from cocoi_agent.worker import Settings, Worker
from tests.agent.programs import Recipe

HELLO = Hello((1, 1), "test", (), "test", 1 << 28, 1 << 28)
WAIT_S = 5.0


@dataclass(eq=False)
class Host:
    """What a host sees: everything that arrived, in order, and a way to wait for more."""

    inbox: asyncio.Queue = field(default_factory=asyncio.Queue)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    connection: Connection | None = None
    other: Connection | None = None
    credits: int = 0
    credit_messages: int = 0

    def on_message(self, connection: Connection, message: Message, tensors: tuple[AnyArray, ...]) -> None:
        if isinstance(message, Credit):
            self.credits += message.bytes
            self.credit_messages += 1
        else:
            self.credits += (message.credit or 0) if isinstance(message, Answer) else 0
            self.inbox.put_nowait((message, tensors))

    def on_lost(self, connection: Connection, error: Exception | None) -> None:
        self.error = error
        self.lost.set()

    def send(self, message: Message, *arrays: AnyArray) -> asyncio.Future:
        return self.connection.send(message, arrays)

    async def next(self) -> tuple[Message, tuple[AnyArray, ...]]:
        async with asyncio.timeout(WAIT_S):
            return await self.inbox.get()

    async def expect(self, kind: type) -> Message:
        message, _ = await self.next()
        assert isinstance(message, kind), message
        return message

    async def ask(self, message: Message, *arrays: AnyArray) -> Message:
        self.send(message, *arrays)
        return (await self.next())[0]

    async def load(self, recipe: Recipe) -> str:
        for digest, blob in recipe.blobs.items():
            await self.ask(Put(digest, (describe("blob", blob),)), blob)
        answer = await self.ask(recipe.load)
        assert answer.word == "loaded", answer
        return recipe.program

    async def answers(self, count: int) -> dict[int, tuple[Answer, tuple[AnyArray, ...]]]:
        """The next `count` messages, all of them answers to different parts."""
        found = {}
        for _ in range(count):
            message, tensors = await self.next()
            assert isinstance(message, Answer), message
            assert message.part not in found
            found[message.part] = (message, tensors)
        return found

    async def run(self, program: str, **tensors: AnyArray) -> tuple[Answer, tuple[AnyArray, ...]]:
        """One whole run of named tensors."""
        specs = tuple(describe(name, array) for name, array in tensors.items())
        self.send(Run(run=1, stream=0, codeword=0, program=program, tensors=specs), *tensors.values())
        return (await self.answers(1))[0]

    async def gone(self) -> None:
        async with asyncio.timeout(WAIT_S):
            await self.lost.wait()


class ManualClock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Bench:
    """A worker, its clock, and hosts that connect to it."""

    worker: Worker
    clock: ManualClock
    engine: Engine
    hosts: list[Host] = field(default_factory=list)

    def connect(self, piece: int = 1 << 30) -> Host:
        """A host that has not said hello."""
        host = Host()
        worker = self.worker
        host.connection, host.other = memory_pair(
            (host.on_message, host.on_lost),
            (worker.on_message, worker.on_lost),
            limits=worker.limits,
            admit=worker.admit,
            piece=piece,
        )
        worker.on_connect(host.other)
        self.hosts.append(host)
        return host

    async def host(self, hello: Hello = HELLO, piece: int = 1 << 30) -> Host:
        """A host that was welcomed."""
        host = self.connect(piece)
        host.send(hello)
        await host.expect(Welcome)
        return host

    async def idle(self) -> None:
        """Until the compute thread has come round."""
        done = asyncio.Event()
        self.worker.check(done.set)
        async with asyncio.timeout(WAIT_S):
            await done.wait()


@asynccontextmanager
async def bench(engine: Engine | None = None, store: object = None, **settings: object) -> AsyncIterator[Bench]:
    clock = ManualClock()
    engine = engine or Engine()
    worker = Worker(Settings(**settings), engine, store or MemoryStore(1 << 26), clock)
    made = Bench(worker, clock, engine)
    try:
        yield made
        await made.idle()
        # Invariants: with every host gone nothing is queued, and all memory is given back.
        for host in made.hosts:
            host.connection.close()
            await host.gone()
        await made.idle()
        await made.idle()
        assert worker.runs.backlog == 0, worker
        assert worker.budget.reserved == 0, worker
    finally:
        worker.close()
