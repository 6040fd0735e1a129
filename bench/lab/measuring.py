"""How true a rig is: the speed of each device's processor and link, measured from inside."""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.lab.agents import environment, module
from bench.lab.cgroups import enter
from bench.lab.errors import RigError
from bench.lab.layout import HOST, KERNELS
from bench.lab.network import entered

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.lab.cgroups import Groups
    from bench.lab.layout import Node, Rig

# As bench.lab.probe has it; that module imports numpy, which the rig's own interpreter may lack.
PROBE_GFLOP: Final = 2 * 3**2 * 256**2 * 12 * 56 / 1e9

_CALIBRATE_S: Final = 2.0
_ROUND_TRIPS: Final = 100
_STREAM_S: Final = 0.5
_PATIENCE_S: Final = 5.0
_CHUNK: Final = bytes(1 << 16)


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one place's convolutions.

    Attributes:
        gflops: All work over all time.
        median_ms, p99_ms: Of one turn of 0.79 GFLOP.
        cv: Standard deviation over mean, of the turns.
        turns: How many there were.
    """

    gflops: float
    median_ms: float
    p99_ms: float
    cv: float
    turns: int


@dataclass(frozen=True, slots=True)
class Reach:
    """Of one device's link, as TCP between the host and the device sees it.

    Attributes:
        up_mbit, down_mbit: Payload per second from the host, and to the host.
        rtt_ms: Median round trip of one byte.
    """

    up_mbit: float
    down_mbit: float
    rtt_ms: float


def speed_of(turns: Sequence[float]) -> Speed:
    """The figures of a series of turns, seconds each; at least one."""
    ordered, mean = sorted(turns), statistics.fmean(turns)
    return Speed(
        gflops=PROBE_GFLOP / mean,
        median_ms=1e3 * statistics.median(ordered),
        p99_ms=1e3 * ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))],
        cv=statistics.pstdev(turns) / mean,
        turns=len(turns),
    )


def calibrate(rig: Rig) -> float:
    """GFLOP/s of one core of this machine that has nothing else to do."""
    with _probes(rig, ["core"], _CALIBRATE_S) as running:
        return speed_of(_finish(running["core"])).gflops


def measure_speeds(rig: Rig, groups: Groups, names: Sequence[str], seconds: float) -> dict[str, Speed]:
    """The speeds of several places at once, each under its quota; names as in `layout`."""
    places = {name: KERNELS if name == HOST else name for name in names}
    with _probes(rig, names, seconds) as running:
        for name, process in running.items():
            enter(groups.entrances(places[name]), process.pid)
        for process in running.values():
            _go(process)
        return {name: speed_of(_finish(process)) for name, process in running.items()}


def measure_reach(rig: Rig, node: Node) -> Reach | None:
    """The link of a device, with nothing else on it; None where nothing comes through."""
    try:
        with _connection(rig, node) as (ours, theirs):
            rtt = _round_trip_s(ours, theirs)
            return Reach(_stream(ours, theirs), _stream(theirs, ours), 1e3 * rtt)
    except OSError:
        return None


@contextlib.contextmanager
def _probes(rig: Rig, names: Sequence[str], seconds: float) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Probes that are loaded and warm; ended at the latest when the block ends."""
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for name in names:
            call = [*module(rig, "probe"), f"{seconds}"]
            pipe = subprocess.PIPE
            running[name] = subprocess.Popen(
                call, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment()
            )
        for process in running.values():
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RigError(f"`{' '.join(module(rig, 'probe'))}` ended with status {process.wait()}")
        yield running
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def _finish(process: subprocess.Popen[str]) -> list[float]:
    out, _ = process.communicate("\n")  # one that was started already does not read it
    turns: list[float] = json.loads(out)
    return turns


@contextlib.contextmanager
def _connection(rig: Rig, node: Node) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection: the host's and the device's, in this process."""
    with contextlib.ExitStack() as stack:
        with entered(rig.namespace(node)):
            listener = stack.enter_context(socket.create_server((rig.address(node), 0)))
        listener.settimeout(_PATIENCE_S)
        with entered(rig.namespace(None)):
            ours = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=_PATIENCE_S))
        theirs = stack.enter_context(listener.accept()[0])
        for end in (ours, theirs):
            end.settimeout(_PATIENCE_S)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield ours, theirs


def _round_trip_s(ours: socket.socket, theirs: socket.socket) -> float:
    times = []
    for _ in range(_ROUND_TRIPS):
        begun = time.perf_counter()
        ours.sendall(b"?")
        theirs.recv(1)
        theirs.sendall(b"!")
        ours.recv(1)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _stream(sender: socket.socket, receiver: socket.socket) -> float:
    """Mbit/s of payload that arrive, without the first of five parts of the time: TCP finds its pace in it."""
    begun = time.perf_counter()
    ends = begun + _STREAM_S

    def send() -> None:
        with contextlib.suppress(OSError):
            while time.perf_counter() < ends:
                sender.sendall(_CHUNK)

    thread = threading.Thread(target=send)
    thread.start()
    room, counted, since, last = bytearray(1 << 18), 0, 0.0, 0.0
    while (now := time.perf_counter()) < ends:
        size = receiver.recv_into(room)
        if now < begun + _STREAM_S / 5:
            since = time.perf_counter()
            continue
        counted, last = counted + size, time.perf_counter()
    _drain(receiver, thread, room)
    return 8e-6 * counted / (last - since) if counted else 0.0


def _drain(receiver: socket.socket, sending: threading.Thread, room: bytearray) -> None:
    """Take what is still under way, so that the connection is quiet for the next measurement."""
    receiver.settimeout(0.25)
    with contextlib.suppress(TimeoutError):
        while receiver.recv_into(room):
            pass
    sending.join()
    receiver.settimeout(_PATIENCE_S)
