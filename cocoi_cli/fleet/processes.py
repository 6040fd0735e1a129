"""One command on a device: its input streamed in, its output handed out as it comes, its end awaited.

Back-pressure both ways: input is taken from its source as fast as the device reads it, and
output that nobody takes makes the device wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncssh

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Process = asyncssh.SSHClientProcess[bytes]

BLOCK: Final = 65536  # bytes that are handed to SSH at once


class Tail:
    """The end of what a command complained; the rest is not kept, however much there is."""

    MOST: Final = 1 << 16  # bytes

    def __init__(self) -> None:
        self._text = bytearray()

    def take(self, part: bytes) -> None:
        """Take the next part."""
        self._text += part
        if len(self._text) > 2 * self.MOST:
            del self._text[: -self.MOST]

    def __bytes__(self) -> bytes:
        return bytes(self._text)


async def start(connection: asyncssh.SSHClientConnection, line: str) -> Process:
    """Run a line in the login shell; the caller calls `end`.

    Raises:
        asyncssh.Error, OSError: If it cannot be started.
    """
    # No terminal, whatever the configuration says: it would garble bytes.
    return await connection.create_process(line, encoding=None, request_pty=False)


def end(process: Process) -> None:
    """Be done with a command; it is killed if it still runs."""
    if process.returncode is None:
        with suppress(OSError):  # its channel is closed already
            process.kill()
    process.close()


async def exchange(
    process: Process,
    source: AsyncIterator[bytes],
    on_output: Callable[[bytes], None],
    on_error: Callable[[bytes], None],
) -> int | None:
    """Feed a command and take its output until it ends.

    Args:
        process: Borrowed.
        source: Its standard input, in parts of any size; left where it stands if the command ends earlier.
        on_output: Called with parts of standard output.
        on_error: Called with parts of standard error.

    Returns:
        Its exit status, minus the number of the signal that ended it, or None if the connection broke.

    Raises:
        Exception: What the source or the two functions raise.
    """
    try:
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(process, source))
            group.create_task(_drain(process.stdout, on_output))
            group.create_task(_drain(process.stderr, on_error))
            await process.wait_closed()
            feeding.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return process.returncode


@asynccontextmanager
async def drained(stream: asyncssh.SSHReader[bytes], take: Callable[[bytes], None]) -> AsyncIterator[None]:
    """Take what comes on a stream meanwhile: unread, it would keep the other from going on."""
    draining = asyncio.create_task(_drain(stream, take))
    try:
        yield
        await draining
    finally:
        draining.cancel()


async def chunks(*parts: bytes, more: AsyncIterator[bytes] | Iterable[bytes] = ()) -> AsyncIterator[bytes]:
    """Some bytes, then those of any iterator, as one asynchronous iterator."""
    for part in parts:
        yield part
    if isinstance(more, AsyncIterator):
        async for part in more:
            yield part
    else:
        for part in more:
            yield part


async def _feed(process: Process, source: AsyncIterator[bytes]) -> None:
    async for part in source:
        for start in range(0, len(part), BLOCK):
            try:
                process.stdin.write(part[start : start + BLOCK])
                await process.stdin.drain()
            except (OSError, asyncssh.Error):
                return  # it reads no more; how it ended will say why
    try:
        process.stdin.write_eof()
    except OSError:
        return


async def _drain(stream: asyncssh.SSHReader[bytes], take: Callable[[bytes], None]) -> None:
    try:
        while part := await stream.read(BLOCK):
            take(part)
    except (OSError, asyncssh.Error):
        return  # the connection broke; the missing exit status says so
