"""How a run gets into devices: passwords, host keys, timeouts. Nothing here is ever written to a disk.

One password is asked for once: what has worked on one device is tried on the next before
anybody is asked, and while one question is open, whoever needs an answer too waits for it.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

T = TypeVar("T")

Kind = Literal["ssh", "sudo"]

Ask = Callable[[str], str] | Callable[[str], Awaitable[str]]
"""Puts a question and returns the answer. A coroutine function, or a blocking one that gets a thread of its own."""

Confirm = Callable[[str, str], bool] | Callable[[str, str], Awaitable[bool]]
"""Whether a device's host key is the right one, from the device's name and the fingerprint; blocking or not."""

TRIES: Final = 3
"""How often one device's password is asked for; `sudo` and `ssh` stop there too."""

LOGINS_AT_ONCE: Final = 6  # sshd begins to refuse logins above ten unfinished ones (MaxStartups 10:30:100)


class Secret:
    """A password. Neither its text nor its length shows in any representation."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The password itself, to be handed to the device and to nothing else."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(hidden)"

    def __reduce__(self) -> str:
        raise TypeError("a secret stays in memory")


class WrongPasswordsError(Exception):
    """Every password was wrong; whoever asked for one says for what."""


class NobodyToAskError(Exception):
    """No password is known, and there is nobody to ask for one."""


@dataclass(slots=True)
class Passwords:
    """The passwords of one run.

    Attributes:
        ask: Puts a question to somebody; None where nobody can be asked.
        ssh: Passwords to log in with, from a file, and those that have worked.
        sudo: The same for becoming root.
    """

    ask: Ask | None = None
    ssh: list[Secret] = field(default_factory=list)
    sudo: list[Secret] = field(default_factory=list)
    _turns: dict[asyncio.AbstractEventLoop, asyncio.Lock] = field(default_factory=dict, repr=False)

    @property
    def turn(self) -> asyncio.Lock:
        """Held while a question is open, so that there is only one at a time."""
        # A lock belongs to one event loop, and a command may run several, one after the other.
        return self._turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())

    async def find(
        self,
        kind: Kind,
        question: str,
        works: Callable[[Secret], Awaitable[T | None]],
        *,
        likely: Iterable[Secret] = (),
    ) -> tuple[Secret, T]:
        """Find a password that works: those already known, then up to `TRIES` answers.

        Args:
            kind: What it is for.
            question: What is asked, without a colon.
            works: Tries one password on the device; None means that it is wrong.
            likely: Tried before all others.

        Returns:
            The password, which the next device will try first, and what `works` returned for it.

        Raises:
            WrongPasswordsError: If all were wrong.
            NobodyToAskError: If none is known and nobody can be asked.
        """
        known = self.ssh if kind == "ssh" else self.sudo
        wrong: set[Secret] = set()

        async def first_working(secrets: Iterable[Secret]) -> tuple[Secret, T] | None:
            for secret in secrets:
                if secret in wrong:
                    continue
                result = await works(secret)
                if result is not None:
                    if secret not in known:
                        known.insert(0, secret)
                    return secret, result
                wrong.add(secret)
            return None

        asked = 0
        while True:
            if found := await first_working([*likely, *known]):
                return found
            if self.ask is None:
                raise WrongPasswordsError if wrong else NobodyToAskError
            async with self.turn:
                if any(secret not in wrong for secret in known):
                    continue  # somebody has answered for another device meanwhile
                if asked == TRIES:
                    raise WrongPasswordsError
                asked += 1
                again = "" if asked == 1 else "wrong password; "
                # Tried before the turn passes on: the others want to know whether it is right.
                if found := await first_working([Secret(await answered(self.ask, again + question))]):
                    return found


@dataclass(slots=True)
class Access:
    """What `connect` may use and whom it may ask.

    Attributes:
        accept_new: Trust host keys that were never seen before, without asking.
        passwords: Where passwords come from.
        config: Files of ssh configuration; None for `~/.ssh/config`.
        known_hosts: One file in place of the user's own and the system's lists of host keys (tests).
        connect_timeout_s: Seconds until a device that does not answer is given up.
        confirm_host_key: Asked about an unknown host key; None where nobody can be asked.
        approved: Host keys that were accepted in this run: name in known_hosts, fingerprint.
    """

    accept_new: bool = False
    passwords: Passwords = field(default_factory=Passwords)
    config: Sequence[Path] | None = None
    known_hosts: Path | None = None
    connect_timeout_s: float = 10.0
    confirm_host_key: Confirm | None = None
    approved: set[tuple[str, str]] = field(default_factory=set, repr=False)
    _gates: dict[tuple[object, str, int], asyncio.Semaphore] = field(default_factory=dict, repr=False)

    def gate(self, host: str, port: int) -> asyncio.Semaphore:
        """What to hold while logging in at a server: many devices may share a jump host."""
        key = (asyncio.get_running_loop(), host, port)
        return self._gates.setdefault(key, asyncio.Semaphore(LOGINS_AT_ONCE))

    async def confirmed(self, device: str, fingerprint: str) -> bool | None:
        """Whether somebody says that a host key is right; None if nobody can be asked."""
        if self.confirm_host_key is None:
            return None
        async with self.passwords.turn:
            return await answered(self.confirm_host_key, device, fingerprint)


async def answered(ask: Callable[..., T] | Callable[..., Awaitable[T]], *words: str) -> T:
    """Put a question without holding up the event loop."""
    if inspect.iscoroutinefunction(ask):
        return await cast("Callable[..., Awaitable[T]]", ask)(*words)
    return await asyncio.to_thread(cast("Callable[..., T]", ask), *words)
