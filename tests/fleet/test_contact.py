"""All devices at once: failures stay where they are, questions come one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet.access import Access, Passwords, Secret
from cocoi_cli.fleet.contact import each
from cocoi_cli.fleet.errors import CommandFailedError, HostKeyChangedError, UnknownHostKeyError, UnreachableError
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.remote import Remote
from tests.fleet.ssh_server import FakeDevice, asynchronous, fake_device


@asynccontextmanager
async def devices(folder: Path, count: int, *, known: bool = True) -> AsyncIterator[list[FakeDevice]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(fake_device(folder, f"pi-{number}", known=known)) for number in range(count)
        ]


def access_to(pis: list[FakeDevice], **changes: object) -> Access:
    """One user's access to all: their keys, and one list of host keys."""
    known_hosts = pis[0].folder.parent / "known_hosts"
    if not known_hosts.exists():
        known_hosts.write_text("".join(pi.known_line for pi in pis if pi.known_hosts.exists()))
    return pis[0].access(**{"config": [pi.config for pi in pis], "known_hosts": known_hosts, **changes})


async def name(remote: Remote, device: Device) -> str:
    assert device is remote.device
    return (await remote.run("basename $(dirname $HOME)")).stdout.decode().strip()


async def root(remote: Remote, _: Device) -> str:
    return (await remote.run("id -u", root=True)).stdout.decode().strip()


@asynchronous
async def test_twenty_devices_that_never_answer_do_not_hold_up_three_that_do(tmp_path: Path) -> None:
    """Nothing is timed: the twenty stay silent until the three are done, and would for a minute more."""
    silent: list[asyncio.StreamWriter] = []
    done: set[str] = set()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)
        await reader.read()

    def on_stage(device: str, stage: str) -> None:
        if stage == "done":
            done.add(device)
            if len(done) == 3:
                for writer in silent:
                    writer.close()

    async with devices(tmp_path, 3) as pis, AsyncExitStack() as stack:
        dead = []
        for number in range(20):
            server = await stack.enter_async_context(await asyncio.start_server(say_nothing, "127.0.0.1", 0))
            port = server.sockets[0].getsockname()[1]
            dead.append(Device(f"dead-{number}", f"127.0.0.1:{port}", "127.0.0.1"))
        asked = [*dead, *(pi.device() for pi in pis)]
        results = await each(asked, access_to(pis, connect_timeout_s=60.0), name, on_stage=on_stage)
        assert list(results) == [device.name for device in asked]
        assert [results[f"pi-{number}"] for number in range(3)] == ["pi-0", "pi-1", "pi-2"]
        for device in dead:
            error = results[device.name]
            assert isinstance(error, UnreachableError)
            assert error.message.startswith(f"`{device.name}`: connect: `{device.ssh}` closed the connection")
            assert error.details["kind"] == "not-ssh"


@asynchronous
async def test_each_failure_stays_with_its_device(tmp_path: Path) -> None:
    async with devices(tmp_path, 4) as pis:
        access = access_to(pis)
        assert access.known_hosts is not None
        lines = access.known_hosts.read_text().splitlines(keepends=True)
        # The first is a stranger, the second shows the key of the third.
        key = lines[2].split(" ", 1)[1]
        access.known_hosts.write_text("".join([lines[1].split(" ")[0] + " " + key, *lines[2:]]))
        pis[2].faults.exec_refused = True
        seen: list[tuple[str, str]] = []
        results = await each([pi.device() for pi in pis], access, name, on_stage=lambda *words: seen.append(words))
        kinds = [type(result) for result in results.values()]
        assert kinds == [UnknownHostKeyError, HostKeyChangedError, CommandFailedError, str]
        assert [(device, stage) for device, stage in seen if stage == "connect"] == [(pi.name, "connect") for pi in pis]
        assert {pair for pair in seen if pair[1] != "connect"} == {
            ("pi-0", "failed"), ("pi-1", "failed"), ("pi-2", "failed"), ("pi-3", "done")
        }  # fmt: skip


@asynchronous
async def test_stages_of_the_work_are_told(tmp_path: Path) -> None:
    async def work(remote: Remote, _: Device) -> None:
        remote.begin("preflight")

    async with devices(tmp_path, 1) as pis:
        seen: list[str] = []
        await each([pis[0].device()], access_to(pis), work, on_stage=lambda _, stage: seen.append(stage))
        assert seen == ["connect", "preflight", "done"]


