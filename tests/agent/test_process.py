"""The agent as a real process: options, computing, and who ends when."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from cocoi_agent import __version__
from cocoi_agent.notify import Notifier
from cocoi_agent.options import parse, size_bytes
from cocoi_agent.transport import connect, host_context
from cocoi_agent.vitals import machine_facts, read_device
from cocoi_agent.wire.messages import AskVitals, Have, Missing, Part, Ping, Pong, Run, Status, Vitals, Welcome
from cocoi_agent.wire.tensors import describe
from tests.agent.certificates import make_certificate
from tests.agent.host import HELLO, Host
from tests.agent.processes import AGENT, EMBEDDED, WAIT_S, Start, announced, welcomed
from tests.agent.programs import conv, convolved

W = np.random.default_rng(3).standard_normal((4, 3, 3, 3)).astype(np.float32)
X = np.random.default_rng(4).standard_normal((1, 3, 10, 8)).astype(np.float16)


async def welcomed_or_told(port: int) -> Host | None:
    """A welcomed host, or None where the agent has too many."""
    host = Host()
    host.connection = await connect(
        "127.0.0.1", port, ssl_context=None, on_message=host.on_message, on_lost=host.on_lost
    )
    answer = await host.ask(HELLO)
    if isinstance(answer, Welcome):
        return host
    assert answer.code == "too-many-connections"
    await host.gone()
    return None


async def compute(host: Host) -> None:
    """Load a conv program, run two strips of it, and compare."""
    program = await host.load(conv(W))
    parts = (Part(0, 0, 6), Part(1, 4, 10))
    host.send(Run(1, 0, 0, program, (describe("x", X),), axis=2, parts=parts, reply_dtype="f32"), X)
    for part in parts:
        answer, (found,) = await host.next()
        assert answer.status is Status.DONE
        np.testing.assert_allclose(found, convolved(X[:, :, part.start : part.stop], W), atol=1e-4)


@pytest.mark.parametrize("secure", [False, True])
def test_an_embedded_agent_computes_and_ends_with_its_input(start: Start, tmp_path: Path, secure: bool) -> None:
    context, options = None, ["--security", "none"]
    if secure:
        agent_files, host_files = make_certificate(tmp_path, "agent"), make_certificate(tmp_path, "host")
        context = host_context(*host_files, agent_files[0])
        options = ["--cert", agent_files[0], "--key", agent_files[1], "--peer", host_files[0]]
    process = start([*AGENT, "--embedded", *map(str, options)])
    info = announced(process)
    assert info["pid"] == process.pid

    async def scenario() -> None:
        host = await welcomed(info["port"], context)
        await compute(host)
        vitals = await host.ask(AskVitals())
        assert isinstance(vitals, Vitals)
        assert vitals.served == 2
        process.stdin.close()
        await host.gone()

    asyncio.run(scenario())
    assert process.wait(WAIT_S) == 0
    assert process.stdout.read() == b""
    assert process.stderr.read() == b""


def test_ctrl_c_is_left_to_the_host(start: Start) -> None:
    process = start(EMBEDDED)
    info = announced(process)
    assert os.getsid(process.pid) == process.pid  # a session of its own: the terminal's Ctrl-C does not reach it
    process.send_signal(signal.SIGINT)

    async def scenario() -> None:
        host = await welcomed(info["port"])
        assert isinstance(await host.ask(Ping(1)), Pong)
        await host.connection.aclose()

    asyncio.run(scenario())


def test_an_embedded_agent_ends_when_its_host_is_killed(start: Start) -> None:
    parent = start(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
            import subprocess, sys, time
            agent = subprocess.Popen({EMBEDDED!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            sys.stdout.write(agent.stdout.readline().decode())
            sys.stdout.flush()
            time.sleep(60)
            """),
        ]
    )
    info = announced(parent)

    async def scenario() -> None:
        host = await welcomed(info["port"])
        parent.kill()
        await host.gone()  # the kernel closed the connection: the agent is no more

    asyncio.run(scenario())


def test_a_restart_needs_no_upload(start: Start, tmp_path: Path) -> None:
    recipe = conv(W)
    store = ["--store", str(tmp_path / "store")]

    async def first(port: int) -> None:
        host = await welcomed(port)
        await compute(host)
        await host.connection.aclose()

    async def second(port: int) -> None:
        host = await welcomed(port)
        assert await host.ask(Have(tuple(recipe.blobs))) == Missing(())
        assert (await host.ask(recipe.load)).word == "loaded"
        await host.connection.aclose()

    for scenario in (first, second):
        process = start([*EMBEDDED, *store])
        asyncio.run(scenario(announced(process)["port"]))
        process.kill()
        process.wait(WAIT_S)


def test_stops_cleanly_when_told(start: Start) -> None:
    process = start([*AGENT, "--port", "0", "--security", "none", "--id", "pi-7"])
    line = process.stderr.readline().decode()
    assert line.startswith("pi-7 listens on 127.0.0.1:")
    assert " with no protection (cocoi-agent " in line
    port = int(line.split("127.0.0.1:")[1].split()[0])

    async def scenario() -> None:
        host = await welcomed(port)
        process.terminate()
        message, _ = await host.next()
        assert message.reason == "the agent is stopping"
        await host.gone()

    asyncio.run(scenario())
    assert process.wait(WAIT_S) == 0


