"""Opening links to agents of which some are not there; nobody waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator

import pytest

from cocoi_agent.engine import Engine
from cocoi_agent.store import MemoryStore
from cocoi_agent.transport import serve
from cocoi_agent.worker import Settings, Worker
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.codewords import Patience
from cocoi_cli.runtime.connecting import BadKeysError, open_living, where
from cocoi_cli.runtime.inquiry import Inquiry
from cocoi_cli.runtime.link import AgentLink
from cocoi_cli.runtime.trust import Identity, make_identity


class Nobody:
    def answered(self, link: object, answer: object, tensors: object) -> None:
        raise AssertionError("no share was sent")

    def lost(self, link: object, cause: str) -> None:
        """The agent of the test has ended."""


@contextlib.asynccontextmanager
async def agent(name: str) -> AsyncIterator[int]:
    one = Worker(Settings(name=name), Engine(1), MemoryStore(1 << 20), asyncio.get_running_loop().time)
    server = await serve(
        *("127.0.0.1", 0),
        ssl_context=None,
        on_connect=one.on_connect,
        on_message=one.on_message,
        on_lost=one.on_lost,
    )
    try:
        yield server.port
    finally:
        await server.aclose()
        one.close()


async def opened(
    addresses: list[AgentAddress],
    identity: Identity | None = None,
    within_s: float = 5.0,
    patience: Patience | None = None,
) -> dict:
    """Agent to why it is not open."""
    links = [AgentLink(address.id, Nobody()) for address in addresses]
    try:
        failures = await open_living(links, addresses, identity, within_s=within_s, patience=patience)
        assert {link.id for link in links if not link.is_open} == set(failures)
        return {name: error.cause for name, error in failures.items()}
    finally:
        await asyncio.gather(*(link.aclose() for link in links))


def test_a_name_that_is_looked_up_for_ever_delays_nobody(monkeypatch) -> None:
    """More such names than the loop has threads, and the loop does not wait for them at its end either."""
    stop, real = threading.Event(), socket.getaddrinfo

    def slow(host: str, *rest: object, **more: object) -> object:
        if host.startswith("absent"):
            stop.wait(60)
            raise socket.gaierror(-2, "Name or service not known")
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)

    async def main() -> dict:
        async with agent("here") as port:
            absent = [AgentAddress(f"absent-{number}", f"absent-{number}.local", 1, None) for number in range(40)]
            here = AgentAddress("here", "localhost", port, None)
            return await opened([*absent, here], within_s=1.0)

    try:
        causes = asyncio.run(main())
    finally:
        stop.set()
    assert len(causes) == 40
    assert set(causes.values()) == {"no answer within 1 s"}


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """Accepts connections and says nothing, as a frozen agent does."""
    writers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            writer.close()


@pytest.mark.parametrize(
    ("agents", "frozen", "missing"), [(2, 1, {"no answer within 0.05 s"}), (1, 2, {"no answer within 2 s"})]
)
def test_the_rest_is_waited_for_only_until_half_are_open(agents, frozen, missing) -> None:
    async def main() -> dict:
        async with contextlib.AsyncExitStack() as stack:
            ports = [await stack.enter_async_context(agent(f"a{number}")) for number in range(agents)]
            ports += [await stack.enter_async_context(silent()) for _ in range(frozen)]
            addresses = [AgentAddress(f"a{number}", "127.0.0.1", port, None) for number, port in enumerate(ports)]
            return await opened(addresses, within_s=2.0, patience=Patience(0.0, 0.05))

    causes = asyncio.run(main())
    assert set(causes) == {f"a{number}" for number in range(agents, agents + frozen)}
    assert set(causes.values()) == missing


def test_causes_are_in_the_systems_own_words(monkeypatch) -> None:
    def unknown(host: str, *_: object, **__: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    assert asyncio.run(opened([AgentAddress("a", "127.0.0.1", port, None)])) == {"a": "connection refused"}
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    causes = asyncio.run(opened([AgentAddress("a", "pi.invalid", 1, None), AgentAddress("b", "x..y", 1, None)]))
    assert causes["a"] == "name or service not known"


def test_a_name_that_cannot_be_one_is_told() -> None:
    causes = asyncio.run(opened([AgentAddress("a", "x" * 70 + ".local", 1, None)]))
    assert causes["a"]


def test_without_certificates_another_agent_at_the_address_is_not_taken() -> None:
    async def main() -> dict:
        async with agent("pi-7") as port:
            return await opened([AgentAddress("pi-1", "127.0.0.1", port, None)])

    assert asyncio.run(main()) == {"pi-1": "agent `pi-7` answers there"}


def test_a_host_without_a_usable_key_is_an_error_of_its_own(tmp_path) -> None:
    host, other = make_identity(tmp_path, "host"), make_identity(tmp_path, "agent")
    address = AgentAddress("a", "127.0.0.1", 1, other.certificate)
    host.key.write_text("half a key")
    for identity in (None, host, Identity(tmp_path / "absent.crt", host.key)):
        with pytest.raises(BadKeysError) as raised:
            asyncio.run(opened([address], identity))
        assert (raised.value.code, raised.value.exit_status) == ("bad-keys", 3)


def test_an_agent_whose_certificate_cannot_be_read_is_one_device_less(tmp_path) -> None:
    host = make_identity(tmp_path, "host")
    (tmp_path / "a.crt").write_text("half a certificate")
    causes = asyncio.run(opened([AgentAddress("a", "127.0.0.1", 1, tmp_path / "a.crt")], host))
    assert f"its certificate `{tmp_path / 'a.crt'}` cannot be used" in causes["a"]


def test_addresses_in_messages() -> None:
    assert where(AgentAddress("a", "10.0.0.1", 5, None)) == "10.0.0.1:5"
    assert where(AgentAddress("a", "fe80::1%eth0", 5, None)) == "[fe80::1%eth0]:5"


def test_an_inquiry_keeps_its_connections_and_finds_agents_that_come_back() -> None:
    async def main() -> list[dict[str, str]]:
        seen = []
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(agent("pi-1"))
            address = AgentAddress("pi-1", "127.0.0.1", port, None)
            async with Inquiry([address], None) as inquiry:
                first = (await inquiry.ask())["pi-1"]
                assert first.vitals is not None
                assert first.software.startswith("cocoi-agent ")
                assert first.round_trip_s is not None
                link = inquiry._links["pi-1"]
                seen.append(first.state)
                seen.append((await inquiry.ask())["pi-1"].state)
                assert inquiry._links["pi-1"] is link
                await stack.aclose()
                gone = (await inquiry.ask())["pi-1"]
                assert gone.vitals is None
                assert gone.cause
                seen.append(gone.state)
                one = Worker(Settings(name="pi-1"), Engine(1), MemoryStore(1), asyncio.get_running_loop().time)
                server = await serve(
                    *("127.0.0.1", port),
                    ssl_context=None,
                    on_connect=one.on_connect,
                    on_message=one.on_message,
                    on_lost=one.on_lost,
                )
                seen.append((await inquiry.ask())["pi-1"].state)
                assert inquiry._links["pi-1"] is not link
                await server.aclose()
                one.close()
        return seen

    assert asyncio.run(main()) == ["up", "up", "down", "up"]