@asynchronous
async def test_a_bug_comes_out_as_it_is_and_closes_every_connection(tmp_path: Path) -> None:
    async def work(remote: Remote, device: Device) -> None:
        if device.name == "pi-1":
            await asyncio.gather(*(pi.started.wait() for pi in pis if pi.name != "pi-1"))
            raise ZeroDivisionError
        await remote.run("sleep 1000")

    async with devices(tmp_path, 3) as pis:
        with pytest.raises(ZeroDivisionError):
            await each([pi.device() for pi in pis], access_to(pis), work)
        await closed(pis)


@asynchronous
async def test_an_interrupt_ends_everything_and_closes_every_connection(tmp_path: Path) -> None:
    async def work(remote: Remote, _: Device) -> None:
        await remote.run("sleep 1000")

    async with devices(tmp_path, 3) as pis:
        contact = asyncio.create_task(each([pi.device() for pi in pis], access_to(pis), work))
        await asyncio.gather(*(pi.started.wait() for pi in pis))
        contact.cancel()
        with pytest.raises(asyncio.CancelledError):
            await contact
        await closed(pis)


async def closed(pis: list[FakeDevice]) -> None:
    for pi in pis:
        await pi.idle()
        for connection in pi.connections:
            await connection.wait_closed()


@asynchronous
async def test_one_answer_serves_all_devices_with_the_same_password(tmp_path: Path) -> None:
    questions = []

    def ask(question: str) -> str:
        questions.append(question)
        return "raspberry"

    async with devices(tmp_path, 5) as pis:
        for pi in pis:
            pi.faults.sudo = "password"
        results = await each([pi.device() for pi in pis], access_to(pis, passwords=Passwords(ask=ask)), root)
        assert set(results.values()) == {"0"}
        assert len(questions) == 1


@asynchronous
async def test_devices_with_passwords_of_their_own_are_asked_about_one_by_one(tmp_path: Path) -> None:
    open_questions = 0

    async def ask(question: str) -> str:
        nonlocal open_questions
        open_questions += 1
        assert open_questions == 1, "two questions at the same time"
        await asyncio.sleep(0)  # another device would get its turn here
        open_questions -= 1
        return f"word of {question.split('`')[3]}"

    async with devices(tmp_path, 3) as pis:
        for pi in pis:
            pi.faults.sudo, pi.faults.sudo_password = "password", f"word of {pi.name}"
        passwords = Passwords(ask=ask)
        results = await each([pi.device() for pi in pis], access_to(pis, passwords=passwords), root)
        assert set(results.values()) == {"0"}
        assert set(passwords.sudo) == {Secret(f"word of {pi.name}") for pi in pis}


@asynchronous
async def test_the_others_go_on_while_somebody_is_asked(tmp_path: Path) -> None:
    """The question about the first device is answered only when the second is done."""
    finished = asyncio.Event()

    async def ask(question: str) -> str:
        await finished.wait()
        return "raspberry"

    async with devices(tmp_path, 2) as pis:
        pis[0].faults.sudo = "password"

        def on_stage(device: str, stage: str) -> None:
            if (device, stage) == ("pi-1", "done"):
                finished.set()

        access = access_to(pis, passwords=Passwords(ask=ask))
        results = await each([pi.device() for pi in pis], access, root, on_stage=on_stage)
        assert results == {"pi-0": "0", "pi-1": "0"}


@asynchronous
async def test_unknown_host_keys_are_asked_about_one_by_one(tmp_path: Path) -> None:
    shown = []

    def confirm(device: str, fingerprint: str) -> bool:
        shown.append((device, fingerprint))
        return device != "pi-1"

    async with devices(tmp_path, 3, known=False) as pis:
        results = await each([pi.device() for pi in pis], access_to(pis, confirm_host_key=confirm), name)
        assert sorted(shown) == [(pi.name, pi.fingerprint) for pi in pis]
        assert (results["pi-0"], results["pi-2"]) == ("pi-0", "pi-2")
        assert isinstance(results["pi-1"], UnknownHostKeyError)


def test_the_same_access_serves_one_event_loop_after_the_other(tmp_path: Path) -> None:
    passwords = Passwords(ask=lambda _: "raspberry")

    async def contact(folder: Path) -> dict[str, str | CocoiError]:
        async with devices(folder, 3) as pis:
            for pi in pis:
                pi.faults.sudo = "password"
            return await each([pi.device() for pi in pis], access_to(pis, passwords=passwords), root)

    for number in range(2):
        passwords.sudo.clear()
        (tmp_path / str(number)).mkdir()
        assert set(asyncio.run(contact(tmp_path / str(number))).values()) == {"0"}
