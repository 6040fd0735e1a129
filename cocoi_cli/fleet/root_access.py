"""How the user of one device becomes root there, found out once and then used for every command.

A password is checked alone before anything is sent behind it: otherwise `sudo` would take the
command's own input for the next attempt.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cocoi_cli.fleet import sudo
from cocoi_cli.fleet.access import NobodyToAskError, WrongPasswordsError
from cocoi_cli.fleet.errors import PasswordNeededError, SudoError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from cocoi_cli.fleet.access import Passwords, Secret


class RootAccess:
    """Root on one device."""

    def __init__(
        self,
        device: str,
        user: str,
        likely: Secret | None,
        passwords: Passwords,
        probe: Callable[[str, bytes], Awaitable[tuple[int, bytes]]],
    ) -> None:
        """Prepare; nothing is tried yet.

        Args:
            device: Its name, for questions and errors.
            user: Who is logged in.
            likely: The password that the login took, if any: usually it is `sudo`'s, too.
            passwords: Where others come from.
            probe: Runs a line in the login shell with some input; returns its status and standard error.
        """
        self._device = device
        self._user = user
        self._likely = [] if likely is None else [likely]
        self._passwords = passwords
        self._probe = probe
        self._finding = asyncio.Lock()
        self._how: sudo.Root | None = None
        self._password: Secret | None = None

    async def how(self) -> sudo.Root:
        """Find out, asking for a password if need be.

        Raises:
            SudoError: If the user cannot become root, or no password was right.
            PasswordNeededError: If a password is needed and nobody can be asked.
        """
        async with self._finding:
            if self._how is None:
                self._how = await self._find()
            return self._how

    async def line(self, command: Sequence[str] | str, timeout_s: float | None) -> tuple[str, bytes]:
        """What the login shell is to run for a command as root, and what its standard input begins with.

        Raises:
            SudoError, PasswordNeededError: As `how`.
        """
        how = await self.how()
        return sudo.as_root(command, how, timeout_s), _first_line(self._password)

    async def _find(self) -> sudo.Root:
        if (await self._probe(sudo.as_user(sudo.ROOT_ALREADY), b""))[0] == 0:
            return "root"
        if await self._allowed(sudo.WITHOUT_PASSWORD, b""):
            return "nopasswd"

        async def works(secret: Secret) -> bool | None:
            return await self._allowed(sudo.WITH_PASSWORD, _first_line(secret)) or None

        question = f"sudo password of `{self._user}` on `{self._device}`"
        try:
            self._password, _ = await self._passwords.find("sudo", question, works, likely=self._likely)
        except WrongPasswordsError:
            cause = f"every password for `{self._user}` was wrong"
            raise SudoError(self._device, "sudo", cause, reason="wrong-password", user=self._user) from None
        except NobodyToAskError:
            cause = f"`sudo` wants a password of `{self._user}`, and nobody can be asked for it"
            raise PasswordNeededError(self._device, "sudo", cause, what="sudo", user=self._user) from None
        return "password"

    async def _allowed(self, line: str, first: bytes) -> bool:
        """Whether `sudo` serves the user; False if another password may help.

        Raises:
            SudoError: If none will.
        """
        status, stderr = await self._probe(line, first)
        if status == 0:
            return True
        cause = sudo.refusal(status, stderr)
        if cause is not None:
            raise SudoError(self._device, "sudo", cause, reason="not-allowed", user=self._user)
        return False


def _first_line(secret: Secret | None) -> bytes:
    return b"" if secret is None else f"{secret.reveal()}\n".encode()
