"""Agents that cannot serve: another version, no memory, no disk, no answer, no trust, nonsense for an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from cocoi_agent import worker as worker_module
from cocoi_agent.engine import Engine as Computer
from cocoi_agent.options import parse
from cocoi_agent.service import settings_of
from cocoi_agent.store import DiskStore, MemoryStore, Store
from cocoi_agent.transport import Connection, agent_context, host_context, serve
from cocoi_agent.wire.messages import (
    Answer,
    AskVitals,
    Bye,
    Have,
    Hello,
    Load,
    Loaded,
    Message,
    Missing,
    Ping,
    Pong,
    Put,
    Run,
    Status,
    Stored,
    Welcome,
)
from cocoi_agent.wire.tensors import describe
from cocoi_agent.worker import Settings, Worker
from cocoi_cli import hints
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime import link as link_module
from cocoi_cli.runtime.engine import Engine
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.link import AgentLink, tcp
from cocoi_cli.runtime.link_errors import LinkError, VersionError
from cocoi_cli.runtime.options import Options
from cocoi_cli.runtime.report import InferenceReport
from cocoi_cli.runtime.trust import make_identity
from tests.runtime.small_network import picture, small_network
from tests.system.processes import Commands, deep_network, unexpected


class Nobody:
    """Owner of a link that is only opened."""

    def answered(self, link: object, answer: Answer, tensors: object) -> None:
        raise AssertionError("no share was sent")

    def lost(self, link: object, cause: str) -> None:
        raise AssertionError("an agent that was never up cannot be lost")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@contextlib.asynccontextmanager
async def real_agent(settings: Settings | None = None, store: Store | None = None) -> AsyncIterator[int]:
    """A real worker behind a port."""
    clock = asyncio.get_running_loop().time
    one = Worker(settings or Settings(), Computer(1), store or MemoryStore(64 << 20), clock)
    server = await serve(
        *("127.0.0.1", 0),
        ssl_context=None,
        on_connect=one.on_connect,
        on_message=one.on_message,
        on_lost=one.on_lost,
        limits=one.limits,
        admit=one.admit,
    )
    try:
        yield server.port
    finally:
        await server.aclose()
        one.close()


@dataclass
class Liar:
    """Speaks the protocol, says yes to everything, and answers shares as it is told."""

    answer: Callable[[Run, tuple], list[tuple[Answer, tuple]]]
    version: int = 1
    asked: list[Run] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def listen(self) -> AsyncIterator[int]:
        server = await serve(
            *("127.0.0.1", 0),
            ssl_context=None,
            on_connect=lambda _: None,
            on_message=self._on_message,
            on_lost=lambda _, __: None,
        )
        try:
            yield server.port
        finally:
            await server.aclose()

    def _on_message(self, connection: Connection, message: Message, tensors: tuple) -> None:
        reply: Message | None = None
        match message:
            case Hello():
                reply = Welcome(self.version, "liar", "liar 1", (), {}, 1 << 28, 1 << 28, 1024, 1 << 28)
            case Have():
                reply = Missing(message.hashes)
            case Put():
                reply = Stored(message.hash)
            case Load():
                reply = Loaded(message.program)
            case Ping():
                reply = Pong(message.token, 1.0)
            case Run():
                self.asked.append(message)
                for answer, arrays in self.answer(message, tensors):
                    connection.send(answer, arrays)
            case AskVitals():
                reply = Bye("the device goes down")
            case Bye():
                connection.close()
        if reply is not None:
            connection.send_nowait_control(reply)


async def infer(model: LoadedModel, ports: list[int], options: Options) -> InferenceReport:
    """One inference with the agents behind these ports, as the engine drives it."""
    engine = Engine()
    engine._links = tuple(AgentLink(f"agent-{index}", engine._coordinator) for index in range(len(ports)))
    try:
        for link, port in zip(engine._links, ports, strict=True):
            await link.open(f"127.0.0.1:{port}", tcp("127.0.0.1", port, None))
        engine._coordinator.attach(engine._links)
        return await engine.infer(model, picture(), "x", options, None, None)
    finally:
        await engine.aclose()


def infer_with(model: LoadedModel, agents: list, options: Options | None = None) -> InferenceReport:
    """One inference with these agents, given as context managers that yield a port."""

    async def main() -> InferenceReport:
        async with contextlib.AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(agent) for agent in agents]
            return await infer(model, ports, options or Options(check=True, transport="f32"))

    return asyncio.run(main())


def agreed(report: InferenceReport) -> bool:
    return report.check is not None and report.check.passed


def refusal(agent: contextlib.AbstractAsyncContextManager, context: object = None) -> LinkError:
    """Why a link to this agent does not open; no task may be left behind."""

    async def main() -> LinkError:
        async with agent as port:
            link = AgentLink("pi-3", Nobody())
            with pytest.raises(LinkError) as raised:
                await link.open(f"127.0.0.1:{port}", tcp("127.0.0.1", port, context))
            assert not link.is_open
            assert not any(task.get_name().startswith("heartbeat") for task in asyncio.all_tasks())
            return raised.value

    return asyncio.run(main())


# --- version ---------------------------------------------------------------------------------


def test_an_agent_of_another_version_is_named_with_both_ranges(monkeypatch) -> None:
    monkeypatch.setattr(worker_module, "PROTOCOL_VERSIONS", (7, 7))
    error = refusal(real_agent())
    assert isinstance(error, VersionError)
    assert (error.code, error.exit_status) == ("version", 4)
    assert error.message.endswith("the agent talks versions 7 to 7, the host 1 to 1")
    assert error.message.startswith("cannot use agent `pi-3` at 127.0.0.1:")
    assert "`cocoi deploy`" in hints.hint(error)


def test_an_agent_that_chooses_a_version_nobody_offered_is_refused() -> None:
    error = refusal(Liar(lambda _, __: [], version=2).listen())
    assert isinstance(error, VersionError)
    assert error.cause == "the agent talks version 2, the host 1 to 1"


@pytest.mark.slow
def test_the_command_line_ends_with_4_when_agents_are_of_another_version(repository, tmp_path) -> None:
    (tmp_path / "path").mkdir()
    patch = "import sys\nif 'cocoi_agent' in sys.orig_argv:\n    from cocoi_agent import worker as w\n"
    (tmp_path / "path" / "sitecustomize.py").write_text(patch + "    w.PROTOCOL_VERSIONS = (7, 7)\n")
    (tmp_path / "deep.onnx").write_bytes(deep_network(2, size=16).SerializeToString())
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 16, 16), np.float32))
    commands = Commands(repository, tmp_path)
    options = ("infer", "x.npy", "-m", "deep.onnx", "--embedded", 2, "--json")
    try:
        running = commands.start(*options, more_path=tmp_path / "path")
        status, out, err = running.finish()
        document = json.loads(out)
        assert (status, document["error"]) == (4, "version"), err
        assert "the agent talks versions 7 to 7, the host 1 to 1" in document["message"]
        assert "cocoi deploy" in document["hint"]
        assert running.left() == []
    finally:
        commands.close()


# --- memory and disk -------------------------------------------------------------------------


def starved(limit: int) -> Settings:
    """What the agent's own command line makes of a memory limit."""
    return settings_of(parse(["--embedded", "--security", "none", "--memory-limit", str(limit)]))


