"""A fake device: a real SSH server on 127.0.0.1 that really runs commands, with faults on request.

    async with fake_device(tmp_path) as pi:
        async with pi.connected() as remote:
            await remote.run("hostname", root=True)
        pi.faults.sudo = "absent"

Commands run through `sh` in `pi.home`, with the machine's own programs and three of ours in front of
them: `sudo` (which follows `pi.faults.sudo` and never changes the user), `id -u` (1000, or 0 under that `sudo`) and
`python3` (this interpreter). `pi.device()` and `pi.access()` are what `cocoi_cli.fleet` takes; by default a
key lets us in, and the host key is known. `pi.faults` may be changed at any time; `pi.drop()` pulls the plug.
"""

from __future__ import annotations

import asyncio
import functools
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import Signals
from typing import Any, Literal

import asyncssh

from cocoi_cli.fleet.access import Access
from cocoi_cli.fleet.records import Device
from cocoi_cli.fleet.remote import Remote, connect

USER = "pi"

_SUDO = """\
#!/bin/sh
echo "$*" >> "{log}"
mode=$(cat "{mode}")
flags=
while :; do
  case $1 in
    -p) shift 2;;
    -*) flags="$flags $1"; shift;;
    *) break;;
  esac
done
case $mode in
  absent) echo "sh: 1: sudo: not found" >&2; exit 127;;
  not-allowed) case $flags in *-n*) echo "sudo: a password is required" >&2; exit 1;; esac
    echo "{user} is not in the sudoers file." >&2; exit 1;;
  tty) echo "sudo: sorry, you must have a tty to run sudo" >&2; exit 1;;
  password)
    case $flags in *-n*) echo "sudo: a password is required" >&2; exit 1;; esac
    while IFS= read -r line; do
      [ "$line" = "$(cat "{word}")" ] && FAKE_UID=0 exec "$@"
      echo "Sorry, try again." >&2
    done
    echo "sudo: no password was provided" >&2
    exit 1;;
esac
FAKE_UID=0 exec "$@"
"""

_ID = """\
#!/bin/sh
[ "$*" = -u ] && { echo "${FAKE_UID:-1000}"; exit; }
exec %s "$@"
"""

_NO_PYTHON = """\
#!/bin/sh
echo "sh: 1: python3: not found" >&2
exit 127
"""

Sudo = Literal["nopasswd", "password", "not-allowed", "absent", "tty"]


@dataclass
class Faults:
    """What is wrong with a fake device, or special about it.

    Attributes:
        keys: Whether the user's key lets him in.
        password: The password that lets him in; None where passwords are not taken.
        keyboard: The password is asked for by keyboard-interactive only.
        questions: What keyboard-interactive asks.
        sudo: What `sudo` does.
        sudo_password: The right password for it.
        exec_refused: Commands are refused.
        drop_after: Bytes of input to a command after which the connection breaks.
        reading: Cleared, commands get no further input until it is set: a device with a slow disk.
        root_login: The user is root.
        max_tries: Wrong keys and passwords after which the server hangs up, as OpenSSH does after six.
    """

    keys: bool = True
    password: str | None = None
    keyboard: bool = False
    questions: Sequence[str] = ("Password: ",)
    sudo: Sudo = "nopasswd"
    sudo_password: str = "raspberry"  # noqa: S105 - of a fake device
    exec_refused: bool = False
    drop_after: int | None = None
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    root_login: bool = False
    max_tries: int = 6