def test_survives_clients_that_misbehave(start: Start) -> None:
    port = announced(process := start(EMBEDDED))["port"]
    for data in (b"", b"\x00", b"\xff" * 1000, b"\x00\x00\x00\x05\x81\xa1t", b"GET / HTTP/1.0\r\n\r\n"):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(data)
    open_ones = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    for sock in open_ones:
        sock.close()

    async def scenario() -> None:
        # It may not have noticed yet that all of them have gone.
        while (host := await welcomed_or_told(port)) is None:
            pass
        await compute(host)
        await host.connection.aclose()

    asyncio.run(scenario())
    assert process.poll() is None


def test_tells_systemd_when_it_is_ready_alive_and_stopping(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(WAIT_S)
        watched = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
        process = start([*AGENT, "--port", "0", "--security", "none"], environment=watched)
        assert manager.recv(4096).startswith(b"READY=1\nSTATUS=listening on port ")
        assert manager.recv(4096) == b"WATCHDOG=1\nSTATUS=0 parts queued, 0 served"
        assert manager.recv(4096).startswith(b"WATCHDOG=1")
        process.terminate()
        while (message := manager.recv(4096)) != b"STOPPING=1":
            assert message.startswith(b"WATCHDOG=1")
        assert process.wait(WAIT_S) == 0


@pytest.mark.parametrize(
    ("options", "status", "text"),
    [
        ([], 2, "mutual TLS needs --cert, --key and --peer; or ask for --security none"),
        (["--security", "none", "--data-limit", "1MiB"], 3, "error: a data limit of 1048576 bytes is too low"),
        (["--security", "none", "--store-limit", "much"], 2, "`much` is no size such as 2GiB"),
        (["--security", "none", "--port", "70000"], 2, "`70000` is no port"),
        (["--cert", "absent", "--key", "absent", "--peer", "absent"], 3, "error: `absent, absent`: No such file"),
        (["--security", "none", "--host", "203.0.113.1"], 3, "error: cannot listen on 203.0.113.1:52600: "),
        (["--security", "none", "--store", "/proc/none"], 3, "error: `/proc/none`: "),
    ],
)
def test_what_cannot_be_done_is_said(start: Start, options: list[str], status: int, text: str) -> None:
    process = start([*AGENT, *options])
    _, errors = process.communicate(timeout=WAIT_S)
    assert text in errors.decode()
    assert process.returncode == status


def test_help_and_version(start: Start) -> None:
    assert start([*AGENT, "--version"]).communicate(timeout=WAIT_S)[0].decode() == f"cocoi-agent {__version__}\n"
    text = start([*AGENT, "--help"]).communicate(timeout=WAIT_S)[0].decode()
    for word in (
        "--store-limit",
        "--memory-limit",
        "--queue-limit",
        "--threads",
        "--peer",
        "--embedded",
        "exit status",
    ):
        assert word in text


def test_options_have_sensible_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert parse(["--security", "none"]).port == 52600
    assert parse(["--security", "none", "--embedded"]).port == 0
    assert parse(["--security", "none"]).store is None
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/cocoi")
    assert parse(["--security", "none"]).store == Path("/var/lib/cocoi")


@pytest.mark.parametrize(("text", "size"), [("10", 10), ("2GiB", 2 << 30), ("1.5 kib", 1536), ("300MB", 300_000_000)])
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert size_bytes(text) == size


def test_notifies_nobody_where_nobody_listens(tmp_path: Path) -> None:
    Notifier({}).ready("x")
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).stopping()
    assert Notifier({"WATCHDOG_USEC": "3000000"}).watchdog_s == 3.0
    assert Notifier({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier({"WATCHDOG_USEC": "0"}).watchdog_s is None


def test_vitals_of_a_raspberry_pi_and_of_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    sys_, proc = tmp_path / "sys", tmp_path / "proc"
    files = {
        sys_ / "class/thermal/thermal_zone0/temp": "48312\n",
        sys_ / "class/hwmon/hwmon0/name": "cpu_thermal\n",
        sys_ / "class/hwmon/hwmon1/name": "rpi_volt\n",
        sys_ / "class/hwmon/hwmon1/in0_lcrit_alarm": "1\n",
        sys_ / "devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1000000\n",
        sys_ / "devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1500000\n",
        proc / "self/status": "Name:\tx\nVmRSS:\t  70000 kB\n",
        proc / "meminfo": "MemTotal:  4000000 kB\nMemAvailable:  3000000 kB\n",
        proc / "device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    facts = read_device(sys_, proc)
    assert (facts.temperature_c, facts.throttled, facts.undervolted) == (48.312, True, True)
    assert (facts.memory_rss, facts.memory_available) == (70000 * 1024, 3000000 * 1024)
    assert machine_facts(proc)["model"] == "Raspberry Pi 4 Model B Rev 1.4"
    nothing = read_device(tmp_path / "a", tmp_path / "b")
    assert (nothing.temperature_c, nothing.throttled, nothing.undervolted, nothing.memory_rss) == (None,) * 4
