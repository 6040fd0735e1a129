"""Connections over real sockets on the loopback, in one process: the carrier and its trust."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path

import numpy as np
import pytest

from cocoi_agent.transport import (
    ConnectError,
    Connection,
    ConnectionLostError,
    TrustError,
    agent_context,
    connect,
    host_context,
    serve,
)
from cocoi_agent.wire.limits import Limits
from cocoi_agent.wire.messages import Cancel, Fault, Ping, Rows
from cocoi_agent.wire.tensors import describe
from tests.agent.certificates import make_certificate

WAIT_S = 10.0


def in_loop(test: Callable[..., Coroutine]) -> Callable:
    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class End:
    """One end: what arrived, and whether it was lost."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue = asyncio.Queue()
        self.connections: list[Connection] = []
        self.losses: asyncio.Queue = asyncio.Queue()

    def on_connect(self, connection: Connection) -> None:
        self.connections.append(connection)

    def on_message(self, connection: Connection, message: object, tensors: tuple) -> None:
        self.inbox.put_nowait((message, tensors))

    def on_lost(self, connection: Connection, error: Exception | None) -> None:
        self.losses.put_nowait(error)

    async def next(self) -> tuple:
        async with asyncio.timeout(WAIT_S):
            return await self.inbox.get()

    async def lost(self) -> Exception | None:
        async with asyncio.timeout(WAIT_S):
            return await self.losses.get()


@asynccontextmanager
async def listening(context: ssl.SSLContext | None = None, limits: Limits | None = None) -> AsyncIterator[tuple]:
    end = End()
    server = await serve(
        "127.0.0.1",
        0,
        ssl_context=context,
        on_connect=end.on_connect,
        on_message=end.on_message,
        on_lost=end.on_lost,
        limits=limits,
    )
    try:
        yield end, server
    finally:
        await server.aclose()


async def reach(server: object, end: End, context: ssl.SSLContext | None = None, **more: object) -> Connection:
    return await connect(
        "127.0.0.1", server.port, ssl_context=context, on_message=end.on_message, on_lost=end.on_lost, **more
    )