class FakeDevice:
    """A running fake device.

    Attributes:
        name: Its name in a fleet.
        faults: What is wrong with it.
        folder: Everything of it: `home`, `bin`, `known_hosts`, `ssh_config`, `id_ed25519`.
        port: Where its SSH server listens on 127.0.0.1.
        commands: Lines that its login shell was given.
        received: Bytes of input that commands got so far.
        passwords: Passwords that were tried at login.
        logins: How many connections were made to it.
        running: Processes that it runs, each the leader of its own group; `idle` waits for their end.
        started: Set when a command has begun.
    """

    def __init__(self, folder: Path, name: str, host_key: asyncssh.SSHKey, user_key: asyncssh.SSHKey) -> None:
        self.name = name
        self.folder = folder
        self.faults = Faults()
        self.faults.reading.set()
        self.host_key = host_key
        self.user_key = user_key
        self.port = 0
        self.commands: list[str] = []
        self.received = 0
        self.passwords: list[str] = []
        self.logins = 0
        self.running: set[asyncio.subprocess.Process] = set()
        self._tasks: set[asyncio.Task[object]] = set()
        self.started = asyncio.Event()
        self.connections: list[asyncssh.SSHServerConnection] = []

    @property
    def home(self) -> Path:
        """Where its commands run."""
        return self.folder / "home"

    @property
    def known_hosts(self) -> Path:
        """The user's list of host keys."""
        return self.folder / "known_hosts"

    @property
    def config(self) -> Path:
        """The user's ssh configuration."""
        return self.folder / "ssh_config"

    @property
    def fingerprint(self) -> str:
        """Of its host key."""
        return self.host_key.get_fingerprint()

    @property
    def known_line(self) -> str:
        """The line of a list of host keys that names it."""
        kind, data = self.host_key.export_public_key("openssh").decode().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {data}\n"

    @property
    def sudo_calls(self) -> list[str]:
        """Arguments of each call of `sudo`."""
        log = self.folder / "sudo.log"
        return log.read_text().splitlines() if log.exists() else []

    def device(self, **changes: Any) -> Device:
        """Its record in a fleet file."""
        device = Device(self.name, f"{USER}@127.0.0.1:{self.port}", "127.0.0.1")
        return replace(device, **changes)

    def access(self, **changes: Any) -> Access:
        """How the user gets in; by default with the key, with nobody to ask."""
        return Access(**{"config": [self.config], "known_hosts": self.known_hosts, **changes})

    @asynccontextmanager
    async def connected(self, access: Access | None = None, **changes: Any) -> AsyncIterator[Remote]:
        """A connection to it; `changes` are for its record."""
        remote = await connect(self.device(**changes), access or self.access())
        try:
            yield remote
        finally:
            await remote.aclose()

    def drop(self) -> None:
        """Break all connections, without a word."""
        for connection in self.connections:
            connection.abort()

    async def idle(self) -> None:
        """Wait until none of its commands runs any more."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """End all that still runs."""
        for task in self._tasks:
            task.cancel()
        await self.idle()

    async def run(self, process: _Process) -> None:
        """Run one command of a client."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.commands.append(process.command or "")
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command or "", cwd=self.home, env=self._environment(), start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin
        assert child.stdout
        assert child.stderr
        self.running.add(child)
        process.begin(child)
        self.started.set()
        feeding = asyncio.create_task(self._feed(process.stdin, child.stdin))
        try:
            output, error = self._forward(child.stdout, process.stdout), self._forward(child.stderr, process.stderr)
            await asyncio.gather(output, error)
            status = await child.wait()
            with suppress(OSError):  # nobody listens any more
                if status >= 0:
                    process.exit(status)
                else:
                    process.exit_with_signal(Signals(-status).name.removeprefix("SIG"))
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            child.stdin.close()
            process.signal_received("KILL")
            try:
                await child.wait()
            finally:
                # Cut off in the middle, pipes may still be open; `Process` itself has no way to close them.
                child._transport.close()  # type: ignore[attr-defined]
                self.running.discard(child)

    async def _feed(self, source: asyncssh.SSHReader[bytes], target: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncssh.Error):
            await self.faults.reading.wait()
            while part := await source.read(65536):
                self.received += len(part)
                if self.faults.drop_after is not None and self.received > self.faults.drop_after:
                    self.drop()
                    return
                target.write(part)
                await target.drain()
                await self.faults.reading.wait()
        target.close()

    async def _forward(self, source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
        with suppress(OSError, asyncssh.Error):
            while part := await source.read(65536):
                target.write(part)
                await target.drain()

    def _environment(self) -> dict[str, str]:
        (self.folder / "sudo.mode").write_text(self.faults.sudo)
        (self.folder / "sudo.word").write_text(self.faults.sudo_password)
        path = f"{self.folder / 'bin'}:{os.environ.get('PATH', '/usr/bin:/bin')}"
        root = {"FAKE_UID": "0"} if self.faults.root_login else {}
        return {"HOME": str(self.home), "PATH": path, "USER": USER, "LANG": "C.UTF-8", **root}

    def remove_python(self) -> None:
        """From now on there is no `python3`."""
        python = self.folder / "bin" / "python3"
        python.unlink()
        _program(python, _NO_PYTHON)


class _Process(asyncssh.SSHServerProcess[bytes]):
    """A command; signals reach its whole process group, as sshd sends them."""

    def __init__(self, device: FakeDevice) -> None:
        super().__init__(device.run, None, 3, False)  # type: ignore[arg-type]  # it gets processes of this class
        self._device = device
        self._child: asyncio.subprocess.Process | None = None
        self._early: list[str] = []

    def exec_requested(self, command: str) -> bool:
        return not self._device.faults.exec_refused and super().exec_requested(command)

    def begin(self, child: asyncio.subprocess.Process) -> None:
        """The command runs now; signals that came before it get theirs."""
        self._child = child
        for name in self._early:
            self.signal_received(name)

    def signal_received(self, signal: str) -> None:
        if self._child is None:
            self._early.append(signal)
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, Signals[f"SIG{signal}"])


