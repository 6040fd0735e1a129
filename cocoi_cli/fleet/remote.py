"""One SSH connection to one device: commands, scripts, and being root there.

Everything that asyncssh and the system raise becomes an error of `cocoi_cli.fleet.errors` here.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncssh

from cocoi_cli.fleet import conversation, processes, scripts, sudo
from cocoi_cli.fleet.errors import (
    CommandFailedError,
    CommandTimeoutError,
    DroppedError,
    NoPythonError,
    ScriptFailedError,
)
from cocoi_cli.fleet.login import open_device
from cocoi_cli.fleet.root_access import RootAccess

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence

    from cocoi_cli.fleet.access import Access
    from cocoi_cli.fleet.login import Opened
    from cocoi_cli.fleet.records import Device
    from cocoi_cli.fleet.scripts import Tree

SUDO_S: Final = 60.0  # `sudo` makes one wait a few seconds after a wrong password

TAIL: Final = 2000  # characters of standard error that an error keeps
MOST_OUTPUT: Final = 256 << 20  # bytes of one command; a journal that is read whole comes nowhere near
SESSIONS: Final = 8  # sshd refuses more than ten commands at once on one connection (MaxSessions)
_OURS: Final = {"device", "stage", "cause", "message", "self", "failure"}

NOT_FOUND: Final = 127  # a shell's status for a program that does not exist


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended.

    Attributes:
        status: Exit status, or minus the number of the signal that ended it.
        stdout: What it wrote.
        stderr: What it complained.
    """

    status: int
    stdout: bytes
    stderr: bytes


async def connect(device: Device, access: Access) -> Remote:
    """Connect to a device over SSH, its host key checked; the caller closes the connection.

    Raises:
        UnreachableError, AuthenticationError, PasswordNeededError: If there is no way in.
        UnknownHostKeyError, HostKeyChangedError, WrongDeviceError, RevokedHostKeyError: If it may be another device.
        SshConfigError, BadTargetError, KnownHostsNotWritableError: If a file on this machine stands in the way.
    """
    return Remote(device, access, await open_device(device, access))


