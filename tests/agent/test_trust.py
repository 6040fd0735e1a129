"""Only holders of the fleet's keys talk to an agent: strangers, thieves and tape recorders against a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from cocoi_agent.transport import ConnectError, connect, host_context
from cocoi_agent.wire.encode import encode
from cocoi_agent.wire.messages import AskVitals, Bye, Message, Run, Vitals, Welcome
from cocoi_agent.wire.tensors import describe
from tests.agent.certificates import make_certificate
from tests.agent.host import HELLO, Host
from tests.agent.processes import AGENT, SERVICE, WAIT_S, Start, in_loop, line_with, port_of, visiting
from tests.agent.programs import conv

W = np.ones((2, 3, 3, 3), np.float32)
X = np.ones((1, 3, 10, 8), np.float16)


class Keys:
    """What a fleet keeps, and the files that its agent reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.host = make_certificate(folder, "host")
        self.stranger = make_certificate(folder, "stranger")
        self.agents = {name: make_certificate(folder, name) for name in ("first", "second")}
        self.files = (folder / "agent.crt", folder / "agent.key", folder / "hosts.crt")
        self.install("first", self.host)

    def install(self, agent: str, *hosts: tuple[Path, Path]) -> None:
        """Give the agent an identity, and the hosts that it shall trust."""
        cert, key = self.agents[agent]
        pinned = b"".join(files[0].read_bytes() for files in hosts)
        for path, data in zip(self.files, (cert.read_bytes(), key.read_bytes(), pinned), strict=True):
            path.write_bytes(data)

    def options(self) -> list[str]:
        return ["--cert", str(self.files[0]), "--key", str(self.files[1]), "--peer", str(self.files[2])]

    def context(self, host: tuple[Path, Path] | None = None, *agents: str) -> ssl.SSLContext:
        """As `host` (the right one), which trusts these agents (the first)."""
        pinned = self.folder / "pinned.crt"
        pinned.write_bytes(b"".join(self.agents[name][0].read_bytes() for name in agents or ("first",)))
        return host_context(*(host or self.host), pinned)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
def agent(start: Start, keys: Keys) -> subprocess.Popen:
    return start([*SERVICE, *keys.options()])


async def is_turned_away(port: int, context: ssl.SSLContext) -> bool:
    """Whether a host gets no word from the agent; its TLS 1.3 handshake may seem to succeed."""
    host = Host()
    try:
        host.connection = await connect(
            "127.0.0.1", port, ssl_context=context, on_message=host.on_message, on_lost=host.on_lost
        )
    except ConnectError as error:
        return error.kind == "tls"
    host.send(HELLO)
    await host.gone()
    return host.inbox.empty()


def frame(message: Message) -> bytes:
    return b"".join(bytes(buffer) for buffer in encode(message))