class _Server(asyncssh.SSHServer):
    def __init__(self, device: FakeDevice) -> None:
        self._device = device
        self._tries = 0

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._device.logins += 1
        self._device.connections.append(conn)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return self._judged(
            self._device.faults.keys and key.public_data == self._device.user_key.public_data and username == USER
        )

    def password_auth_supported(self) -> bool:
        return self._device.faults.password is not None and not self._device.faults.keyboard

    def validate_password(self, username: str, password: str) -> bool:
        self._device.passwords.append(password)
        return self._judged(password == self._device.faults.password)

    def kbdint_auth_supported(self) -> bool:
        return self._device.faults.keyboard

    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, Sequence[tuple[str, bool]]]:
        return "", "", "", [(question, False) for question in self._device.faults.questions]

    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        self._device.passwords += responses
        return self._judged(list(responses) == [self._device.faults.password])

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> bool:
        return True  # a jump host

    def session_requested(self) -> _Process:
        return _Process(self._device)

    def _judged(self, right: bool) -> bool:
        self._tries += 0 if right else 1
        if self._tries >= self._device.faults.max_tries:
            self._connection.disconnect(asyncssh.DISC_PROTOCOL_ERROR, "Too many authentication failures")
        return right


def asynchronous(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Make a test of a coroutine function, which pytest gives its fixtures as usual."""

    @functools.wraps(test)
    def run(**fixtures: Any) -> None:
        asyncio.run(test(**fixtures), debug=True)

    return run


@asynccontextmanager
async def fake_device(
    folder: Path,
    name: str = "pi-1",
    *,
    known: bool = True,
    host_keys: Sequence[asyncssh.SSHKey] = (),
    host_certificates: Sequence[asyncssh.SSHCertificate] = (),
) -> AsyncIterator[FakeDevice]:
    """Start a fake device.

    Args:
        folder: An existing folder; the device gets one of its own in it.
        name: Its name, and that of its folder.
        known: Whether its host key is in the user's list.
        host_keys: Its host keys, the first of them `host_key`; a fresh one by default.
        host_certificates: Certificates for them.
    """
    keys = list(host_keys) or [asyncssh.generate_private_key("ssh-ed25519")]
    device = FakeDevice(folder / name, name, keys[0], asyncssh.generate_private_key("ssh-ed25519"))
    _furnish(device)

    acceptor = await asyncssh.create_server(
        lambda: _Server(device),
        "127.0.0.1",
        0,
        server_host_keys=keys,
        server_host_certs=list(host_certificates),
        encoding=None,
    )
    device.port = acceptor.get_port()
    if known:
        device.known_hosts.write_text(device.known_line)
    try:
        yield device
    finally:
        device.faults.reading.set()
        device.drop()
        acceptor.close()
        await acceptor.wait_closed()
        await asyncio.gather(*(connection.wait_closed() for connection in device.connections))
        await device.close()


def _furnish(device: FakeDevice) -> None:
    binaries = device.folder / "bin"
    binaries.mkdir(parents=True)
    device.home.mkdir()
    words = {
        "log": device.folder / "sudo.log",
        "mode": device.folder / "sudo.mode",
        "word": device.folder / "sudo.word",
    }
    _program(binaries / "sudo", _SUDO.format(user=USER, **words))
    _program(binaries / "id", _ID % shutil.which("id"))
    (binaries / "python3").symlink_to(sys.executable)
    key_file = device.folder / "id_ed25519"
    key_file.write_bytes(device.user_key.export_private_key("openssh"))
    key_file.chmod(0o600)
    device.config.write_text(f"Host *\n  IdentityFile {key_file}\n  IdentityAgent none\n")


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
