"""What the commands that contact devices share: questions on the terminal, and passwords from files."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, TextIO

from cocoi_cli.errors import UsageError
from cocoi_cli.fleet.access import Access, Passwords, Secret

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cocoi_cli.console import Console

_ANSWERS: Final = {"y": True, "yes": True, "n": False, "no": False}

OTHERS_MAY_READ: Final = 0o077  # permission bits of group and others


class PasswordFileError(UsageError):
    """A password file cannot be read, or holds none."""

    code: ClassVar[str] = "password-file"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"`{path}` gives no password: {reason}", path=path, reason=reason)


def access(
    console: Console,
    *,
    accept_new: bool = False,
    password_file: str | Path | None = None,
    sudo_password_file: str | Path | None = None,
    yes: bool = False,
) -> Access:
    """How this run gets into devices.

    Questions are put on the terminal, if there is one: about unknown host keys (not with
    `yes`, which must never mean trust), and for passwords that no file gives.

    Args:
        console: Says whether somebody can be asked, and warns.
        accept_new: Trust unknown host keys.
        password_file: Its first line is the password to log in with.
        sudo_password_file: Its first line is the password for `sudo`.
        yes: Questions whether to go on are not asked.

    Raises:
        PasswordFileError: If a file holds no password.
    """
    terminal = _Terminal(console) if console.interactive else None
    passwords = Passwords(
        ask=None if terminal is None else terminal.password,
        ssh=_read(console, password_file),
        sudo=_read(console, sudo_password_file),
    )
    confirm = None if terminal is None or yes else terminal.host_key
    return Access(accept_new=accept_new, passwords=passwords, confirm_host_key=confirm)


def _read(console: Console, path: str | Path | None) -> list[Secret]:
    if path is None:
        return []
    try:
        with Path(path).expanduser().open(encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            password = stream.readline().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text"
        raise PasswordFileError(str(path), reason.lower()) from None
    if not password:
        raise PasswordFileError(str(path), "its first line is empty")
    if os.name == "posix" and mode & OTHERS_MAY_READ:
        console.warning(f"`{path}` can be read by others: `chmod 600` keeps its password to you")
    return [Secret(password)]


class _Terminal:
    """Asks on the terminal while the other devices go on, and lets go at once when Ctrl-C ends the command.

    A terminal has a line ready only when it is complete, so the event loop can wait for it: no
    thread is left behind that would still be reading when the program ends.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    async def password(self, question: str) -> str:
        """Ask for a password; it is not shown while it is typed."""
        with self._console.around_questions(), _unseen(sys.stdin):
            answer = await self._line(f"{question}: ")
            sys.stderr.write("\n")
        return answer

    async def host_key(self, device: str, fingerprint: str) -> bool:
        """Ask whether a host key is the right one; only a clear yes is one."""
        with self._console.around_questions():
            self._console.warning(f"`{device}` is contacted for the first time; its host key is {fingerprint}")
            # What was typed ahead cannot be an answer to a fingerprint that nobody had seen.
            _forget_typed(sys.stdin)
            answer = ""
            while answer not in _ANSWERS:
                answer = (await self._line("is that the key of this device? [y/N] ")).strip().lower() or "no"
        return _ANSWERS[answer]

    async def _line(self, prompt: str) -> str:
        sys.stderr.write(prompt)
        sys.stderr.flush()
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        number = sys.stdin.fileno()
        loop.add_reader(number, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(number)
        typed = os.read(number, 4096)
        if not typed:  # Ctrl-D at the beginning of a line
            signal.raise_signal(signal.SIGINT)
            await asyncio.Event().wait()  # until that cancels us
        return typed.decode(sys.stdin.encoding or "utf-8", "replace").rstrip("\r\n")


def _forget_typed(stream: TextIO) -> None:
    import termios  # noqa: PLC0415  (where there is a terminal, there is this module)

    termios.tcflush(stream, termios.TCIFLUSH)


@contextmanager
def _unseen(stream: TextIO) -> Iterator[None]:
    """Keep what is typed from being shown."""
    import termios  # noqa: PLC0415  (where there is a terminal, there is this module)

    before = termios.tcgetattr(stream)
    silent = termios.tcgetattr(stream)
    silent[3] &= ~termios.ECHO
    # What was typed ahead, before anybody could know that it would be a password, is thrown away.
    termios.tcsetattr(stream, termios.TCSAFLUSH, silent)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, before)
