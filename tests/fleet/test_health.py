"""A health check says yes only to the right agent, in the right version, that computes rightly."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cocoi_agent import __version__
from cocoi_agent.engine import ComputeFailedError, Engine
from cocoi_agent.store import MemoryStore
from cocoi_agent.transport import Connection, serve
from cocoi_agent.worker import Settings, Worker
from cocoi_cli.fleet import health
from cocoi_cli.fleet.health import WrongAgentError, WrongAnswerError, check
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.embedded import EmbeddedFleet
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.trust import Identity
from tests.agent.certificates import make_certificate


@contextlib.asynccontextmanager
async def agent(engine: Engine, ends: list[Connection] | None = None) -> AsyncIterator[AgentAddress]:
    """An agent in this process, without encryption; its ends of connections are put into `ends`."""
    worker = Worker(Settings(name="pi"), engine, MemoryStore(1 << 20), asyncio.get_running_loop().time)

    def made(connection: Connection) -> None:
        worker.on_connect(connection)
        if ends is not None:
            ends.append(connection)

    server = await serve(
        "127.0.0.1",
        0,
        ssl_context=None,
        on_connect=made,
        on_message=worker.on_message,
        on_lost=worker.on_lost,
    )
    try:
        yield AgentAddress("pi", "127.0.0.1", server.port, None)
    finally:
        worker.close()
        await server.aclose()


def test_a_real_agent_is_healthy_and_tells_what_it_is() -> None:
    async def main() -> None:
        async with EmbeddedFleet(1) as fleet:
            (address,) = fleet.addresses
            for _ in range(2):  # once the agent has the program
                found = await check(address, fleet.host_identity, expect_version=__version__)
                assert (found.id, found.version, found.onnxruntime) == (
                    address.id,
                    __version__,
                    onnxruntime.__version__,
                )
                assert found.machine["cores"] >= 1
                assert 0 < found.compute_s < found.seconds
                assert 0 < found.round_trip_s < found.seconds

    asyncio.run(main())


def test_only_the_holder_of_the_fleets_keys_is_answered_and_only_its_agent_believed(tmp_path: Path) -> None:
    stranger = Identity(*make_certificate(tmp_path, "stranger"))

    async def main() -> None:
        async with EmbeddedFleet(1) as fleet:
            (address,) = fleet.addresses
            with pytest.raises(LinkError, match=f"cannot use agent `{address.id}` at 127.0.0.1:") as caught:
                await check(address, stranger)
            assert caught.value.kind == "refused"
            with pytest.raises(LinkError, match="it shows another certificate than the fleet's"):
                await check(replace(address, certificate=stranger.certificate), fleet.host_identity)
            with pytest.raises(LinkError, match="this host has no certificate"):
                await check(address, None)
            with pytest.raises(LinkError, match=r"`.*absent.*`: no such file or directory"):
                await check(address, Identity(tmp_path / "absent.crt", tmp_path / "absent.key"))

    asyncio.run(main())


def test_another_agent_or_version_is_not_what_was_meant() -> None:
    async def main() -> None:
        async with agent(Engine(1)) as address:
            assert (await check(address, None)).version == __version__
            with pytest.raises(WrongAgentError, match=f"version {__version__} answers, not 9.9.9") as caught:
                await check(address, None, expect_version="9.9.9")
            assert (caught.value.code, caught.value.exit_status) == ("agent-mismatch", 4)
            with pytest.raises(WrongAgentError, match="agent `pi` answers there"):
                await check(replace(address, id="other"), None)

    asyncio.run(main())


class Altered(Engine):
    """Computes, and then something happens to the result."""

    def __init__(self, alter) -> None:
        super().__init__(1)
        self._alter = alter

    def run(self, *arguments):
        return [self._alter(array.copy()) for array in super().run(*arguments)]


def one_off(array):
    array.flat[17] += 1
    return array


def not_a_number(array):
    array.flat[0] = np.nan
    return array


@pytest.mark.parametrize(
    ("alter", "fault"), [(one_off, "1 of 288 numbers differ"), (not_a_number, "1 of 288"), (lambda a: -a, "of 288")]
)
def test_an_agent_that_computes_wrongly_is_found_out(alter, fault: str) -> None:
    async def main() -> None:
        async with agent(Altered(alter)) as address:
            with pytest.raises(WrongAnswerError, match=f"a small convolution came back wrong: .*{fault}") as caught:
                await check(address, None)
            assert (caught.value.code, caught.value.exit_status) == ("agent-wrong-answer", 4)

    asyncio.run(main())


def test_an_agent_that_cannot_compute_says_why() -> None:
    class Broken(Engine):
        def run(self, *_):
            raise ComputeFailedError("the kernel is ill")

    async def main() -> None:
        async with agent(Broken(1)) as address:
            with pytest.raises(LinkError, match="it did not compute: the kernel is ill"):
                await check(address, None)

    asyncio.run(main())


def test_an_agent_that_leaves_while_it_computes_is_an_error_at_once() -> None:
    async def main() -> None:
        loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

        class Held(Engine):
            def run(self, *arguments):
                loop.call_soon_threadsafe(begun.set)
                go_on.wait()
                return super().run(*arguments)

        ends: list[Connection] = []
        async with agent(Held(1), ends) as address:
            checking = asyncio.create_task(check(address, None))
            await begun.wait()
            ends[0].close()
            with pytest.raises(LinkError, match="the connection was closed"):
                await checking
            go_on.set()

    asyncio.run(main())


def test_nobody_there_and_somebody_who_never_answers() -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = AgentAddress("pi", "127.0.0.1", silent.getsockname()[1], None)
            with pytest.raises(LinkError, match=r"no healthy answer within 0\.1 s"):
                await check(address, None, timeout_s=0.1)
        with pytest.raises(LinkError, match="connection refused"):
            await check(address, None)

    asyncio.run(main())


def test_the_expected_result_is_the_sum_written_out() -> None:
    """The slow twin of the comparison: six loops."""
    x, weight = health._inputs()
    expected = health._convolved(x, weight)
    assert expected.shape == (1, 6, 6, 8)
    assert np.abs(expected).max() <= 2048  # whole numbers up to here are exact in float16
    for o, row, column in np.ndindex(6, 6, 8):
        total = 0.0
        for c, i, j in np.ndindex(4, 3, 3):
            if 0 <= column + j - 1 < 8:
                total += float(x[0, c, row + i, column + j - 1]) * float(weight[o, c, i, j])
        assert expected[0, o, row, column] == total