# 2,400 bytes hold every weight of the small network and not every share; 100 bytes hold no weight either.
@pytest.mark.parametrize("limit", [2400, 100])
def test_an_agent_out_of_memory_is_done_without_and_named(model, limit) -> None:
    report = infer_with(model, [real_agent(Settings(memory_limit=limit)), *[real_agent() for _ in range(3)]])
    assert agreed(report)
    assert sum(row.host for row in report.stages) == 0
    assert (report.agents[0].state, report.agents[0].failed > 0) == (("up", True) if limit > 1000 else ("lost", False))
    assert any("agent-0" in text and "`memory`" in text for text in report.warnings), report.warnings
    assert not any("agent-1" in text for text in report.warnings)


@pytest.mark.parametrize("limit", [2400, 100])
def test_what_is_above_the_memory_limit_of_an_agent_is_said_when_it_hangs_up(model, limit) -> None:
    """Its command line lets no single message be larger than its memory: such a one ends the connection."""
    report = infer_with(model, [real_agent(starved(limit)), *[real_agent() for _ in range(3)]])
    assert agreed(report)
    assert sum(row.host for row in report.stages) == 0
    assert report.agents[0].state == "lost"
    (warning,) = unexpected(report.warnings)
    assert warning.startswith("agent-0 was lost: tensors of ")
    assert warning.endswith(f" bytes are announced; the limit is {limit} (`tail-too-large`)")


