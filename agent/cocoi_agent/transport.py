"""Connecting, as a host does.

`Connection`, `serve`, the contexts of `trust` and their errors are named here too, so
that this module is all that a host needs besides `wire`. The system's errors are mapped
to `ConnectError`.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from typing import TYPE_CHECKING, ClassVar

from cocoi_agent.connection import (
    CLOSE_S,
    Connection,
    ConnectionAdmit,
    ConnectionLostError,
    OnConnect,
    OnLost,
    OnMessage,
    TransportError,
    address_text,
)
from cocoi_agent.listening import is_numeric
from cocoi_agent.server import HANDSHAKE_S, OnRefused, Server, serve
from cocoi_agent.trust import TrustError, agent_context, host_context

if TYPE_CHECKING:
    from cocoi_agent.wire.limits import Limits

__all__ = [
    "ConnectError",
    "Connection",
    "ConnectionAdmit",
    "ConnectionLostError",
    "OnConnect",
    "OnLost",
    "OnMessage",
    "OnRefused",
    "Server",
    "TransportError",
    "TrustError",
    "agent_context",
    "connect",
    "host_context",
    "serve",
]


class ConnectError(TransportError):
    """No connection could be made.

    Attributes:
        kind: `refused`, `timeout`, `unreachable`, `unresolved`, `tls` or `failed`.
        host, port: Where to.
        reason: The system's words.
    """

    code: ClassVar[str] = "connect"

    def __init__(self, kind: str, host: str, port: int, reason: str) -> None:
        super().__init__(f"cannot connect to {address_text((host, port))}: {reason}")
        self.kind = kind
        self.host = host
        self.port = port
        self.reason = reason


async def connect(
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None,
    on_message: OnMessage,
    on_lost: OnLost,
    limits: Limits | None = None,
    receive_buffer: int | None = None,
    timeout_s: float = HANDSHAKE_S,
    admit: ConnectionAdmit | None = None,
) -> Connection:
    """Connect to an agent; with TLS, until the handshake is done.

    A TLS 1.3 client that the agent refuses still sees its handshake succeed: only
    an answered `Hello` proves the connection.

    Args:
        host: Name or address.
        port: TCP port.
        ssl_context: From `host_context`, or None for no encryption at all.
        on_message: A message is complete; its arrays are the callee's.
        on_lost: The connection ended; not called if this function raises.
        limits: What is accepted from the agent.
        receive_buffer: Size of the kernel's receive buffer in bytes, set before the
            connection is made: bounds what a sender may have on its way to us
            (docs/protocol.md, incast). None leaves it to the kernel.
        timeout_s: For name, connection and handshake together.
        admit: Asked before memory is taken for tensors.

    Raises:
        ConnectError: With the kind of failure. The caller handles it.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            sock = await _open_socket(loop, host, port, receive_buffer)
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(on_message, on_lost, limits, admit=admit),
                    sock=sock,
                    ssl=ssl_context,
                    server_hostname="" if ssl_context else None,
                    ssl_handshake_timeout=timeout_s if ssl_context else None,
                    ssl_shutdown_timeout=CLOSE_S if ssl_context else None,
                )
            except BaseException:
                sock.close()
                raise
    except TimeoutError as error:
        raise ConnectError("timeout", host, port, f"no connection within {timeout_s:g} s") from error
    except ssl.SSLError as error:
        raise ConnectError("tls", host, port, str(error)) from error
    except OSError as error:
        raise ConnectError(_kind_of(error), host, port, error.strerror or str(error)) from error
    return connection


async def _open_socket(
    loop: asyncio.AbstractEventLoop, host: str, port: int, receive_buffer: int | None
) -> socket.socket:
    """A connected, non-blocking socket to the first address that accepts."""
    if is_numeric(host):  # at once: the loop's few threads may all be waiting for names
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    else:
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    last: OSError = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for family, kind, protocol, _, address in addresses:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(0)
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


def _kind_of(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, socket.gaierror):
        return "unresolved"
    if isinstance(error, ConnectionError):
        return "tls" if isinstance(error, ConnectionResetError | ConnectionAbortedError) else "failed"
    if error.errno in {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL}:
        return "unreachable"
    return "timeout" if error.errno == errno.ETIMEDOUT else "failed"
