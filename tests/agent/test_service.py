"""An agent as a service, a real process: watchdog, bounded memory, exhausted descriptors, its journal."""

from __future__ import annotations

import asyncio
import signal
import socket

import numpy as np
import pytest
from onnx import helper

from cocoi_agent.bounds import MARGIN_BYTES, BoundError, automatic_limit, bound_data
from cocoi_agent.options import parse
from cocoi_agent.service import settings_of
from cocoi_agent.vitals import memory_bytes
from cocoi_agent.wire.messages import Cancel, Fault, Part, Ping, Pong, Put, Run, Status
from cocoi_agent.wire.tensors import describe
from tests.agent.host import Host
from tests.agent.processes import (
    AGENT,
    SERVICE,
    WAIT_S,
    Manager,
    Start,
    announced,
    in_loop,
    line_with,
    port_of,
    visiting,
)
from tests.agent.programs import F32, I64, Recipe, conv, convolved, digest_of, info, model_of

PLAIN = [*SERVICE, "--security", "none"]
X = np.ones((1,), np.float32)
BOOL = 9


def endless() -> Recipe:
    """Adds 1 to `x` for as long as nobody stops it: a computation that holds the thread."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["again"]),
            helper.make_node("Add", ["sum", "one"], ["next"]),
        ],
        "body",
        [info("at", I64, []), info("go_on", BOOL, []), info("sum", F32, [1])],
        [info("again", BOOL, []), info("next", F32, [1])],
    )
    node = helper.make_node("Loop", ["", "go_on", "x"], ["y"], body=body)
    constants = [helper.make_tensor("go_on", BOOL, [], [True]), helper.make_tensor("one", F32, [1], [1.0])]
    return Recipe(model_of([node], [info("x", F32, [1])], [info("y", F32, [1])], constants))


def run_of(program: str, **tensors: np.ndarray) -> Run:
    return Run(1, 0, 0, program, tuple(describe(name, array) for name, array in tensors.items()))


@in_loop
async def test_a_stuck_compute_thread_stops_the_signs_of_life(start: Start, manager: Manager) -> None:
    agent = start(PLAIN, environment=manager.environment())
    async with visiting(port_of(agent)) as host:
        manager.until("WATCHDOG=1", 2)
        program = await host.load(endless())
        host.send(run_of(program, x=X), X)
        manager.until("STATUS=computing; 1 parts queued, 0 served")
        # Nothing but the status for many times the interval of the watchdog, though the loop answers.
        heard = manager.until("STATUS=", 12)
        assert set(heard) == {"STATUS=computing; 1 parts queued, 0 served"}
        assert isinstance(await host.ask(Ping(7)), Pong)
        host.send(Cancel(run=1))
        answer, _ = await host.next()
        assert answer.status is Status.CANCELLED
        manager.until("WATCHDOG=1\nSTATUS=0 parts queued, 0 served", 2)
        agent.terminate()
        manager.until("STOPPING=1")
        assert agent.wait(WAIT_S) == 0


def test_stopping_does_not_wait_for_a_stuck_computation(start: Start) -> None:
    agent = start(PLAIN)
    port = port_of(agent)

    async def scenario() -> None:
        async with visiting(port) as host:
            program = await host.load(endless())
            host.send(run_of(program, x=X), X)
            await host.ask(Ping(1))
            agent.terminate()
            await host.gone()

    asyncio.run(scenario())
    assert agent.wait(WAIT_S) == 0


@in_loop
async def test_what_does_not_fit_into_memory_fails_and_the_agent_lives(start: Start) -> None:
    """By the data limit alone: the agent's own budget would let all of it through."""
    limits = ["--data-limit", "320MiB", "--memory-limit", "2GiB"]
    agent = start([*AGENT, "--embedded", "--security", "none", *limits])
    async with visiting(announced(agent)["port"]) as host:
        weights = np.random.default_rng(1).standard_normal((64, 3, 3, 3)).astype(np.float32)
        program = await host.load(conv(weights))

        async def outcome(run: Run, *arrays: np.ndarray) -> tuple[Status, str]:
            host.send(run, *arrays)
            answer, _ = await host.next()
            return answer.status, answer.code

        failed = (Status.FAILED, "out-of-memory")
        small, large = np.ones((1, 3, 12, 1000), np.float16), np.ones((1, 3, 1200, 1000), np.float16)
        # In ONNX Runtime; in the rows that are to come; in the tensors that arrive; in a blob that arrives.
        assert await outcome(run_of(program, x=large), large) == failed
        rows = Run(2, 0, 0, program, (describe("x", small),), axis=2, parts=(Part(0, 0, 12),), rows_total=200_000)
        assert await outcome(rows, small) == failed
        huge = np.zeros((1, 3, 40_000, 1000), np.float16)
        assert await outcome(run_of(program, x=huge), huge) == failed
        blob = np.zeros(240_000_000, np.uint8)
        fault = await host.ask(Put(digest_of(blob), (describe("blob", blob),)), blob)
        assert isinstance(fault, Fault)
        assert fault.code == "out-of-memory"
        # Nothing is lost by it, and no budget is left reserved.
        answer, (wide,) = await whole(host, program, small)
        assert answer.status is Status.DONE
        np.testing.assert_allclose(wide, convolved(small, weights), atol=1e-2)
        assert agent.poll() is None


