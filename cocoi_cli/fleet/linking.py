"""The host's end of the link measurement: round trips and transfers over plain TCP.

Blocking, for a thread of its own: an event loop's turns would be part of every sample.
`ondevice.probe` is the other end, and its docstring the protocol.
"""

from __future__ import annotations

import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cocoi_cli.planning.profile import Link, Round, Samples

if TYPE_CHECKING:
    from collections.abc import Callable

PINGS: Final = 50
TRANSFERS: Final = 4
TRANSFER_BYTES: Final = 1 << 20  # four of them are 4 MiB a round and direction
TRANSFER_S: Final = 0.125  # four of them are half a second where the link is too slow for that
SMALLEST_BYTES: Final = 1 << 16
TRIAL_BYTES: Final = 1 << 18
CONNECT_S: Final = 3.0
SILENCE_S: Final = 15.0  # without a byte, after which the device counts as lost

_BLOCK: Final = memoryview(bytes(1 << 18))
_NUMBER: Final = struct.Struct("!Q")
_TIME: Final = struct.Struct("!d")


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """The device's clock minus the host's, from the shortest round trip.

    Attributes:
        offset_s: Assuming that both ways took as long.
        uncertainty_s: Half that round trip: the true offset is no further away.
    """

    offset_s: float
    uncertainty_s: float


class Prober:
    """A connection to the probe on a device.

    Raises `OSError` from every method when the device is lost.
    """

    def __init__(self, address: str, port: int, token: str, *, connect_s: float = CONNECT_S) -> None:
        """Connect and say the token.

        Raises:
            OSError: If the port cannot be reached, or somebody else answers there.
        """
        self._socket = socket.create_connection((address, port), timeout=connect_s)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(token.encode())
            self._take(1)
            self._socket.settimeout(SILENCE_S)
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Let the device end; whatever another thread is doing here fails at once."""
        with suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def measure(self, rounds: int, on_round: Callable[[int], None]) -> tuple[Link, ClockOffset]:
        """Measure so many rounds; `on_round` is told the number of each, from 1, as it begins."""
        self.ping(3)  # the first ones pay for the neighbours' address tables
        rtt = min(self.ping(5)[0])
        up = _bytes_for(self._send(TRIAL_BYTES) - rtt)
        down = _bytes_for(self._receive(TRIAL_BYTES) - rtt)
        measured, clock = [], None
        for number in range(1, rounds + 1):
            on_round(number)
            trips, found = self.ping(PINGS)
            clock = found if clock is None or found.uncertainty_s < clock.uncertainty_s else clock
            rtt = min(trips)
            # A transfer's time includes one round trip that is not its own.
            sent = tuple(max(self._send(up) - rtt, 1e-6) for _ in range(TRANSFERS))
            received = tuple(max(self._receive(down) - rtt, 1e-6) for _ in range(TRANSFERS))
            measured.append(Round(trips, Samples(up, sent), Samples(down, received)))
        assert clock is not None  # noqa: S101 - there is at least one round
        return Link("direct", tuple(measured)), clock

    def ping(self, count: int) -> tuple[tuple[float, ...], ClockOffset]:
        """Round trips in seconds, and the device's clock by the shortest of them."""
        trips, best = [], ClockOffset(0.0, float("inf"))
        for _ in range(count):
            wall, started = time.time(), time.perf_counter()
            self._socket.sendall(b"P" + _NUMBER.pack(0))
            there = _TIME.unpack(self._take(_TIME.size))[0]
            trips.append(time.perf_counter() - started)
            if trips[-1] / 2 < best.uncertainty_s:
                best = ClockOffset(there - (wall + trips[-1] / 2), trips[-1] / 2)
        return tuple(trips), best

    def _send(self, count: int) -> float:
        started = time.perf_counter()
        self._socket.sendall(b"U" + _NUMBER.pack(count))
        for start in range(0, count, len(_BLOCK)):
            self._socket.sendall(_BLOCK[: min(len(_BLOCK), count - start)])
        self._take(1)
        return time.perf_counter() - started

    def _receive(self, count: int) -> float:
        buffer = memoryview(bytearray(len(_BLOCK)))
        started = time.perf_counter()
        self._socket.sendall(b"D" + _NUMBER.pack(count))
        while count:
            got = self._socket.recv_into(buffer, min(len(buffer), count))
            if not got:
                raise ConnectionResetError("the device closed the connection")
            count -= got
        return time.perf_counter() - started

    def _take(self, count: int) -> bytes:
        taken = b""
        while len(taken) < count:
            got = self._socket.recv(count - len(taken))
            if not got:
                raise ConnectionResetError("the device closed the connection")
            taken += got
        return taken


def _bytes_for(trial_s: float) -> int:
    """How much to send at a time on a link where the trial took so long."""
    return int(min(TRANSFER_BYTES, max(SMALLEST_BYTES, TRIAL_BYTES * TRANSFER_S / max(trial_s, 1e-6))))
