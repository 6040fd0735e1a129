"""What the wire costs: processor seconds per byte at both ends, and goodput, against raw sockets.

    python bench/wire.py [--megabytes 8] [--messages 40] [--rounds 5] [--json FILE]

One process sends tensors to another over the loopback: with raw blocking sockets
(a length, then `sendall` and `recv_into`), with `cocoi_agent`'s connection, and with
the same under mutual TLS. The ways take turns within a round; ratios are medians
over the rounds, each within its round, since the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "agent")]

import numpy as np  # noqa: E402 - the path comes first

from cocoi_agent.transport import Connection, agent_context, connect, host_context, serve  # noqa: E402
from cocoi_agent.wire.messages import Bye, Message, Ping, Rows  # noqa: E402
from cocoi_agent.wire.tensors import AnyArray, describe  # noqa: E402

WAYS = ("raw", "cocoi", "tls")


def main() -> None:
    """Measure and print, or play one end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=8.0, help="size of a tensor (default 8)")
    parser.add_argument("--messages", type=int, default=40, help="tensors per turn (default 40)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each way (default 5)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--play", choices=[f"{way}-{end}" for way in WAYS for end in ("send", "receive")])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--trust", type=Path)
    options = parser.parse_args()
    if options.play:
        _play(options)
        return
    report = measure(options)
    _print(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Every way once per round; medians of figures and of ratios within rounds."""
    rounds: list[dict[str, dict[str, float]]] = []
    with tempfile.TemporaryDirectory() as folder:
        make_certificates(Path(folder))
        rounds += [{way: _turn(way, options, Path(folder)) for way in WAYS} for _ in range(options.rounds)]
    ways = {way: {key: statistics.median(turn[way][key] for turn in rounds) for key in rounds[0][way]} for way in WAYS}
    ratios = {
        f"{way}/raw": {
            key: statistics.median(turn[way][key] / turn["raw"][key] for turn in rounds) for key in rounds[0][way]
        }
        for way in WAYS[1:]
    }
    return {
        "megabytes": options.megabytes,
        "messages": options.messages,
        "rounds": options.rounds,
        "ways": ways,
        "ratios": ratios,
    }


def _turn(way: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    common = [sys.executable, __file__, "--megabytes", str(options.megabytes), "--messages", str(options.messages)]
    common += ["--trust", str(folder)]
    receiver = subprocess.Popen([*common, "--play", f"{way}-receive"], stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    port = receiver.stdout.readline().strip()
    sent = subprocess.run(
        [*common, "--play", f"{way}-send", "--port", port], stdout=subprocess.PIPE, text=True, check=True
    )
    received = json.loads(receiver.stdout.read())
    receiver.stdout.close()
    receiver.wait()
    sender = json.loads(sent.stdout)
    size = options.messages * options.megabytes * 1e6
    return {
        "send_ns_per_byte": sender["cpu_s"] / size * 1e9,
        "receive_ns_per_byte": received["cpu_s"] / size * 1e9,
        "cpu_ns_per_byte": (sender["cpu_s"] + received["cpu_s"]) / size * 1e9,
        "goodput_gb_per_s": size / sender["wall_s"] / 1e9,
    }


def _print(report: dict[str, object]) -> None:
    print(f"{report['messages']} tensors of {report['megabytes']} MB, median of {report['rounds']} rounds\n")
    print(f"{'':12}{'send':>10}{'receive':>10}{'both':>10}   ns of CPU per byte{'goodput':>12} GB/s")
    for group in ("ways", "ratios"):
        for name, row in report[group].items():  # type: ignore[attr-defined] # a table of rows
            send, receive, both, goodput = row.values()
            print(f"{name:12}{send:10.3f}{receive:10.3f}{both:10.3f}{'':21}{goodput:12.2f}")
        print()


# The ends. Each warms up with two tensors, then counts.


def _play(options: argparse.Namespace) -> None:
    array = np.arange(int(options.megabytes * 1e6) // 4, dtype=np.float32)
    way, end = options.play.split("-")
    if way == "raw":
        (_raw_send if end == "send" else _raw_receive)(array, options)
    else:
        asyncio.run((_send if end == "send" else _receive)(array, options, secure=way == "tls"))


class Meter:
    """Processor and wall time between two moments."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin to count."""
        self._cpu, self._wall = _cpu(), time.perf_counter()

    def report(self) -> None:
        """Print what was counted."""
        print(json.dumps({"cpu_s": _cpu() - self._cpu, "wall_s": time.perf_counter() - self._wall}), flush=True)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _raw_send(array: AnyArray, options: argparse.Namespace) -> None:
    view = memoryview(array).cast("B")
    meter = Meter()
    with socket.create_connection(("127.0.0.1", options.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(options.messages + 2):
            if index == 2:
                sock.recv(1)
                meter.start()
            sock.sendall(struct.pack(">I", len(view)))
            sock.sendall(view)
        sock.recv(1)
    meter.report()


def _raw_receive(array: AnyArray, options: argparse.Namespace) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        sock, _ = server.accept()
    meter = Meter()
    with sock:
        for index in range(options.messages + 2):
            if index == 2:
                sock.send(b"w")
                meter.start()
            sock.recv(4, socket.MSG_WAITALL)
            view = memoryview(np.empty_like(array)).cast("B")
            while view:
                view = view[sock.recv_into(view) :]
        sock.send(b"d")
    meter.report()


async def _send(array: AnyArray, options: argparse.Namespace, *, secure: bool) -> None:
    arrived = asyncio.Event()

    def on_message(connection: Connection, message: Message, tensors: tuple[AnyArray, ...]) -> None:
        arrived.set()

    folder = options.trust
    context = host_context(folder / "host.crt", folder / "host.key", folder / "agent.crt") if secure else None
    connection = await connect(
        "127.0.0.1", options.port, ssl_context=context, on_message=on_message, on_lost=lambda *_: None
    )
    message = Rows(1, 0, (describe("x", array),))
    meter = Meter()
    for index in range(options.messages + 2):
        if index == 2:
            await arrived.wait()
            arrived.clear()
            meter.start()
        await connection.send(message, [array])
    await arrived.wait()
    meter.report()
    await connection.aclose()


async def _receive(array: AnyArray, options: argparse.Namespace, *, secure: bool) -> None:
    meter, count, done = Meter(), 0, asyncio.Event()

    def on_message(connection: Connection, message: Message, tensors: tuple[AnyArray, ...]) -> None:
        nonlocal count
        count += 1
        if count == 2:
            connection.send_nowait_control(Ping(0))
            meter.start()
        if count == options.messages + 2:
            meter.report()
            connection.send_nowait_control(Bye())
            done.set()

    folder = options.trust
    context = agent_context(folder / "agent.crt", folder / "agent.key", folder / "host.crt") if secure else None
    server = await serve(
        "127.0.0.1",
        0,
        ssl_context=context,
        on_connect=lambda _: None,
        on_message=on_message,
        on_lost=lambda *_: None,
    )
    print(server.port, flush=True)
    await done.wait()
    await server.aclose()


def make_certificates(folder: Path) -> None:
    """Self-signed certificates `host` and `agent` with their keys, as PEM files."""
    import datetime  # noqa: PLC0415 - only the measuring process needs these

    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    for name in ("host", "agent"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
            .not_valid_after(datetime.datetime(2120, 1, 1, tzinfo=datetime.UTC))
            .sign(key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(pem))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        os.chmod(folder / f"{name}.key", 0o600)  # noqa: PTH101 - as written


if __name__ == "__main__":
    main()