class Trust:
    """Certificates of one host and one agent, and their contexts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent_files = make_certificate(folder, "agent")
        self.host_files = make_certificate(folder, "host")

    def agent(self) -> ssl.SSLContext:
        return agent_context(*self.agent_files, self.host_files[0])

    def host(self) -> ssl.SSLContext:
        return host_context(*self.host_files, self.agent_files[0])


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    return Trust(tmp_path)


@pytest.mark.parametrize("secure", [False, True])
@in_loop
async def test_tensors_go_both_ways(trust: Trust, secure: bool) -> None:
    async with listening(trust.agent() if secure else None) as (agent, server):
        host = End()
        connection = await reach(server, host, trust.host() if secure else None, receive_buffer=100_000)
        arrays = [np.random.default_rng(at).standard_normal(300_000 * at).astype(np.float32) for at in range(6)]
        for at, array in enumerate(arrays):
            connection.send(Rows(at, 0, (describe("x", array),)), [array])
        for at, array in enumerate(arrays):
            message, (found,) = await agent.next()
            assert message.run == at
            np.testing.assert_array_equal(found, array)
            agent.connections[0].send(message, [found])
        for array in arrays:
            _, (found,) = await host.next()
            np.testing.assert_array_equal(found, array)
        total = sum(array.nbytes for array in arrays)
        assert connection.bytes_out == connection.bytes_in == total
        assert connection.queued_bytes == 0
        await connection.aclose()
        assert await agent.lost() is None


@pytest.mark.parametrize("secure", [False, True])
@in_loop
async def test_a_future_completes_when_its_buffers_may_be_reused(trust: Trust, secure: bool) -> None:
    async with listening(trust.agent() if secure else None) as (agent, server):
        host = End()
        connection = await reach(server, host, trust.host() if secure else None)
        array = np.zeros(4_000_000, np.uint8)
        for value in range(1, 6):
            array[:] = value
            await connection.send(Rows(1, 0, (describe("x", array),)), [array])
        for value in range(1, 6):
            _, (found,) = await agent.next()
            assert (found == value).all()
        await connection.aclose()


@in_loop
async def test_a_cancel_overtakes_a_tensor_that_is_half_sent() -> None:
    async with listening() as (agent, server):
        host = End()
        connection = await reach(server, host)
        array = np.zeros(48_000_000, np.uint8)
        sent = connection.send(Rows(1, 0, (describe("x", array),)), [array])
        assert not sent.done()
        connection.send_nowait_control(Cancel(run=1))
        assert await agent.next() == (Cancel(run=1), ())
        _message, (found,) = await agent.next()
        assert found.nbytes == array.nbytes
        await sent
        await connection.aclose()


@in_loop
async def test_what_is_queued_together_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as (agent, server):
        connection = await reach(server, End())
        recorder = Recorder(connection._transport)
        monkeypatch.setattr(connection, "_transport", recorder)
        array = np.arange(1000, dtype=np.float32)
        with connection.together():
            connection.send_nowait(Rows(1, 0, (describe("x", array),)), (array,))
            connection.send_nowait_control(Cancel(7))
            assert recorder.sizes == []
        assert len(recorder.sizes) == 1
        assert await agent.next() == (Cancel(7), ())  # what has no tensors goes first, as always
        _message, (found,) = await agent.next()
        assert np.array_equal(found, array)
        await connection.aclose()


class Recorder:
    """A transport whose writes are counted."""

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self.sizes: list[int] = []

    def write(self, data: bytes) -> None:
        self.sizes.append(len(data))
        self._inner.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@in_loop
async def test_closing_says_the_last_words_and_fails_what_is_queued() -> None:
    async with listening() as (agent, server):
        host = End()
        connection = await reach(server, host)
        connection.send_nowait_control(Ping(1))
        connection.close()
        connection.close()
        assert connection.is_closed
        with pytest.raises(ConnectionLostError, match="it was closed"):
            await connection.send(Ping(2))
        connection.send_nowait_control(Ping(3))
        assert await agent.next() == (Ping(1), ())
        assert await agent.lost() is None
        await connection.closed
        assert agent.inbox.empty()


@in_loop
async def test_a_peer_that_does_not_read_is_left_behind_in_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoi_agent.connection.CLOSE_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = End()
        connection = await connect(
            *server.getsockname(), ssl_context=None, on_message=host.on_message, on_lost=host.on_lost
        )
        array = np.zeros(30_000_000, np.uint8)
        sent = connection.send(Rows(1, 0, (describe("x", array),)), [array])
        assert connection.queued_bytes == array.nbytes
        await connection.aclose()
        with pytest.raises(ConnectionLostError):
            await sent
        await host.lost()
        assert connection.queued_bytes == 0


@in_loop
async def test_broken_bytes_are_answered_and_cut() -> None:
    async with listening() as (agent, server):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        answer = await reader.read()
        assert b"header-too-large" in answer
        assert (await agent.lost()).code == "header-too-large"
        writer.close()
        await writer.wait_closed()


@in_loop
async def test_the_other_side_learns_of_a_fault_before_the_end() -> None:
    async with listening(limits=Limits(max_tail=10)) as (_agent, server):
        host = End()
        connection = await reach(server, host)
        array = np.zeros(11, np.uint8)
        connection.send(Rows(1, 0, (describe("x", array),)), [array])
        message, _ = await host.next()
        assert isinstance(message, Fault)
        assert message.code == "tail-too-large"
        await host.lost()
        assert connection.is_closed


@in_loop
async def test_hundreds_of_connections_that_come_and_go() -> None:
    async with listening() as (agent, server):

        def come_and_go() -> None:
            for _ in range(300):
                with socket.create_connection(("127.0.0.1", server.port)) as sock:
                    sock.send(b"\x00\x00")

        await asyncio.to_thread(come_and_go)
        for _ in range(300):
            await agent.lost()
        host = End()
        connection = await reach(server, host)
        connection.send(Ping(1))
        assert await agent.next() == (Ping(1), ())
        await connection.aclose()


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@in_loop
async def test_failures_to_connect_say_what_kind_they_are() -> None:
    end = End()

    async def kind(host: str, port: int, **more: object) -> str:
        with pytest.raises(ConnectError) as caught:
            await connect(host, port, ssl_context=None, on_message=end.on_message, on_lost=end.on_lost, **more)
        assert (caught.value.host, caught.value.port) == (host, port)
        return caught.value.kind

    assert await kind("127.0.0.1", closed_port()) == "refused"
    assert await kind("no such name.invalid", 1) == "unresolved"


@in_loop
async def test_a_silent_listener_times_out_the_handshake(trust: Trust) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = End()
        with pytest.raises(ConnectError) as caught:
            await connect(
                *server.getsockname(),
                ssl_context=trust.host(),
                on_message=end.on_message,
                on_lost=end.on_lost,
                timeout_s=0.1,
            )
        assert caught.value.kind == "timeout"
        assert end.losses.empty()


@in_loop
async def test_an_agent_that_is_not_pinned_is_not_trusted(trust: Trust, tmp_path: Path) -> None:
    make_certificate(tmp_path, "impostor")
    impostor = agent_context(tmp_path / "impostor.crt", tmp_path / "impostor.key", trust.host_files[0])
    async with listening(impostor) as (agent, server):
        end = End()
        with pytest.raises(ConnectError) as caught:
            await reach(server, end, trust.host())
        assert caught.value.kind == "tls"
        assert agent.connections == []


@in_loop
async def test_a_host_that_is_not_pinned_gets_no_word_through(trust: Trust, tmp_path: Path) -> None:
    """Its handshake may seem to succeed, as TLS 1.3 has it; then the connection ends."""
    make_certificate(tmp_path, "stranger")
    stranger = host_context(tmp_path / "stranger.crt", tmp_path / "stranger.key", trust.agent_files[0])
    async with listening(trust.agent()) as (agent, server):
        end = End()
        try:
            connection = await reach(server, end, stranger)
        except ConnectError:
            pass
        else:
            connection.send(Ping(1))
            await end.lost()
        assert agent.connections == []
        assert agent.inbox.empty()


@in_loop
async def test_a_host_without_a_certificate_is_refused(trust: Trust) -> None:
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    async with listening(trust.agent()) as (agent, server):
        end = End()
        try:
            connection = await reach(server, end, bare)
        except ConnectError:
            pass
        else:
            connection.send(Ping(1))
            await end.lost()
        assert agent.connections == []


@pytest.mark.parametrize(("first", "last"), [(2070, 2120), (1990, 2000)])
@in_loop
async def test_certificates_do_not_depend_on_the_clock(tmp_path: Path, first: int, last: int) -> None:
    agent_files = make_certificate(tmp_path, "agent", first, last)
    host_files = make_certificate(tmp_path, "host", first, last)
    async with listening(agent_context(*agent_files, host_files[0])) as (agent, server):
        end = End()
        connection = await reach(server, end, host_context(*host_files, agent_files[0]))
        connection.send(Ping(1))
        assert await agent.next() == (Ping(1), ())
        await connection.aclose()


@in_loop
async def test_plain_bytes_do_not_reach_an_agent_that_wants_tls(trust: Trust) -> None:
    async with listening(trust.agent()) as (agent, server):
        end = End()
        connection = await reach(server, end)
        connection.send(Ping(1))
        await end.lost()
        assert agent.connections == []


def test_only_tls_1_3_with_certificates_and_without_tickets(trust: Trust) -> None:
    for context in (trust.agent(), trust.host()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert trust.agent().num_tickets == 0


def test_unfit_files_are_named(trust: Trust, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no certificate")
    cert, key = trust.agent_files
    for files in (
        (cert, tmp_path / "absent", cert),
        (cert, trust.host_files[1], cert),
        (cert, key, tmp_path / "bad.pem"),
    ):
        with pytest.raises(TrustError) as caught:
            agent_context(*files)
        assert str(tmp_path) in caught.value.path
