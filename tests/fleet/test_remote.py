"""One connection: commands, scripts, root, and everything that can go wrong with them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from cocoi_cli.errors import CocoiError
from cocoi_cli.fleet import login, scripts
from cocoi_cli.fleet.access import Access, Passwords, Secret
from cocoi_cli.fleet.errors import (
    AuthenticationError,
    CommandFailedError,
    CommandTimeoutError,
    DroppedError,
    NoPythonError,
    PasswordNeededError,
    ScriptFailedError,
    SudoError,
    UnreachableError,
)
from cocoi_cli.fleet.names import BadTargetError
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.remote import Remote, connect
from cocoi_cli.fleet.ssh_settings import SshConfigError
from tests.fleet.ssh_server import USER, FakeDevice, asynchronous, fake_device

WORD = "correct horse; $(battery) 'staple'"  # nothing that a shell or a log may leave alone


async def failure(awaitable: Awaitable[Any]) -> CocoiError:
    with pytest.raises(CocoiError) as caught:
        await awaitable
    return caught.value


def answers(*words: str) -> tuple[list[str], Callable[[str], str]]:
    """Somebody who can be asked: the questions so far, and the function that answers them in turn."""
    questions: list[str] = []
    left = list(words)

    def ask(question: str) -> str:
        questions.append(question)
        return left.pop(0)

    return questions, ask


@pytest.fixture
def device_script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Puts a script among those for devices and returns its name."""

    def put(source: str) -> str:
        real = scripts._source
        monkeypatch.setattr(scripts, "_source", lambda name: source.encode() if name.endswith(".trial") else real(name))
        return "trial"

    return put


# --- commands


