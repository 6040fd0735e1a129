"""What one attempt to log in sees, and what it is asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.fleet.access import Secret
    from cocoi_cli.fleet.proxy import Proxy

CLOSING_S: Final = 2.0  # a connection that does not close by then is dropped


class Client(asyncssh.SSHClient):
    """The callbacks of one connection; nothing is asked of a person here, while the server waits.

    Attributes:
        connection: Once there is one.
        reached: Something answers at the other end; `on_reached` was called.
        shown: A host key that asyncssh did not find among the trusted ones.
        authority: The server has shown a certificate of an authority that is not trusted.
        methods: How a password could be given: `password`, `keyboard-interactive`.
        sent: The password was sent.
        expired: The server wants the password changed before it lets anybody in.
        denied: The server did not let us in.
        ended: Why the connection ended; None while it stands, or if it was closed here.
        proxy: The ProxyCommand that it goes through, if any.
    """

    def __init__(self, password: Secret | None, on_reached: Callable[[], None]) -> None:
        self.connection: asyncssh.SSHClientConnection | None = None
        self.reached = False
        self.shown: asyncssh.SSHKey | None = None
        self.authority = False
        self.methods: set[str] = set()
        self.sent = False
        self.expired = False
        self.denied = False
        self.ended: Exception | None = None
        self.proxy: Proxy | None = None
        self._on_reached = on_reached
        self._password = password

    @property
    def password_given(self) -> bool:
        """Whether there was a password to send."""
        return self._password is not None

    @property
    def greeted(self) -> bool:
        """Whether the other side has said that it speaks SSH."""
        return self.connection is not None and self.connection.get_extra_info("server_version") is not None

    async def aclose(self) -> None:
        """Close the connection and all that belongs to it; safe to repeat."""
        if self.connection is not None:
            self.connection.close()
            try:
                async with asyncio.timeout(CLOSING_S):
                    await self.connection.wait_closed()
            except TimeoutError:
                self.connection.abort()
        if self.proxy is not None:
            await self.proxy.aclose()

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Something is connected; SSH has not begun."""
        self.connection = conn
        if self.proxy is None:  # which takes anything that it is given
            self._reach()

    def begin_auth(self, username: str) -> None:
        """Host key and encryption are settled."""
        del username
        self._reach()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self.ended = exc

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Remember a key that is not trusted, and refuse it; it is judged when the connection is gone."""
        del host, addr, port
        self.shown = key
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Refuse an authority that is not trusted."""
        del host, addr, port, key
        self.authority = True
        return False

    def password_auth_requested(self) -> str | None:
        """The password, once."""
        return self._answer("password")

    def kbdint_auth_requested(self) -> str | None:
        """Whether to be asked questions."""
        self.methods.add("keyboard-interactive")
        return None if self._password is None or self.sent else ""

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Sequence[tuple[str, bool]]
    ) -> list[str] | None:
        """Answer a single question for a password; anything else is beyond us."""
        del name, instructions, lang
        if not prompts:
            return []  # only a message
        if len(prompts) != 1 or not any(word in prompts[0][0].lower() for word in ("password", "passcode")):
            return None
        answer = self._answer("keyboard-interactive")
        return None if answer is None else [answer]

    def password_change_requested(self, prompt: str, lang: str) -> tuple[str, str]:
        """Refuse to change a password."""
        del prompt, lang
        self.expired = True
        return cast("tuple[str, str]", NotImplemented)  # asyncssh's word for it

    def _reach(self) -> None:
        self.reached = True
        self._on_reached()

    def _answer(self, method: str) -> str | None:
        self.methods.add(method)
        if self._password is None or self.sent:
            return None
        self.sent = True
        return self._password.reveal()
