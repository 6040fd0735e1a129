"""Measuring the link to a device: directly, or through SSH where no port can be reached."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cocoi_cli.fleet.errors import DeviceError, DroppedError, ScriptFailedError
from cocoi_cli.fleet.linking import ClockOffset, Prober
from cocoi_cli.planning.profile import Link, Round, Samples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from cocoi_cli.fleet.remote import Remote
    from cocoi_cli.fleet.scripts import Tree

IDLE_S: Final = 30.0
PROBE_S: Final = 300.0  # the slowest link that is worth a device is done long before
CHANNEL_PINGS: Final = 50
CHANNEL_BYTES: Final = 1 << 20
_STAGE: Final = "link"
_PORT: Final = re.compile("[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Measured:
    """A measured link.

    Attributes:
        link: The samples.
        clock: The device's clock; None where only SSH came through.
        blocked: Why the direct way did not work; empty where it did.
    """

    link: Link
    clock: ClockOffset | None
    blocked: str


class _BlockedError(Exception):
    """No TCP connection to the probe."""


async def measure(remote: Remote, address: str, rounds: int, on_stage: Callable[[str], None]) -> Measured:
    """Measure the link to a device.

    Args:
        remote: The connection to it.
        address: Where its agent listens or will listen: an IP address.
        rounds: How many; each has 50 round trips and four transfers each way.
        on_stage: Told what is being done.

    Raises:
        DeviceError: If the device is lost.
    """
    try:
        link, clock = await _direct(remote, address, rounds, on_stage)
    except _BlockedError as error:
        on_stage("link through ssh")
        return Measured(await _through_ssh(remote, rounds), None, str(error))
    return Measured(link, clock, "")


async def _direct(
    remote: Remote, address: str, rounds: int, on_stage: Callable[[str], None]
) -> tuple[Link, ClockOffset]:
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def told(text: str) -> None:
        word, _, number = text.partition(" ")
        if word == "port" and _PORT.fullmatch(number) and 0 < int(number) < 65536 and not port.done():
            port.set_result(int(number))

    token = secrets.token_hex(16)
    request = {"op": "listen", "address": address, "token": token, "idle_s": IDLE_S}
    serving = asyncio.create_task(remote.script("probe", request, timeout_s=PROBE_S, on_progress=told))
    try:
        first: set[asyncio.Future[Any]] = {serving, port}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if not port.done():
            await serving  # raises: it ended without listening
            raise _BlockedError("the device's probe ended without listening")
        measuring = asyncio.create_task(_measured(remote, address, port.result(), token, rounds, on_stage))
        found = await _first(serving, measuring)
    except ScriptFailedError as error:
        raise _BlockedError(error.cause) from error
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
    return found


async def _first(
    serving: asyncio.Task[Tree], measuring: asyncio.Task[tuple[Link, ClockOffset]]
) -> tuple[Link, ClockOffset]:
    """What was measured; if the device's end breaks off before, that error."""
    try:
        await asyncio.wait({serving, measuring}, return_when=asyncio.FIRST_COMPLETED)
        if not measuring.done():
            await serving
        found = await measuring
        await serving
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
    return found


async def _measured(
    remote: Remote, address: str, port: int, token: str, rounds: int, on_stage: Callable[[str], None]
) -> tuple[Link, ClockOffset]:
    try:
        prober = await asyncio.to_thread(Prober, address, port, token)
    except OSError as error:
        raise _BlockedError(f"no connection to {address}: {error.strerror or error}") from error
    loop = asyncio.get_running_loop()

    def on_round(number: int) -> None:
        loop.call_soon_threadsafe(on_stage, f"link, round {number} of {rounds}")

    try:
        return await asyncio.to_thread(prober.measure, rounds, on_round)
    except OSError as error:
        raise DroppedError(remote.device.name, _STAGE, f"the connection broke: {error.strerror or error}") from error
    finally:
        # Also when this task was cancelled: the thread must not go on alone.
        prober.close()


async def _through_ssh(remote: Remote, rounds: int) -> Link:
    return Link("ssh", tuple([await _ssh_round(remote) for _ in range(rounds)]))


async def _ssh_round(remote: Remote) -> Round:
    """One round over the channel's standard streams; what goes up is timed by the device."""
    pongs: asyncio.Queue[float] = asyncio.Queue()
    down: list[tuple[float, int]] = []

    def told(text: str) -> None:
        if text == "pong":
            pongs.put_nowait(time.perf_counter())
        else:
            down.append((time.perf_counter(), len(text)))

    trips: list[float] = []

    async def payload() -> AsyncIterator[bytes]:
        for _ in range(CHANNEL_PINGS + 1):
            started = time.perf_counter()
            yield b"."
            trips.append(await pongs.get() - started)
        block = bytes(1 << 16)
        for _ in range(CHANNEL_BYTES // len(block)):
            yield block

    request = {"op": "channel", "pings": CHANNEL_PINGS + 1, "down": CHANNEL_BYTES}
    reply = await remote.script("probe", request, payload=payload(), timeout_s=PROBE_S, on_progress=told)
    # The first one waited for the device's Python to start.
    return Round(tuple(trips[1:]), _up(remote, reply), _down(remote, down))


def _up(remote: Remote, reply: Tree) -> Samples:
    try:
        size, seconds = int(reply["bytes"]) - 1, float(reply["seconds"])
    except (KeyError, TypeError, ValueError, OverflowError):
        size, seconds = 0, 0.0
    if size <= 0 or seconds <= 0:
        raise DeviceError(remote.device.name, _STAGE, "the channel brought nothing to the device")
    return Samples(size, (seconds,))


def _down(remote: Remote, pieces: list[tuple[float, int]]) -> Samples:
    """The first piece starts the clock and does not count."""
    size = sum(length for _, length in pieces[1:])
    if not size:
        raise DeviceError(remote.device.name, _STAGE, "the channel brought nothing to the host")
    return Samples(size, (max(pieces[-1][0] - pieces[0][0], 1e-6),))