def all_of(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    sock.settimeout(WAIT_S)
    data = b""
    with suppress(ConnectionResetError):
        while more := sock.recv(65536):
            data += more
    return data


def test_a_plain_client_gets_nothing_and_is_dropped(agent: subprocess.Popen) -> None:
    port = port_of(agent)
    for sent in (frame(HELLO), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(2000)):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(sent)
            address = "{}:{}".format(*sock.getsockname())
            assert len(all_of(sock)) <= 7  # at most the alert of TLS
        assert line_with(agent, "is refused").startswith(f"{address} is refused: ")
    assert agent.poll() is None


@in_loop
async def test_a_client_without_a_certificate(agent: subprocess.Popen) -> None:
    port = port_of(agent)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    assert await is_turned_away(port, bare)
    assert "is refused: peer did not return a certificate" in line_with(agent, "is refused")


@in_loop
async def test_a_client_with_another_certificate(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    assert await is_turned_away(port, keys.context(keys.stranger))
    assert "is refused: its certificate is not trusted (self-signed certificate)" in line_with(agent, "is refused")


@in_loop
async def test_tls_1_2_is_refused(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    old = keys.context()
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    assert await is_turned_away(port, old)
    assert "is refused: unsupported protocol" in line_with(agent, "is refused")


@pytest.mark.parametrize(("first", "last"), [(2070, 2120), (1990, 2000)])
@in_loop
async def test_the_dates_of_certificates_do_not_matter(start: Start, tmp_path: Path, first: int, last: int) -> None:
    """A Raspberry Pi without network boots with an old date; what is pinned is trusted."""
    ours, theirs = make_certificate(tmp_path, "agent", first, last), make_certificate(tmp_path, "host", first, last)
    agent = start([*SERVICE, "--cert", str(ours[0]), "--key", str(ours[1]), "--peer", str(theirs[0])])
    async with visiting(port_of(agent), host_context(*theirs, ours[0])) as host:
        assert isinstance(await host.ask(AskVitals()), Vitals)


@in_loop
async def test_a_host_that_sees_a_changed_agent_refuses(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    with pytest.raises(ConnectError, match="certificate verify failed") as caught:
        await connect(
            "127.0.0.1",
            port,
            ssl_context=keys.context(None, "second"),
            on_message=lambda *_: None,
            on_lost=lambda *_: None,
        )
    assert caught.value.kind == "tls"


class Tape:
    """Stands between a host and an agent, and keeps what the host sent."""

    def __init__(self, port: int) -> None:
        self._agent_port = port
        self.recorded = bytearray()

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[int]:
        """Pass everything on, both ways; give the port to connect to."""
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._agent_port)
        await asyncio.gather(self._copy(reader, ours, self.recorded), self._copy(theirs, writer, bytearray()))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, copy: bytearray) -> None:
        while data := await source.read(65536):
            copy += data
            target.write(data)
            await target.drain()
        target.close()
        with suppress(ConnectionError):
            await target.wait_closed()


@in_loop
async def test_a_session_that_is_played_again_is_refused(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    tape = Tape(port)
    async with tape.recording() as tapped, visiting(tapped, keys.context()) as host:
        program = await host.load(conv(W))
        host.send(Run(1, 0, 0, program, (describe("x", X),), reply_dtype="f32"), X)
        await host.next()
        line_with(agent, "is connected")
    assert len(tape.recorded) > 1000

    def play() -> None:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            with suppress(ConnectionError):
                sock.sendall(tape.recorded)
            all_of(sock)

    for _ in range(3):
        await asyncio.to_thread(play)
        line_with(agent, "is refused: decryption failed or bad record mac")
    async with visiting(port, keys.context()) as host:
        vitals = await host.ask(AskVitals())
        assert vitals.served == 1  # the recorded run was computed once


def test_sessions_are_not_resumed(agent: subprocess.Popen, keys: Keys) -> None:
    """A ticket would outlive the removal of its certificate: none is given, and a saved session is of no use."""
    port, context = port_of(agent), keys.context()

    def visit(saved: ssl.SSLSession | None) -> ssl.SSLSession | None:
        plain = socket.create_connection(("127.0.0.1", port))
        with context.wrap_socket(plain, server_hostname="agent", session=saved) as sock:
            sock.settimeout(WAIT_S)
            sock.sendall(frame(HELLO))
            assert b"welcome" in sock.recv(65536)  # tickets would have come before
            assert not sock.session_reused
            return sock.session

    saved = visit(None)
    assert saved is None or not saved.has_ticket
    again = visit(saved)
    assert again is None or not again.has_ticket


@in_loop
async def test_a_stolen_certificate_is_worth_nothing_after_a_rotation(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    stolen = keys.context(keys.host, "first", "second")
    new_host = make_certificate(keys.folder, "new-host")
    fresh = keys.context(new_host, "first", "second")
    assert await is_turned_away(port, fresh)
    async with visiting(port, stolen) as thief:
        keys.install("second", new_host)
        agent.send_signal(signal.SIGHUP)
        assert await thief.expect(Bye) == Bye("the agent has new certificates")
        await thief.gone()
    line_with(agent, "the certificates were read anew")
    assert await is_turned_away(port, stolen)
    assert await is_turned_away(port, keys.context(new_host, "first"))  # it has a new identity as well
    async with visiting(port, keys.context(new_host, "second")) as host:
        assert isinstance(await host.ask(AskVitals()), Vitals)


@in_loop
async def test_no_moment_of_a_reload_refuses_a_connection(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    context = keys.context(None, "first", "second")
    welcomed = asyncio.Event()

    async def visit() -> None:
        """Greet; who came under certificates that were just replaced is told so, and comes again."""
        host = Host()
        host.connection = await connect(
            "127.0.0.1", port, ssl_context=context, on_message=host.on_message, on_lost=host.on_lost
        )
        host.send(HELLO)
        answer, _ = await host.next()
        await host.connection.aclose()
        if isinstance(answer, Welcome):
            welcomed.set()
        else:
            assert answer == Bye("the agent has new certificates")

    async def reload(times: int) -> None:
        for at in range(times):
            welcomed.clear()
            keys.install("second" if at % 2 == 0 else "first", keys.host, keys.stranger)
            agent.send_signal(signal.SIGHUP)
            await asyncio.to_thread(line_with, agent, "the certificates were read anew")
            await welcomed.wait()

    reloading = asyncio.create_task(reload(8))
    while not reloading.done():
        await visit()  # raises where a connection is refused
    await reloading


@in_loop
async def test_unfit_new_files_leave_the_old_in_force(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    async with visiting(port, keys.context()) as host:
        for path, text in ((keys.files[0], "no certificate"), (keys.files[1], ""), (keys.files[2], "no peers")):
            kept = path.read_bytes()
            path.write_text(text)
            agent.send_signal(signal.SIGHUP)
            line = line_with(agent, "error: ")
            assert str(path) in line
            assert line.endswith("; the certificates read before stay in force\n")
            path.write_bytes(kept)
        keys.files[1].unlink()
        agent.send_signal(signal.SIGHUP)
        assert "No such file" in line_with(agent, "error: ")
        assert isinstance(await host.ask(AskVitals()), Vitals)
    async with visiting(port, keys.context()) as host:
        assert isinstance(await host.ask(AskVitals()), Vitals)


@pytest.mark.parametrize("which", ["agent.crt", "agent.key", "hosts.crt"])
@pytest.mark.parametrize("unfit", ["absent", "a folder", "empty"])
def test_unfit_files_at_the_start_end_it_with_a_sentence(start: Start, keys: Keys, which: str, unfit: str) -> None:
    path = keys.folder / which
    path.unlink()
    if unfit == "a folder":
        path.mkdir()
    elif unfit == "empty":
        path.touch()
    assert str(path) in sentence_of_the_end(start, keys)


def test_a_key_of_another_certificate_ends_the_start_with_a_sentence(start: Start, keys: Keys) -> None:
    keys.files[1].write_bytes(keys.stranger[1].read_bytes())
    assert "key values mismatch" in sentence_of_the_end(start, keys).lower()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_key_that_may_not_be_read_ends_the_start_with_a_sentence(start: Start, keys: Keys) -> None:
    keys.files[1].chmod(0)
    assert "Permission denied" in sentence_of_the_end(start, keys)


def sentence_of_the_end(start: Start, keys: Keys) -> str:
    agent = start([*AGENT, *keys.options()])
    _, errors = agent.communicate(timeout=WAIT_S)
    assert agent.returncode == 3
    (line,) = errors.decode().splitlines()
    assert line.startswith("error: `")
    return line


def test_a_crowd_that_never_shakes_hands_keeps_nobody_out(agent: subprocess.Popen, keys: Keys) -> None:
    port = port_of(agent)
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]

    async def scenario() -> None:
        async with visiting(port, keys.context()) as host:
            assert isinstance(await host.ask(AskVitals()), Vitals)

    asyncio.run(scenario())
    assert "is refused: more than 256 handshakes went on at once" in line_with(agent, "is refused")
    assert all_of(crowd[0]) == b""
    for sock in crowd:
        sock.close()
