from __future__ import annotations

import asyncio
import io
import os
import queue
import signal
import socket
import threading
from contextlib import contextmanager

import pytest

from cocoi_cli.fleet import linking, probing
from cocoi_cli.fleet.errors import DeviceError
from cocoi_cli.fleet.linking import Prober
from cocoi_cli.fleet.ondevice import probe
from cocoi_cli.fleet.ondevice.common import Failure
from tests.fleet.ssh_server import fake_device

TOKEN = "a" * 32


@contextmanager
def listening(monkeypatch, idle_s=20.0):
    """The device's end in a thread; yields its port and the queue of what it ends with."""
    ports: queue.Queue[int] = queue.Queue()
    ends: queue.Queue[object] = queue.Queue()
    monkeypatch.setattr(probe, "progress", lambda text: ports.put(int(text.removeprefix("port "))))

    def serve():
        try:
            ends.put(probe.listen("127.0.0.1", TOKEN.encode(), idle_s))
        except Failure as failure:
            ends.put(failure)

    thread = threading.Thread(target=serve)
    thread.start()
    yield ports.get(timeout=10), ends
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_measures_round_trips_and_transfers_both_ways(monkeypatch):
    with listening(monkeypatch) as (port, ends):
        prober = Prober("127.0.0.1", port, TOKEN)
        numbers: list[int] = []
        link, clock = prober.measure(2, numbers.append)
        prober.close()
        served = ends.get(timeout=10)
    assert numbers == [1, 2]
    assert link.through == "direct"
    assert [len(each.rtt_s) for each in link.rounds] == [linking.PINGS] * 2
    for each in link.rounds:
        assert len(each.up.seconds) == len(each.down.seconds) == linking.TRANSFERS
        assert each.up.size <= linking.TRANSFER_BYTES
        assert min(*each.rtt_s, *each.up.seconds, *each.down.seconds) > 0
    assert abs(clock.offset_s) <= clock.uncertainty_s + 0.1  # one machine, one clock
    # Eight pings and two transfers to get to know the link, then two rounds.
    assert served == {"served": 8 + 2 + 2 * (linking.PINGS + 2 * linking.TRANSFERS)}


def test_a_stranger_is_not_served_and_does_not_keep_the_host_out(monkeypatch):
    with listening(monkeypatch) as (port, ends):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(b"b" * len(TOKEN))
            assert stranger.recv(1) == b""
        with socket.create_connection(("127.0.0.1", port)) as hasty:
            hasty.sendall(b"a")
        prober = Prober("127.0.0.1", port, TOKEN)
        assert len(prober.ping(3)[0]) == 3
        prober.close()
        assert ends.get(timeout=10) == {"served": 3}


@pytest.mark.parametrize(
    "order", [b"X" + bytes(8), b"U" + b"\xff" * 8, b"D" + b"\xff" * 8, b"P", b"U" + bytes(7) + b"\x05" + b"abc"]
)
def test_an_order_that_makes_no_sense_ends_the_probe(monkeypatch, order):
    with listening(monkeypatch) as (port, ends):
        with socket.create_connection(("127.0.0.1", port)) as peer:
            peer.sendall(TOKEN.encode())
            assert peer.recv(1) == b"+"
            peer.sendall(order)
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(1) == b""
        assert ends.get(timeout=10) == {"served": 0}


def test_the_probe_ends_where_nobody_comes(monkeypatch):
    with listening(monkeypatch, idle_s=0.01) as (_, ends):
        failure = ends.get(timeout=10)
    assert isinstance(failure, Failure)
    assert failure.code == "no-peer"


def test_the_probe_tells_where_it_cannot_listen():
    with pytest.raises(Failure, match=r"cannot listen on 192\.0\.2\.1") as caught:
        probe.listen("192.0.2.1", b"t", 1.0)
    assert caught.value.code == "no-listen"


def test_another_server_is_not_taken_for_the_probe():
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=lambda: (server.accept()[0].close(),)).start()
        with pytest.raises(OSError, match=r"closed|reset"):
            Prober("127.0.0.1", server.getsockname()[1], TOKEN)


def test_closing_breaks_a_measurement_off_in_another_thread(monkeypatch):
    with listening(monkeypatch) as (port, _):
        prober = Prober("127.0.0.1", port, TOKEN)
        with pytest.raises(OSError):  # noqa: PT011 - whichever call was under way
            prober.measure(10_000, lambda number: prober.close() if number == 2 else None)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, 1 << 20), (0.001, 1 << 20), (0.03125, 1 << 20), (0.0625, 1 << 19), (0.25, 1 << 17), (60.0, 1 << 16)],
)
def test_transfers_shrink_on_slow_links(seconds, expected):
    assert linking._bytes_for(seconds) == expected


def test_the_channel_answers_pings_and_counts_what_follows(monkeypatch):
    said = []
    monkeypatch.setattr(probe, "progress", said.append)
    monkeypatch.setattr(probe, "say", lambda document: said.append(len(document["progress"])))
    reply = probe.main({"op": "channel", "pings": 3, "down": 40_000}, io.BytesIO(b"..." + bytes(1000)))
    assert said == ["pong", "pong", "pong", 16384, 16384, 7232]
    assert reply["bytes"] == 1000
    with pytest.raises(Failure, match="left in the middle"):
        probe.main({"op": "channel", "pings": 3, "down": 1}, io.BytesIO(b".."))


def test_measures_a_device_over_ssh(tmp_path):
    async def run():
        stages: list[str] = []
        async with fake_device(tmp_path) as pi, pi.connected() as remote:
            return await probing.measure(remote, "127.0.0.1", 1, stages.append), stages

    measured, stages = asyncio.run(run())
    assert (measured.link.through, measured.blocked) == ("direct", "")
    assert measured.clock is not None
    assert stages == ["link, round 1 of 1"]


def test_measures_through_the_channel_where_no_port_can_be_reached(tmp_path):
    async def run():
        async with fake_device(tmp_path) as pi, pi.connected() as remote:
            return await probing.measure(remote, "192.0.2.1", 2, lambda stage: None)

    measured = asyncio.run(run())
    assert measured.link.through == "ssh"
    assert measured.clock is None
    assert "cannot listen on 192.0.2.1" in measured.blocked
    assert [len(each.rtt_s) for each in measured.link.rounds] == [probing.CHANNEL_PINGS] * 2
    assert min(measured.link.rates("up") + measured.link.rates("down")) > 0


def test_a_device_that_is_lost_in_the_middle_is_an_error_of_that_device(tmp_path):
    async def run():
        async with fake_device(tmp_path) as pi, pi.connected() as remote:

            def on_stage(stage: str) -> None:
                for process in pi.running:
                    os.killpg(process.pid, signal.SIGKILL)

            await probing.measure(remote, "127.0.0.1", 10_000, on_stage)

    with pytest.raises(DeviceError, match=r"`pi-1`: .*(broke|signal 9)"):
        asyncio.run(run())
