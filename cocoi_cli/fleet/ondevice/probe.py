"""The device's end of the link measurement: a small TCP server, or the SSH channel itself.

Requests:

- `{"op": "listen", "address", "token", "idle_s"}`: listens on the address at a free port,
  tells it as the progress text `port N`, and serves whoever begins with the token until
  that peer leaves. Orders of the peer are one byte and a number of eight bytes:
  `P` is answered with the device's time, after `U` that many bytes are read and
  confirmed, after `D` that many are sent; anything else ends.
- `{"op": "channel", "pings", "down"}`: each of `pings` bytes of the payload is answered by
  the progress text `pong` as it comes; then what is left of the payload is read to its
  end (its first byte starts the clock) and `down` bytes of progress text are written.
"""

from __future__ import annotations

import hmac
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from cocoi_cli.fleet.ondevice.common import Failure, progress, say

if TYPE_CHECKING:
    from typing import BinaryIO

BLOCK = 256 * 1024
LINE = 16 * 1024
LARGEST = 64 * 1024 * 1024  # of one transfer: more than any host asks for
NUMBER = struct.Struct("!Q")
TIME = struct.Struct("!d")
STRANGERS_S = 5.0  # a peer that does not say the token is heard no longer than this


def main(request: dict[str, Any], payload: BinaryIO) -> dict[str, Any]:
    """Serve one measurement; see the module."""
    if request["op"] == "listen":
        return listen(request["address"], request["token"].encode(), float(request["idle_s"]))
    return channel(payload, int(request["pings"]), int(request["down"]))


def listen(address: str, token: bytes, idle_s: float) -> dict[str, Any]:
    """Serve the host; ends when it says so, leaves, or is silent for `idle_s` seconds.

    Raises:
        Failure: `no-listen`, if the address cannot be listened on; `no-peer`, if nobody came.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        try:
            server.bind((address, 0))
        except OSError as error:
            raise Failure("no-listen", f"cannot listen on {address}: {error.strerror}", address=address) from error
        server.listen(4)
        server.settimeout(idle_s)
        progress(f"port {server.getsockname()[1]}")
        with _accept(server, token, idle_s) as peer:
            return {"served": _serve(peer)}


def _accept(server: socket.socket, token: bytes, idle_s: float) -> socket.socket:
    """The first peer that knows the token."""
    until = time.monotonic() + idle_s
    while time.monotonic() < until:
        try:
            peer = server.accept()[0]
        except OSError:  # nobody in time
            break
        peer.settimeout(STRANGERS_S)
        said = bytearray(len(token))
        if _fill(peer, memoryview(said)) and hmac.compare_digest(bytes(said), token):
            peer.settimeout(idle_s)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(b"+")
            return peer
        peer.close()
    raise Failure("no-peer", "the host did not come to the probe's port")


def _serve(peer: socket.socket) -> int:
    """Follow orders; how many were followed."""
    block = memoryview(bytearray(BLOCK))
    order = memoryview(bytearray(1 + NUMBER.size))
    served = 0
    try:
        while _fill(peer, order):
            word, count = bytes(order[:1]), NUMBER.unpack(order[1:])[0]
            if word == b"P":
                peer.sendall(TIME.pack(time.time()))
            elif word == b"U" and count <= LARGEST:
                if not _swallow(peer, block, count):
                    break
                peer.sendall(b"+")
            elif word == b"D" and count <= LARGEST:
                for start in range(0, count, BLOCK):
                    peer.sendall(block[: min(BLOCK, count - start)])
            else:
                break
            served += 1
    except OSError:  # the host left, or was silent for too long: it knows, and has what it measured
        pass
    return served


def _swallow(peer: socket.socket, block: memoryview, count: int) -> bool:
    while count:
        got = peer.recv_into(block, min(len(block), count))
        if not got:
            return False
        count -= got
    return True


def _fill(peer: socket.socket, target: memoryview) -> bool:
    """Read just as much as `target` holds; whether it came."""
    have = 0
    while have < len(target):
        try:
            got = peer.recv_into(target[have:])
        except OSError:
            return False
        if not got:
            return False
        have += got
    return True


def channel(payload: BinaryIO, pings: int, down: int) -> dict[str, Any]:
    """Measure through the standard streams; what came up is timed here, what goes down by the host."""
    read = getattr(payload, "read1", payload.read)  # as much as there is, not as much as asked for
    done = 0
    while done < pings:
        if not payload.read(1):
            raise Failure("no-peer", "the host left in the middle of the measurement")
        done += 1
        progress("pong")
    counted, started = len(read(1)), time.monotonic()
    while True:
        got = len(read(BLOCK))
        if not got:
            break
        counted += got
    seconds = time.monotonic() - started
    for start in range(0, down, LINE):
        say({"progress": "0" * min(LINE, down - start)})
    return {"bytes": counted, "seconds": seconds}
