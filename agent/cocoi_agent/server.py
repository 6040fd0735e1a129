"""Listening for peers.

Sockets are accepted here, not by asyncio's own server: that one tells nobody why a
handshake failed, and binds a port to one TLS context for ever. So certificates and
address may change while no moment passes in which nothing listens.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from cocoi_agent.connection import CLOSE_S, Connection, ConnectionAdmit, OnConnect, OnLost, OnMessage, address_text
from cocoi_agent.listening import open_listeners

if TYPE_CHECKING:
    from cocoi_agent.wire.limits import Limits
    from cocoi_agent.wire.messages import Message

HANDSHAKE_S: Final = 10.0
MAX_HANDSHAKES: Final = 256  # at once; the oldest makes room, since an honest one takes milliseconds
BURST: Final = 16  # connections accepted before the loop does something else
PAUSE_S: Final = 1.0  # without accepting, while the system has no descriptors or memory

# A host that was switched off is noticed after about a minute and a half, and its place is free again.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))

OnRefused = Callable[[str, str], None]
"""A peer did not become a connection: its address, and why."""


class Server:
    """Listens for peers; made by `serve`."""

    def __init__(
        self,
        sockets: list[socket.socket],
        context: ssl.SSLContext | None,
        make: Callable[[OnConnect, OnLost], Connection],
        on_connect: OnConnect,
        on_lost: OnLost,
        on_refused: OnRefused | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._make = make
        self._on_connect = on_connect
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._connections: set[Connection] = set()
        self._handshakes: dict[asyncio.Task[None], str] = {}  # in order of arrival, with the peer's address
        self._sockets = sockets
        self._farewell: Message | None = None
        self._is_closed = False
        for sock in sockets:
            self._loop.add_reader(sock.fileno(), self._accept, sock)

    @property
    def port(self) -> int:
        """The port that was bound, also where 0 was asked for."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def host(self) -> str:
        """The address that was bound; the first, where a name has several."""
        return str(self._sockets[0].getsockname()[0])

    def renew(self, context: ssl.SSLContext, farewell: Message) -> None:
        """Use another context from here on; close what was made under the old one, after a last word.

        The sockets listen all the while. A handshake that goes on ends under the old
        context, and its connection is closed at once.
        """
        self._context = context
        self._farewell = farewell
        for connection in list(self._connections):
            self._dismiss(connection)

    def move(self, host: str) -> None:
        """Listen at another address, same port, then no more at the old one; connections stay.

        Raises:
            OSError: If it cannot be bound; the old address stays in use.
        """
        opened = open_listeners(host, self.port, freebind=True)
        for sock in opened:
            self._loop.add_reader(sock.fileno(), self._accept, sock)
        closed, self._sockets = self._sockets, opened
        self._close_sockets(closed)

    async def aclose(self) -> None:
        """Stop listening and close every connection; bounded by `CLOSE_S`."""
        self._is_closed = True
        self._close_sockets(self._sockets)
        handshakes = list(self._handshakes)
        for handshake in handshakes:
            handshake.cancel()
        await asyncio.gather(*handshakes, return_exceptions=True)
        await asyncio.gather(*(connection.aclose() for connection in list(self._connections)))

    def _close_sockets(self, sockets: list[socket.socket]) -> None:
        for sock in sockets:
            if sock.fileno() >= 0:
                self._loop.remove_reader(sock.fileno())
                sock.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(BURST):
            try:
                sock, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._pause(listener)
                self._refused(address_text(listener.getsockname()), error.strerror or str(error))
                return
            self._begin(sock, address_text(address))

    def _pause(self, listener: socket.socket) -> None:
        """Accepting again at once would fail again at once, in a loop without end."""
        self._loop.remove_reader(listener.fileno())
        self._loop.call_later(PAUSE_S, self._go_on, listener)

    def _go_on(self, listener: socket.socket) -> None:
        if listener in self._sockets and not self._is_closed:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _begin(self, sock: socket.socket, peer: str) -> None:
        sock.settimeout(0)
        _keep_alive(sock)
        while self._context is not None and len(self._handshakes) >= MAX_HANDSHAKES:
            oldest = next(iter(self._handshakes))
            self._refused(self._handshakes.pop(oldest), f"more than {MAX_HANDSHAKES} handshakes went on at once")
            oldest.cancel()
        task = self._loop.create_task(self._establish(sock, peer, self._context))
        self._handshakes[task] = peer
        task.add_done_callback(lambda done: self._handshakes.pop(done, None))

    async def _establish(self, sock: socket.socket, peer: str, context: ssl.SSLContext | None) -> None:
        def made(connection: Connection) -> None:
            connection.peer = peer  # also where it is gone already
            self._connections.add(connection)
            self._on_connect(connection)
            if context is not self._context or self._is_closed:
                self._dismiss(connection)

        def lost(connection: Connection, error: Exception | None) -> None:
            self._connections.discard(connection)
            self._on_lost(connection, error)

        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(made, lost),
                sock,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S if context else None,
                ssl_shutdown_timeout=CLOSE_S if context else None,
            )
        except OSError as error:
            self._refused(peer, _reason(error))

    def _dismiss(self, connection: Connection) -> None:
        if self._farewell is not None:
            connection.send_nowait_control(self._farewell)
        connection.close()

    def _refused(self, peer: str, reason: str) -> None:
        if self._on_refused is not None:
            self._on_refused(peer, reason)


async def serve(
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None,
    on_connect: OnConnect,
    on_message: OnMessage,
    on_lost: OnLost,
    limits: Limits | None = None,
    admit: ConnectionAdmit | None = None,
    on_refused: OnRefused | None = None,
    freebind: bool = False,
) -> Server:
    """Listen; each peer becomes a `Connection` (with TLS: after the handshake).

    Args:
        host: Address to bind.
        port: Port to bind; 0 lets the system choose.
        ssl_context: From `agent_context`, or None for no encryption at all.
        on_connect: A connection was made.
        on_message: A message is complete; its arrays are the callee's.
        on_lost: A connection ended; told the reason, None where it ended well.
        limits: What is accepted from each peer at first.
        admit: Asked before memory is taken for tensors.
        on_refused: A peer did not get as far as a connection.
        freebind: Listen although the machine may not have the address yet.

    Raises:
        OSError: If the address cannot be bound. The caller's `__main__` handles it.
    """

    def make(made: OnConnect, lost: OnLost) -> Connection:
        return Connection(on_message, lost, limits, made, admit)

    return Server(open_listeners(host, port, freebind=freebind), ssl_context, make, on_connect, on_lost, on_refused)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        option = getattr(socket, name, None)  # Linux and macOS call the first of them differently
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _reason(error: OSError) -> str:
    """Why a handshake failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return error.strerror or str(error) or type(error).__name__