@asynchronous
async def test_a_command_gets_its_words_its_input_and_english(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        words = ["a b", "$HOME", "it's", "", "x\ny", "*"]
        done = await remote.run(["printf", "%s|", *words])
        assert done.stdout == "".join(f"{word}|" for word in words).encode()
        data = bytes(range(256)) * 1000
        assert (await remote.run(["cat"], input=data)).stdout == data
        assert (await remote.run("echo $LC_ALL; echo oops >&2")).stdout == b"C\n"
        assert (remote.address, remote.user, remote.host_key) == ("127.0.0.1", USER, pi.fingerprint)


@asynchronous
async def test_a_command_that_fails_tells_its_status_and_its_last_words(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        stages: list[str] = []
        remote.on_stage = stages.append
        remote.begin("preflight")
        line = "yes complaint | head -c 9000 >&2; echo the end >&2; exit 3"
        error = await failure(remote.run(line))
        assert isinstance(error, CommandFailedError)
        assert error.message == f"`pi-1`: preflight: `{line}` ended with status 3: the end"
        assert error.details["status"] == 3
        assert len(str(error.details["stderr"])) == 2000
        assert stages == ["preflight"]
        assert (await remote.run(line, check=False)).status == 3
        error = await failure(remote.run("kill -TERM $$"))
        assert error.message == "`pi-1`: preflight: `kill -TERM $$` was ended by signal 15"


@pytest.mark.parametrize("root", [False, True])
@asynchronous
async def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(tmp_path: Path, root: bool) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        await remote.become_root()
        error = await failure(remote.run("sleep 1000 & sleep 1000", timeout_s=0.2, root=root))
        assert isinstance(error, CommandTimeoutError)
        assert error.message == "`pi-1`: run: `sleep 1000 & sleep 1000` did not end within 0.2 s"
        await pi.idle()
        # The connection is as good as before.
        assert (await remote.run("echo still here")).stdout == b"still here\n"


@asynchronous
async def test_many_commands_share_a_connection(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        done = await asyncio.gather(*(remote.run(["echo", str(number)]) for number in range(30)))
        assert [each.stdout for each in done] == [f"{number}\n".encode() for number in range(30)]
        assert pi.logins == 1


@asynchronous
async def test_a_device_that_starts_no_commands_is_named_with_its_reason(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        pi.faults.exec_refused = True
        error = await failure(remote.run("true"))
        assert isinstance(error, CommandFailedError)
        assert error.message == "`pi-1`: run: the device does not start commands: `true`: session request failed"


@asynchronous
async def test_a_connection_that_breaks_while_a_command_runs_is_told_as_such(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:

        async def pull() -> None:
            await pi.started.wait()
            pi.drop()

        pulling = asyncio.create_task(pull())
        error = await failure(remote.run("sleep 1000"))
        await pulling
        assert isinstance(error, DroppedError)
        assert error.message == "`pi-1`: run: the connection broke while `sleep 1000` ran (connection lost)"
        assert isinstance(await failure(remote.run("true")), DroppedError)


@asynchronous
async def test_lines_come_one_by_one_until_the_caller_has_had_enough(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        seen = []
        async with aclosing(remote.lines("echo first; echo; printf 'no end'; sleep 1000 & wait", root=True)) as lines:
            async for line in lines:
                seen.append(line)
                if len(seen) == 2:
                    break
        assert seen == [b"first", b""]
        await pi.idle()
        assert [line async for line in remote.lines(["printf", "a\nb"])] == [b"a", b"b"]
        with pytest.raises(CommandFailedError, match="ended with status 7: gone"):
            _ = [line async for line in remote.lines("echo one; echo gone >&2; exit 7")]
        async with aclosing(remote.lines("echo first; sleep 1000")) as lines:
            assert await anext(lines) == b"first"
            pi.drop()
            with pytest.raises(DroppedError, match="the connection broke"):
                await anext(lines)


# --- scripts


@asynchronous
async def test_a_script_tells_of_its_progress_and_returns_its_result(tmp_path: Path, device_script: Any) -> None:
    name = device_script(
        "from cocoi_cli.fleet.ondevice import common\n"
        "import os\n"
        "def main(request, payload):\n"
        "    os.write(1, b'noise of a library\\n')\n"
        "    common.progress('half way')\n"
        "    return {'request': request, 'rest': payload.read().decode(), 'long': 'x' * 3000000}\n"
    )
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        told: list[str] = []
        reply = await remote.script(name, {"op": "go", "n": 1}, payload=[b"ab", b"c"], on_progress=told.append)
        assert (reply["request"], reply["rest"], len(reply["long"])) == ({"op": "go", "n": 1}, "abc", 3000000)
        assert told == ["half way"]


@asynchronous
async def test_a_scripts_failure_keeps_its_word_and_its_details(tmp_path: Path, device_script: Any) -> None:
    name = device_script(
        "from cocoi_cli.fleet.ondevice import common\n"
        "def main(request, payload):\n"
        "    raise common.Failure('disk-full', 'no room in `/opt`', free=7, device='sda1', stage='s')\n"
    )
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        error = await failure(remote.script(name, {"op": "stage"}))
        assert isinstance(error, ScriptFailedError)
        assert error.message == "`pi-1`: trial/stage: no room in `/opt`"
        assert (error.details["failure"], error.details["free"]) == ("disk-full", 7)
        assert error.details["device"] == "pi-1"
        # A failure that comes before the payload was read: the rest of it is not wanted any more.
        big = [bytes(1 << 20)] * 30
        assert isinstance(await failure(remote.script(name, {}, payload=big)), ScriptFailedError)


@asynchronous
async def test_a_script_that_breaks_shows_the_end_of_its_traceback(tmp_path: Path, device_script: Any) -> None:
    name = device_script("def main(request, payload):\n    return {}['absent']\n")
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        error = await failure(remote.script(name, {"op": "go"}, root=True))
        assert isinstance(error, CommandFailedError)
        assert error.message == "`pi-1`: trial/go: `python3 trial` ended with status 1: KeyError: 'absent'"
        assert "Traceback" in str(error.details["stderr"])


@pytest.mark.parametrize("root", [False, True])
@asynchronous
async def test_a_device_without_python_is_told_as_such(tmp_path: Path, device_script: Any, root: bool) -> None:
    name = device_script("def main(request, payload):\n    return {}\n")
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        pi.remove_python()
        error = await failure(remote.script(name, {"op": "go"}, root=root, payload=[bytes(1 << 20)] * 4))
        assert isinstance(error, NoPythonError)
        assert error.message == "`pi-1`: trial/go: there is no `python3`"
        error = await failure(remote.script(name, {}, root=root, python="/nowhere/python3"))
        assert isinstance(error, NoPythonError)


HASHING = """\
import hashlib
def main(request, payload):
    digest, size = hashlib.sha256(), 0
    while True:
        part = payload.read(1 << 16)
        if not part:
            return {"sha256": digest.hexdigest(), "size": size}
        digest.update(part)
        size += len(part)
"""


@asynchronous
async def test_thirty_megabytes_arrive_whole(tmp_path: Path, device_script: Any) -> None:
    name = device_script(HASHING)
    block = bytes(range(256)) * 4096
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        reply = await remote.script(name, {"op": "receive"}, payload=(block for _ in range(30)), root=True)
        assert reply == {"sha256": hashlib.sha256(block * 30).hexdigest(), "size": 30 << 20}


@asynchronous
async def test_a_transfer_that_is_cut_off_is_told_as_such(tmp_path: Path, device_script: Any) -> None:
    name = device_script(HASHING)
    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        pi.faults.drop_after = 1 << 20
        error = await failure(remote.script(name, {"op": "receive"}, payload=[bytes(1 << 20)] * 8))
        assert isinstance(error, DroppedError)
        assert error.message.startswith("`pi-1`: trial/receive: the connection broke while `python3 trial` ran")


@asynchronous
async def test_a_payload_is_not_taken_faster_than_the_device_reads(tmp_path: Path, device_script: Any) -> None:
    name = device_script(HASHING)
    taken = 0

    async def payload() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(160):
            taken += 1 << 18
            yield bytes(1 << 18)

    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        pi.faults.reading.clear()
        error = await failure(remote.script(name, {"op": "receive"}, payload=payload(), timeout_s=1))
        assert isinstance(error, CommandTimeoutError)
        assert error.message == "`pi-1`: trial/receive: `python3 trial` did not end within 1 s"
        assert taken < 8 << 20, "of 40 MiB, what the windows of both sides hold"


@asynchronous
async def test_what_a_payload_raises_ends_the_script_and_comes_out_as_it_is(tmp_path: Path, device_script: Any) -> None:
    name = device_script(HASHING)

    def broken() -> Any:
        yield b"some"
        raise ZeroDivisionError

    async with fake_device(tmp_path) as pi, pi.connected() as remote:
        with pytest.raises(ZeroDivisionError):
            await remote.script(name, {}, payload=broken())
        await pi.idle()
        assert (await remote.run("echo on")).stdout == b"on\n"


# --- root


@asynchronous
async def test_root_needs_nothing_where_the_user_is_root_or_sudo_asks_nothing(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        async with pi.connected() as remote:
            assert await remote.become_root() == "nopasswd"
            assert (await remote.run("id -u; cat", input=b"in\n", root=True)).stdout == b"0\nin\n"
        pi.faults.root_login = True
        async with pi.connected() as remote:
            calls = len(pi.sudo_calls)
            assert await remote.become_root() == "root"
            assert (await remote.run("id -u", root=True)).stdout == b"0\n"
            assert len(pi.sudo_calls) == calls


@asynchronous
async def test_a_sudo_password_is_asked_for_once_and_never_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asyncssh.set_debug_level(3)
    try:
        async with fake_device(tmp_path) as pi:
            pi.faults.sudo, pi.faults.sudo_password = "password", WORD
            questions, ask = answers("wrong", WORD)
            access = pi.access(passwords=Passwords(ask=ask))
            async with pi.connected(access) as remote:
                assert await remote.become_root() == "password"
                assert questions == [
                    "sudo password of `pi` on `pi-1`",
                    "wrong password; sudo password of `pi` on `pi-1`",
                ]
                # The password is not part of the command's own input, whether it reads any or not.
                assert (await remote.run(["cat"], input=b"data", root=True)).stdout == b"data"
                assert (await remote.run("id -u", root=True)).stdout == b"0\n"
                errors = [
                    await failure(remote.run("env >&2; tr '\\0' ' ' </proc/self/cmdline >&2; exit 1", root=True)),
                    await failure(remote.run("sleep 1000", root=True, timeout_s=0.2)),
                ]
                assert [line async for line in remote.lines("id -u", root=True)] == [b"0"]
            async with pi.connected(access) as remote:
                assert (await remote.run("id -u", root=True)).stdout == b"0\n"
            assert len(questions) == 2
            shown = "".join([
                *pi.commands, *pi.sudo_calls, caplog.text, repr(access), repr(remote), repr(vars(remote)),
                *("".join(traceback.format_exception(error)) + repr(error.details) for error in errors),
            ])  # fmt: skip
            assert WORD not in shown
            assert "battery" not in shown
    finally:
        asyncssh.set_debug_level(1)


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are listed under /proc")
@asynchronous
async def test_a_sudo_password_is_in_no_process_list(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.sudo, pi.faults.sudo_password = "password", WORD
        access = pi.access(passwords=Passwords(sudo=[Secret(WORD)]))
        async with pi.connected(access) as remote, aclosing(remote.lines("echo up; sleep 1000", root=True)) as lines:
            assert await anext(lines) == b"up"
            listed = processes_of(pi)
            assert "sleep" in listed
            assert "battery" not in listed


def processes_of(pi: FakeDevice) -> str:
    """Arguments and environments of all processes that run there."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            text = b" ".join((path / name).read_bytes() for name in ("cmdline", "environ")).decode(errors="replace")
            if str(pi.folder) in text:
                found.append(text)
    return "\n".join(found)


@asynchronous
async def test_three_wrong_sudo_passwords_are_enough(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.sudo = "password"
        questions, ask = answers("one", "two", "three", "four")
        async with pi.connected(pi.access(passwords=Passwords(ask=ask))) as remote:
            error = await failure(remote.run("true", root=True))
            assert isinstance(error, SudoError)
            assert error.message == "`pi-1`: sudo: every password for `pi` was wrong"
            assert len(questions) == 3
            assert all(word not in repr(error.__dict__) for word in ("one", "two", "three"))
        async with pi.connected(pi.access(passwords=Passwords(sudo=[Secret("bad")]))) as remote:
            assert isinstance(await failure(remote.run("true", root=True)), SudoError)
        async with pi.connected() as remote:
            error = await failure(remote.run("true", root=True))
            assert isinstance(error, PasswordNeededError)
            assert error.details["what"] == "sudo"


@pytest.mark.parametrize(
    ("mode", "cause"),
    [
        ("absent", "`sudo` is not installed there"),
        ("not-allowed", "the user is not allowed to use `sudo` there"),
        ("tty", "`sudo` there insists on a terminal (`requiretty`)"),
    ],
)
@asynchronous
async def test_a_user_who_cannot_be_root_is_told_why(tmp_path: Path, mode: Any, cause: str) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.sudo = mode
        questions, ask = answers("secret")
        async with pi.connected(pi.access(passwords=Passwords(ask=ask))) as remote:
            error = await failure(remote.run("true", root=True))
            assert isinstance(error, SudoError)
            assert error.message == f"`pi-1`: sudo: {cause}"
            assert error.details["reason"] == "not-allowed"
            assert len(questions) == (mode == "not-allowed")


# --- getting in


@pytest.mark.parametrize("keyboard", [False, True])
@asynchronous
async def test_a_password_gets_in_where_keys_do_not_and_is_tried_for_sudo(tmp_path: Path, keyboard: bool) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults = type(pi.faults)(
            keys=False, password=WORD, keyboard=keyboard, sudo="password", sudo_password=WORD, reading=pi.faults.reading
        )
        questions, ask = answers("wrong", WORD)
        async with pi.connected(pi.access(passwords=Passwords(ask=ask))) as remote:
            assert (await remote.run("id -u", root=True)).stdout == b"0\n"
        place = f"password of `pi` at `127.0.0.1:{pi.port}`"
        assert questions == [place, f"wrong password; {place}"]
        assert pi.passwords == ["wrong", WORD]


@asynchronous
async def test_wrong_passwords_are_asked_for_three_times(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.keys, pi.faults.password = False, WORD
        questions, ask = answers("one", "two", "three", "four")
        error = await failure(connect(pi.device(), pi.access(passwords=Passwords(ask=ask))))
        assert isinstance(error, AuthenticationError)
        assert error.message == (
            f"`pi-1`: connect: `127.0.0.1:{pi.port}` does not let `pi` in; tried: `{pi.folder}/id_ed25519`, 3 passwords"
        )
        assert pi.passwords == ["one", "two", "three"] == [word for word in pi.passwords if word not in str(questions)]
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, PasswordNeededError)
        assert error.details["what"] == "ssh"
        error = await failure(connect(pi.device(), pi.access(passwords=Passwords(ssh=[Secret("bad")]))))
        assert isinstance(error, AuthenticationError)


@asynchronous
async def test_a_refused_key_is_told_with_what_was_tried(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.keys = False
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, AuthenticationError)
        assert error.message.endswith(f"does not let `pi` in; tried: `{pi.folder}/id_ed25519`")


@asynchronous
async def test_questions_beyond_a_password_are_told_as_such(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.keys, pi.faults.password, pi.faults.keyboard = False, WORD, True
        pi.faults.questions = ("Verification code: ",)
        error = await failure(connect(pi.device(), pi.access(passwords=Passwords(ssh=[Secret(WORD)]))))
        assert isinstance(error, AuthenticationError)
        assert error.message.endswith("asks `pi` for more than a password")
        assert pi.passwords == []


@asynchronous
async def test_a_server_that_tires_of_keys_still_takes_the_password(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.faults.keys, pi.faults.password, pi.faults.max_tries = False, WORD, 1
        async with pi.connected(pi.access(passwords=Passwords(ssh=[Secret(WORD)]))) as remote:
            assert (await remote.run("echo in")).stdout == b"in\n"


@asynchronous
async def test_keys_that_are_locked_missing_or_broken_do_not_hinder_the_others(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        locked = pi.folder / "locked"
        key = asyncssh.generate_private_key("ssh-ed25519")
        locked.write_bytes(key.export_private_key("pkcs8-pem", passphrase="p"))  # noqa: S106 - of a key made here
        broken = pi.folder / "broken"
        broken.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
        own = pi.config.read_text()
        others = "".join(f"  IdentityFile {path}\n" for path in (locked, broken, pi.folder / "missing"))
        pi.config.write_text(f"Host *\n{others}  IdentitiesOnly yes\n{own}")
        async with pi.connected() as remote:
            assert (await remote.run("echo in")).stdout == b"in\n"
        pi.config.write_text(f"Host *\n  IdentityAgent none\n{others}")
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, AuthenticationError)
        assert error.message.endswith(f"a passphrase locks `{locked}`")
        assert error.details["locked"] == [str(locked)]


@asynchronous
async def test_the_ssh_configuration_decides_what_the_target_leaves_open(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.config.write_text(
            pi.config.read_text()
            + f"Host shelf\n  Hostname 127.0.0.1\n  Port {pi.port}\n  RequestTTY yes\n  RemoteCommand false\n"
            "Match originalhost shelf\n  User nobody\n  SendEnv LANG\n"
        )
        async with pi.connected(ssh="pi@shelf") as remote:
            assert (remote.user, remote.address) == ("pi", "127.0.0.1")
            assert (await remote.run(["printf", "a\nb"])).stdout == b"a\nb"
        error = await failure(connect(pi.device(ssh="shelf"), pi.access()))
        assert "does not let `nobody` in" in error.message


@asynchronous
async def test_a_jump_host_is_gone_through_and_as_strictly_checked(tmp_path: Path) -> None:
    async with fake_device(tmp_path, "pi-1") as pi, fake_device(tmp_path, "jump", known=False) as jump:
        pi.config.write_text(
            f"Host jump\n  Hostname 127.0.0.1\n  Port {jump.port}\n  User pi\n  IdentityFile {jump.folder}/id_ed25519\n"
            f"Host 127.0.0.1\n  ProxyJump jump\n  IdentityFile {pi.folder}/id_ed25519\n"
        )
        error = await failure(connect(pi.device(), pi.access()))
        assert error.code == "host-key-unknown"
        assert f"the jump host `127.0.0.1:{jump.port}` shows a host key for the first time" in error.message
        async with pi.connected(pi.access(accept_new=True)) as remote:
            assert (await remote.run("echo $HOME")).stdout.decode().strip() == str(pi.home)
            assert remote.host_key == pi.fingerprint
        assert (pi.logins, jump.commands) == (1, [])
        jump.faults.keys = False
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, AuthenticationError)
        assert "the jump host" in error.message
        jump.faults.keys = True
        error = await failure(connect(pi.device(ssh=f"127.0.0.1:{closed_port()}"), pi.access()))
        assert isinstance(error, UnreachableError)
        assert "the jump host cannot reach `127.0.0.1:" in error.message


@asynchronous
async def test_a_configuration_that_jumps_in_circles_is_refused(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.config.write_text("Host *\n  ProxyJump 127.0.0.1\n")
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, SshConfigError)
        assert "jumps in circles at `127.0.0.1`" in error.message


@asynchronous
async def test_a_proxy_command_runs_in_a_shell_as_with_ssh(tmp_path: Path) -> None:
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "link = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while part := os.read(0, 65536): link.sendall(part)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while part := link.recv(65536): os.write(1, part)\n"
    )
    async with fake_device(tmp_path) as pi:
        pi.config.write_text(pi.config.read_text() + f"  ProxyCommand {sys.executable} {relay} %h %p 2>/dev/null\n")
        async with pi.connected() as remote:
            assert (await remote.run("echo in")).stdout == b"in\n"
        pi.config.write_text("Host *\n  ProxyCommand sh -c 'echo early; echo no way there >&2; exit 1'\n")
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, UnreachableError)
        assert (
            "(through the ProxyCommand) closed the connection before saying that it speaks SSH: no way there"
            in error.message
        )


@asynchronous
async def test_a_configuration_that_cannot_be_read_names_its_line(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        pi.config.write_text("Host *\n  Port many\n")
        error = await failure(connect(pi.device(), pi.access()))
        assert isinstance(error, SshConfigError)
        assert f"{pi.config} line 2" in error.message
        pi.config.write_text("Host *\n  ProxyJump a:b:c@@\n")
        assert "ProxyJump" in (await failure(connect(pi.device(), pi.access()))).message


@asynchronous
async def test_a_target_that_is_none_is_refused(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        assert isinstance(await failure(connect(pi.device(ssh="pi@host:many"), pi.access())), BadTargetError)


def closed_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


@asynccontextmanager
async def server(greeting: bytes | None) -> AsyncIterator[int]:
    """Something that is no SSH server: says its greeting and hangs up, or never says anything (None)."""
    open_ends = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_ends.append(writer)
        if greeting is None:
            await reader.read()
        else:
            writer.write(greeting)
            await writer.drain()
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield listening.sockets[0].getsockname()[1]
        for writer in open_ends:
            writer.close()


@asynchronous
async def test_each_way_of_not_reaching_a_device_has_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "LOGIN_EXTRA_S", 0.0)
    access = Access(config=[], known_hosts=tmp_path / "known_hosts", connect_timeout_s=5.0)

    async def told(host: str) -> tuple[object, str]:
        error = await failure(connect(Device("pi-1", host, "x"), access))
        assert isinstance(error, UnreachableError)
        return error.details["kind"], error.cause

    port = closed_port()
    assert await told(f"127.0.0.1:{port}") == ("refused", f"`127.0.0.1:{port}` refuses connections")
    kind, cause = await told("no..such.name")
    assert (kind, cause[:38]) == ("unresolved", "the name of `no..such.name:22` is not ")
    async with server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        kind, cause = await told(f"127.0.0.1:{port}")
        assert (kind, cause) == (
            "not-ssh", f"`127.0.0.1:{port}` closed the connection before saying that it speaks SSH"
        )  # fmt: skip
    async with server(b"SSH-1.5-old\r\n") as port:
        assert (await told(f"127.0.0.1:{port}"))[0] == "not-ssh"
    async with server(b"") as port:
        assert (await told(f"127.0.0.1:{port}"))[0] == "not-ssh"
    access.connect_timeout_s = 2.0
    async with server(None) as port:
        assert await told(f"127.0.0.1:{port}") == (
            "timeout", f"`127.0.0.1:{port}` accepts connections, but has not let SSH in within 2 s"
        )  # fmt: skip


@asynchronous
async def test_closing_twice_is_harmless_and_kills_what_still_runs(tmp_path: Path) -> None:
    async with fake_device(tmp_path) as pi:
        remote: Remote = await connect(pi.device(), pi.access())
        lines = remote.lines("echo up; sleep 1000")
        assert await anext(lines) == b"up"
        await remote.aclose()
        await remote.aclose()
        with pytest.raises(DroppedError):
            await anext(lines)
        await pi.idle()


def test_secrets_do_not_show() -> None:
    secret = Secret(WORD)
    assert WORD not in repr(secret) + str(secret) + f"{secret}" + repr(Passwords(ssh=[secret])) + repr([secret])
    with pytest.raises(TypeError):
        secret.__reduce__()
    assert (secret == Secret(WORD), secret == WORD, len({secret, Secret(WORD)})) == (True, False, 1)