async def whole(host: Host, program: str, x: np.ndarray) -> tuple:
    host.send(Run(9, 0, 0, program, (describe("x", x),), reply_dtype="f32"), x)
    return await host.next()


def test_a_limit_that_leaves_no_room_is_refused(tmp_path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text("VmData:\t  100000 kB\n")
    (tmp_path / "meminfo").write_text("MemTotal:  4000000 kB\n")
    with pytest.raises(
        BoundError, match=r"a data limit of 1000 bytes is too low: the agent itself needs \d+"
    ) as caught:
        bound_data(1000, tmp_path)
    assert caught.value.least == 100_000 * 1024 + MARGIN_BYTES
    assert automatic_limit(tmp_path) == 3_000_000 * 1024
    assert automatic_limit(tmp_path / "absent") == 0


def test_the_data_limit_has_three_forms() -> None:
    limits = [parse(["--security", "none", "--data-limit", text]).data_limit for text in ("0", "1GiB", "auto")]
    assert limits == [None, 1 << 30, automatic_limit() or None]
    assert parse(["--security", "none"]).data_limit is None


def test_half_of_the_memory_is_for_programs() -> None:
    bounded, free = (settings_of(parse(["--security", "none", "--data-limit", text])) for text in ("1GiB", "0"))
    assert bounded.program_limit == 1 << 29
    assert free.program_limit == memory_bytes() // 2


@in_loop
async def test_an_agent_out_of_descriptors_takes_hosts_again_later(start: Start) -> None:
    agent = start(["/bin/sh", "-c", 'ulimit -n 48; exec "$@"', "sh", *PLAIN, "--connection-limit", "1000"])
    port = port_of(agent)
    crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(80)]
    assert "is refused: Too many open files" in line_with(agent, "is refused")
    for sock in crowd:
        sock.close()
    async with visiting(port) as host:
        assert isinstance(await host.ask(Ping(1)), Pong)
        assert agent.poll() is None


@in_loop
async def test_the_journal_tells_who_comes_who_is_refused_and_the_end(start: Start) -> None:
    agent = start([*PLAIN, "--connection-limit", "1"], environment={"JOURNAL_STREAM": "8:1"})
    line = line_with(agent, " listens on ")
    port = int(line.split(" listens on 127.0.0.1:")[1].split()[0])
    assert line.startswith("<4>pi-7 listens on 127.0.0.1:")
    assert " with no protection (cocoi-agent " in line
    assert ", ONNX Runtime " in line
    async with visiting(port) as host:
        address = "{}:{}".format(*host.connection._transport.get_extra_info("sockname"))
        assert line_with(agent, "connected") == f"<6>host `test` at {address} is connected (test)\n"
        with socket.create_connection(("127.0.0.1", port)) as second:
            found = line_with(agent, "is refused")
            assert found == "<4>{}:{} is refused: as many hosts as may be are connected (1)\n".format(
                *second.getsockname()
            )
        host.send(Ping(1))
        host.connection._transport.write(b"\xff\xff\xff\xff")
        assert line_with(agent, "cut off") == (
            f"<4>host `test` at {address} is cut off: a header of 4294967295 bytes is announced; "
            "the limit is 65536 (header-too-large)\n"
        )
        await host.gone()
        agent.send_signal(signal.SIGHUP)
        assert line_with(agent, "anew") == "<5>nothing to read anew: connections are not protected\n"
        agent.terminate()
        assert line_with(agent, "stops") == "<5>pi-7 stops\n"
        assert agent.wait(WAIT_S) == 0
        assert agent.stderr.read() == b""


def test_unprotected_with_certificates_given_is_said_loudly(start: Start) -> None:
    agent = start(
        [*PLAIN, "--cert", "absent", "--key", "absent", "--peer", "absent"], environment={"JOURNAL_STREAM": "1"}
    )
    line = line_with(agent, " listens on ")
    assert line.startswith("<4>")
    assert line.endswith(": --security none, the certificates given are not read\n")
