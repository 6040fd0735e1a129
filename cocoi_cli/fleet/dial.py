"""A TCP connection whose waiting never occupies one of the event loop's few worker threads.

asyncio looks names up in a small pool: a dozen names that nobody answers for would keep all others waiting.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_Address = tuple[str | int, ...] | tuple[int, bytes]  # as the system writes addresses of different families


async def dial(host: str, port: int, family: int, local_address: tuple[str, int] | None) -> socket.socket:
    """Connect to the first of a host's addresses that takes it; the caller owns the socket.

    Raises:
        OSError: What the system says about the first address that failed; `socket.gaierror` if there is none.
    """
    try:
        found = await _in_thread(lambda: socket.getaddrinfo(host, port, family, socket.SOCK_STREAM))
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, "it cannot be a name") from error
    failure: OSError | None = None
    for each, kind, protocol, _, address in found:
        try:
            return await _connected(socket.socket(each, kind, protocol), address, local_address)
        except OSError as error:
            failure = failure or error
    raise failure or OSError(f"`{host}` has no address")


async def _connected(open_socket: socket.socket, address: _Address, local_address: _Address | None) -> socket.socket:
    try:
        open_socket.setblocking(False)  # noqa: FBT003 - the name of the standard library's argument
        if local_address is not None:
            open_socket.bind(local_address)
        await asyncio.get_running_loop().sock_connect(open_socket, address)
    except BaseException:
        open_socket.close()
        raise
    return open_socket


async def _in_thread(call: Callable[[], T]) -> T:
    """Run a blocking call in a thread that nobody waits for when the program ends."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:  # raised where it is waited for
            failure = error
        try:
            loop.call_soon_threadsafe(deliver, result, failure)
        except RuntimeError:
            return  # the loop has ended; so has whoever waited

    threading.Thread(target=work, daemon=True).start()
    return await done