class Remote:
    """A connection to a device.

    Attributes:
        device: As the fleet file has it.
        address: Where it was reached: an IP address, or its name where a jump host did the reaching.
        user: Who is logged in there.
        host_key: Fingerprint of the host key that it has shown.
        stage: What is being done, for errors; `begin` sets it.
        on_stage: Told of each stage that begins.
    """

    def __init__(self, device: Device, access: Access, opened: Opened) -> None:
        self.device = device
        self.address = opened.address
        self.user = opened.user
        self.host_key = opened.host_key
        self.stage = "run"
        self.on_stage: Callable[[str], None] | None = None
        self._opened = opened
        self._sessions = asyncio.Semaphore(SESSIONS)
        self._root = RootAccess(device.name, opened.user, opened.password, access.passwords, self._probe)

    def __repr__(self) -> str:
        return f"<Remote {self.device.name} {self.user}@{self.address} {self.stage}>"

    def begin(self, stage: str) -> None:
        """Say what comes next; errors of `run` and `lines` carry it."""
        self.stage = stage
        if self.on_stage is not None:
            self.on_stage(stage)

    async def run(
        self,
        command: Sequence[str] | str,
        *,
        input: bytes = b"",  # noqa: A002 - the word of the standard library for this
        root: bool = False,
        timeout_s: float = 30.0,
        check: bool = True,
    ) -> Completed:
        """Run a command to its end.

        Args:
            command: A program with its arguments, or a line for `sh`.
            input: Its standard input.
            root: Run it as root.
            timeout_s: Seconds until it is killed.
            check: Whether an exit status other than 0 is an error.

        Raises:
            CommandFailedError: If it ended badly, with `check`; could not be started; or wrote without end.
            CommandTimeoutError, DroppedError: If it did not end in time, or the connection broke.
            SudoError, PasswordNeededError: If it needs root, and the user cannot be root.
        """
        line, first = await self._line(command, timeout_s, root=root)
        stdout, stderr = bytearray(), processes.Tail()

        def keep(part: bytes) -> None:
            stdout.extend(part)
            if len(stdout) > MOST_OUTPUT:
                raise conversation.TooLongError("its output", MOST_OUTPUT)

        source = processes.chunks(first, input)
        status = await self._exchange(sudo.named(command), line, source, keep, stderr.take, timeout_s)
        if status and check:
            raise self._failed(sudo.named(command), status, bytes(stderr))
        return Completed(status, bytes(stdout), bytes(stderr))

    async def script(
        self,
        name: str,
        request: Tree,
        *helpers: str,
        root: bool = False,
        payload: AsyncIterator[bytes] | Iterable[bytes] = (),
        python: str = "python3",
        timeout_s: float = 60.0,
        on_progress: Callable[[str], None] | None = None,
    ) -> Tree:
        """Run a script of `cocoi_cli.fleet.ondevice` on the device, without writing it there.

        Args:
            name: The module; its `main` gets the request.
            request: JSON values.
            helpers: Further modules of that package that it imports, in the order of their imports.
            root: Run it as root.
            payload: Bytes for it, streamed as fast as it reads them.
            python: The device's Python.
            timeout_s: Seconds until it is killed.
            on_progress: Told what the script tells of its progress.

        Returns:
            The script's result.

        Raises:
            ScriptFailedError: If the script tells of a failure.
            NoPythonError: If there is no such Python.
            CommandFailedError: If the script ended in another way.
            CommandTimeoutError, DroppedError, SudoError, PasswordNeededError: As `run`.
        """
        operation = request.get("op")
        stage = f"{name}/{operation}" if isinstance(operation, str) else name
        shown = f"{python} {name}"
        line, first = await self._line([python, *scripts.COMMAND], timeout_s, root=root)
        talk = conversation.Conversation(on_progress)
        stderr = processes.Tail()
        source = processes.chunks(first, scripts.pack(name, request, *helpers), more=payload)
        status = await self._exchange(shown, line, source, talk.feed, stderr.take, timeout_s, stage=stage)
        match talk.outcome:
            case scripts.Result(reply):
                return reply
            case scripts.ScriptFailure(code, message, details):
                # What the script calls its own details must not collide with ours.
                others = {key: value for key, value in details.items() if key not in _OURS}
                raise ScriptFailedError(self.device.name, stage, message, **others, failure=code)
            case None:
                pass
        if status == NOT_FOUND:
            raise NoPythonError(self.device.name, stage, f"there is no `{python}`", python=python)
        raise self._failed(shown, status, bytes(stderr), stage=stage)

    async def lines(self, command: Sequence[str] | str, *, root: bool = False) -> AsyncGenerator[bytes, None]:
        """Run a command and yield its lines, without their ends, until it or the caller has had enough.

        Close it with `aclose()` (`contextlib.aclosing`): that ends the command, too.

        Raises:
            CommandFailedError, DroppedError, SudoError, PasswordNeededError: As `run`; there is no time limit.
        """
        line, first = await self._line(sudo.followed(command), None, root=root)
        shown = sudo.named(command)
        stderr = processes.Tail()
        async with self._process(shown, line, self.stage) as process, processes.drained(process.stderr, stderr.take):
            if first:
                process.stdin.write(first)
            rest = b""
            try:
                while part := await process.stdout.read(processes.BLOCK):
                    *whole, rest = (rest + part).split(b"\n")
                    if len(rest) > conversation.MOST_LINE:
                        raise self._endless(
                            shown, self.stage, conversation.TooLongError("a line", conversation.MOST_LINE)
                        )
                    for each in whole:
                        yield each
            except (asyncssh.Error, OSError) as error:
                raise self._dropped(shown, self.stage) from error
            if rest:
                yield rest
            await process.wait_closed()
        if process.returncode is None:
            raise self._dropped(shown, self.stage)
        if process.returncode:
            raise self._failed(shown, process.returncode, bytes(stderr))

    async def become_root(self) -> sudo.Root:
        """Find out how to be root here, asking for a password if need be; the answer is remembered.

        Returns:
            `root` (logged in as root), `nopasswd` or `password`.

        Raises:
            SudoError: If the user cannot become root, or no password was right.
            PasswordNeededError: If a password is needed and nobody can be asked.
        """
        return await self._root.how()

    async def aclose(self) -> None:
        """Close the connection; what still runs there is killed. Safe to repeat."""
        for client in (self._opened.client, *reversed(self._opened.hops)):
            await client.aclose()

    async def _line(self, command: Sequence[str] | str, timeout_s: float | None, *, root: bool) -> tuple[str, bytes]:
        """What the login shell is to run, and what its standard input begins with."""
        return await self._root.line(command, timeout_s) if root else (sudo.as_user(command), b"")

    async def _probe(self, line: str, first: bytes) -> tuple[int, bytes]:
        stderr = processes.Tail()
        source = processes.chunks(first)
        status = await self._exchange("sudo", line, source, lambda _: None, stderr.take, SUDO_S, stage="sudo")
        return status, bytes(stderr)

    async def _exchange(
        self,
        shown: str,
        line: str,
        source: AsyncIterator[bytes],
        on_output: Callable[[bytes], None],
        on_error: Callable[[bytes], None],
        timeout_s: float,
        *,
        stage: str | None = None,
    ) -> int:
        stage = stage or self.stage
        clock = asyncio.timeout(timeout_s)
        try:
            async with clock, self._process(shown, line, stage) as process:
                status = await processes.exchange(process, source, on_output, on_error)
        except TimeoutError:
            if not clock.expired():
                raise
            cause = f"`{shown}` did not end within {timeout_s:g} s"
            raise CommandTimeoutError(self.device.name, stage, cause, command=shown, seconds=timeout_s) from None
        except conversation.TooLongError as error:
            raise self._endless(shown, stage, error) from None
        if status is None:
            raise self._dropped(shown, stage)
        return status

    @asynccontextmanager
    async def _process(self, shown: str, line: str, stage: str) -> AsyncIterator[processes.Process]:
        async with self._sessions:
            try:
                process = await processes.start(self._opened.connection, line)
            except asyncssh.ChannelOpenError as error:
                if self._opened.connection.is_closed():
                    raise self._dropped(shown, stage) from error
                cause = f"the device does not start commands: `{shown}`: {error.reason.rstrip('.').lower()}"
                raise CommandFailedError(
                    self.device.name, stage, cause, command=shown, status=None, stderr=""
                ) from error
            except (asyncssh.Error, OSError) as error:
                raise self._dropped(shown, stage) from error
            try:
                yield process
            finally:
                processes.end(process)

    def _failed(self, shown: str, status: int, stderr: bytes, *, stage: str | None = None) -> CommandFailedError:
        tail = stderr.decode(errors="replace").strip()[-TAIL:]
        how = f"ended with status {status}" if status >= 0 else f"was ended by signal {-status}"
        last = tail.rsplit("\n", 1)[-1].strip()
        cause = f"`{shown}` {how}" + (f": {last}" if last else "")
        return CommandFailedError(
            self.device.name, stage or self.stage, cause, command=shown, status=status, stderr=tail
        )

    def _endless(self, shown: str, stage: str, error: conversation.TooLongError) -> CommandFailedError:
        cause = f"`{shown}` writes without end: {error}"
        return CommandFailedError(self.device.name, stage, cause, command=shown, status=None, stderr="")

    def _dropped(self, shown: str, stage: str) -> DroppedError:
        ended = self._opened.client.ended
        words = str(ended.strerror or ended) if isinstance(ended, OSError) else str(ended or "")
        why = f" ({words[:1].lower()}{words[1:].rstrip('.')})" if words else ""
        cause = f"the connection broke while `{shown}` ran{why}"
        return DroppedError(self.device.name, stage, cause, command=shown)