@pytest.mark.parametrize("limit", [2400, 100])
def test_when_no_agent_has_memory_the_host_computes(model, limit) -> None:
    report = infer_with(model, [real_agent(Settings(memory_limit=limit)) for _ in range(3)])
    assert agreed(report)
    assert sum(row.host for row in report.stages) > 0
    assert any("memory" in text for text in report.warnings), report.warnings
    assert any("the host computes" in text for text in report.warnings), report.warnings


def test_when_no_agent_can_hold_the_weights_and_the_host_may_not_help_it_is_a_fleet_error(model) -> None:
    with pytest.raises(NoAgentsError):
        infer_with(model, [real_agent(starved(100)) for _ in range(3)], Options(fallback=False))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk that holds 4 KiB, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = [shutil.which("mount") or "/bin/mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run([shutil.which("umount") or "/bin/umount", str(folder)], check=True)


def store_is_full(model: LoadedModel, store: Store) -> str:
    """Run with one agent that cannot store the weights; what the warnings say of it."""
    report = infer_with(model, [real_agent(store=store), *[real_agent() for _ in range(3)]])
    assert agreed(report)
    assert sum(row.host for row in report.stages) == 0
    assert [agent.state for agent in report.agents] == ["lost", "up", "up", "up"]
    (warning,) = unexpected(report.warnings)
    return warning


def test_an_agent_whose_disk_is_full_is_done_without_and_named(model, small_disk) -> None:
    warning = store_is_full(model, DiskStore(small_disk / "store", 1 << 20))
    assert warning.startswith("agent-0 was lost: a blob of ")
    assert warning.endswith(" bytes free (`store-full`)")
    assert [path.name for path in (small_disk / "store").iterdir() if path.name.startswith("incoming-")] == []


def test_an_agent_whose_store_is_too_small_is_done_without_and_named(model, tmp_path) -> None:
    warning = store_is_full(model, DiskStore(tmp_path / "store", 1000))
    assert warning.startswith("agent-0 was lost: a blob of ")
    assert warning.endswith(" bytes does not fit into a store of 1000 bytes (`store-full`)")


def test_why_an_agent_left_is_still_said_to_whoever_asks_it_later() -> None:
    class Owner(Nobody):
        def lost(self, link: object, cause: str) -> None:
            causes.append(cause)

    causes: list[str] = []

    async def main() -> None:
        async with Liar(lambda _, __: []).listen() as port:
            link = AgentLink("pi-3", Owner())
            await link.open(f"127.0.0.1:{port}", tcp("127.0.0.1", port, None))
            for _ in range(2):
                with pytest.raises(LinkError) as raised:
                    await link.vitals()
                causes.append(raised.value.cause)
            await link.aclose()

    asyncio.run(main())
    assert causes == ["the agent said good-bye: the device goes down"] * 3


# --- peers that are no agents, or not ours ---------------------------------------------------


@contextlib.asynccontextmanager
async def plain_server(greeting: bytes | None) -> AsyncIterator[int]:
    """A server that says this, or nothing at all, and leaves the connection open."""
    writers = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        if greeting is not None:
            await reader.read(1)
            writer.write(greeting)

    server = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


def test_a_peer_that_never_answers_is_given_up(monkeypatch) -> None:
    monkeypatch.setattr(link_module, "REQUEST_TIMEOUT_S", 0.05)
    error = refusal(plain_server(None))
    assert error.code == "agent-unreachable"
    assert "no `welcome` within" in error.cause


def test_a_peer_that_never_finishes_the_handshake_is_given_up(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(link_module, "CONNECT_TIMEOUT_S", 0.05)
    host, other = make_identity(tmp_path, "host"), make_identity(tmp_path, "other")
    error = refusal(plain_server(None), host_context(host.certificate, host.key, other.certificate))
    assert "no connection within" in error.cause


def test_a_peer_that_speaks_something_else_is_given_up() -> None:
    error = refusal(plain_server(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
    assert error.code in {"agent-unreachable", "agent-fault"}
    assert error.cause


def test_a_peer_without_tls_is_given_up(tmp_path) -> None:
    host, other = make_identity(tmp_path, "host"), make_identity(tmp_path, "other")
    context = host_context(host.certificate, host.key, other.certificate)
    error = refusal(plain_server(b"HTTP/1.1 400 Bad Request\r\n\r\n"), context)
    assert error.exit_status == 4
    assert "SSL" in error.cause.upper()


@pytest.mark.parametrize("stranger", ["agent", "host"])
def test_certificates_of_others_are_refused_on_both_sides(tmp_path, stranger) -> None:
    host, agent, other = (make_identity(tmp_path, name) for name in ("host", "agent", "other"))
    expected = {"agent": (other.certificate, host.certificate), "host": (agent.certificate, other.certificate)}
    by_host, by_agent = expected[stranger]

    @contextlib.asynccontextmanager
    async def guarded() -> AsyncIterator[int]:
        one = Worker(Settings(), Computer(1), MemoryStore(1 << 20), asyncio.get_running_loop().time)
        context = agent_context(agent.certificate, agent.key, by_agent)
        server = await serve(
            *("127.0.0.1", 0),
            ssl_context=context,
            on_connect=one.on_connect,
            on_message=one.on_message,
            on_lost=one.on_lost,
        )
        try:
            yield server.port
        finally:
            await server.aclose()
            one.close()

    error = refusal(guarded(), host_context(host.certificate, host.key, by_host))
    assert error.code == "agent-unreachable"
    assert error.exit_status == 4


# --- nonsense --------------------------------------------------------------------------------


def done(run: Run, *arrays: np.ndarray, **changes: object) -> list[tuple[Answer, tuple]]:
    specs = tuple(describe("y", array) for array in arrays)
    answer = Answer(run.run, run.stream, run.codeword, run.parts[0].part, Status.DONE, specs)
    return [(replace(answer, **changes), arrays)]


NONSENSE: dict[str, Callable[[Run, tuple], list[tuple[Answer, tuple]]]] = {
    "another shape": lambda run, _: done(run, np.zeros((1, 2, 3), np.float32)),
    "one row too many": lambda run, x: done(run, np.zeros((1, 8, 41, 40), np.float32)),
    "a scalar": lambda run, _: done(run, np.zeros((), np.float32)),
    "nothing": lambda run, _: done(run),
    "two tensors": lambda run, x: done(run, x[0], x[0]),
    "another type": lambda run, x: done(run, np.zeros(x[0].shape, np.int32)),
    "an unknown share": lambda run, x: [
        *done(run, x[0], part=3),
        *done(run, np.zeros(1, np.float32)),
    ],
    "an unknown codeword": lambda run, x: [
        *done(run, x[0], codeword=run.codeword + 1),
        *done(run, np.zeros(1, np.float32)),
    ],
    "everything twice": lambda run, _: 2 * done(run, np.zeros(1, np.float32)),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_an_agent_that_answers_nonsense_is_done_without_and_named(model, kind) -> None:
    liar = Liar(NONSENSE[kind])
    report = infer_with(model, [liar.listen(), *[real_agent() for _ in range(3)]])
    assert liar.asked
    assert agreed(report)
    assert sum(row.host for row in report.stages) == 0
    assert report.agents[0].used == 0
    assert any("agent-0 answered a share of conv1" in text for text in report.warnings), report.warnings
    assert not any("agent-1" in text for text in report.warnings)


def test_when_all_agents_answer_nonsense_the_host_computes(model) -> None:
    report = infer_with(model, [Liar(NONSENSE["another shape"]).listen() for _ in range(3)])
    assert agreed(report)
    assert sum(row.arrived for row in report.stages) == 0
    assert any("the host computes" in text for text in report.warnings)
