"""The real worker over an in-memory link: what it answers, refuses, drops and survives."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Coroutine
from functools import wraps

import numpy as np
import pytest

from cocoi_agent.connection import ConnectionLostError
from cocoi_agent.engine import COPIES, Engine
from cocoi_agent.wire.messages import (
    ANSWER_CREDIT,
    Answer,
    AskVitals,
    Cancel,
    Credit,
    Fault,
    Have,
    Hello,
    Load,
    Missing,
    Part,
    Ping,
    Pong,
    Put,
    Rows,
    Run,
    Skip,
    Status,
    UnknownMessage,
    Vitals,
    Welcome,
)
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import describe
from tests.agent.host import HELLO, bench
from tests.agent.programs import F32, affine, chain, conv, convolved, digest_of, two_inputs

RNG = np.random.default_rng(5)
WEIGHTS = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
X = RNG.standard_normal((1, 3, 12, 9)).astype(np.float16)
PARTS = (Part(3, 6, 12), Part(0, 0, 5), Part(1, 2, 7))


def in_loop(test: Callable[..., Coroutine]) -> Callable:
    @wraps(test)
    def run(*args: object, **kwargs: object) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


class Gate(Engine):
    """An engine that waits for permission before each run: makes a straggler without sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.free = threading.Semaphore(0)
        self.runs = 0

    def run(self, *args: object) -> list:
        self.runs += 1
        self.begun.release()
        assert self.free.acquire(timeout=20)
        return super().run(*args)

    async def has_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=20)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what the loop knows by now raises no event
            await asyncio.sleep(0)


class Recorder(Engine):
    """An engine that notes which outputs it is asked for, and has no memory for some."""

    def __init__(self, fails_on: object = None) -> None:
        super().__init__()
        self.outputs = []
        self.fails_on = fails_on

    def run(self, program: object, feeds: object, outputs: object, options: object) -> list:
        self.outputs.append(list(outputs))
        if list(outputs) == self.fails_on:
            raise MemoryError
        return super().run(program, feeds, outputs, options)


def conv_run(program: str, run: int = 1, **more: object) -> Run:
    values = {"stream": 0, "codeword": 0, "axis": 2, "parts": PARTS, "tensors": (describe("x", X),), **more}
    return Run(run=run, program=program, **values)


@in_loop
async def test_greets_with_what_it_is_and_can() -> None:
    async with bench(name="pi-3", memory_limit=1 << 20, queue_limit=7) as made:
        host = made.connect()
        welcome = await host.ask(HELLO)
        assert isinstance(welcome, Welcome)
        assert (welcome.version, welcome.agent, welcome.memory_limit, welcome.queue_limit) == (1, "pi-3", 1 << 20, 7)
        assert {"cores", "arch", "onnxruntime"} <= set(welcome.machine)


@pytest.mark.parametrize(("versions", "agreed"), [((1, 1), 1), ((1, 9), 1), ((2, 3), None)])
@in_loop
async def test_agrees_on_a_version_or_says_which_it_talks(versions: tuple[int, int], agreed: int | None) -> None:
    async with bench() as made:
        host = made.connect()
        answer = await host.ask(Hello(versions, "x", (), "x", 1, 1))
        if agreed is None:
            assert isinstance(answer, Fault)
            assert (answer.code, answer.about) == ("version", "1-1")
            assert "the host 2 to 3" in answer.message
            await host.gone()
        else:
            assert answer.version == agreed


@pytest.mark.parametrize("first", [Ping(1), AskVitals(), Run(1, 0, 0, "a" * 64, ())])
@in_loop
async def test_nothing_is_done_before_hello(first: object) -> None:
    async with bench() as made:
        host = made.connect()
        fault = await host.ask(first)
        assert fault.code == "hello-first"
        await host.gone()


@in_loop
async def test_takes_no_memory_for_a_stranger() -> None:
    async with bench() as made:
        host = made.connect()
        blob = np.zeros(3 << 20, np.uint8)
        host.send(Put(digest_of(blob), (describe("b", blob),)), blob)
        assert (await host.expect(Fault)).code == "hello-first"
        assert host.other._parser.allocated_bytes == 0


@in_loop
async def test_cuts_off_a_peer_that_says_no_hello() -> None:
    async with bench() as made:
        host = made.connect()
        made.clock.now += 9
        made.worker.tick()
        assert not host.other.is_closed
        made.clock.now += 2
        made.worker.tick()
        assert (await host.expect(Fault)).code == "hello-first"
        await host.gone()


@pytest.mark.parametrize("message", [HELLO, Welcome(1, "a", "b", (), {}, 1, 1, 1, 1)])
@in_loop
async def test_a_message_that_is_not_for_agents_ends_the_connection(message: object) -> None:
    async with bench() as made:
        host = await made.host()
        assert (await host.ask(message)).code == "unexpected"
        await host.gone()


@in_loop
async def test_unknown_messages_are_ignored_unless_needed() -> None:
    async with bench() as made:
        host = await made.host()
        host.send(UnknownMessage("gossip"))
        assert isinstance(await host.ask(Ping(1)), Pong)
        fault = await host.ask(UnknownMessage("gossip", must=True))
        assert (fault.code, fault.about) == ("unknown-message", "gossip")
        await host.gone()


@in_loop
async def test_broken_bytes_are_answered_with_their_code_and_end_the_connection() -> None:
    async with bench() as made:
        host, other = await made.host(), await made.host()
        host.connection._transport.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await host.expect(Fault)).code == "header-too-large"
        await host.gone()
        assert isinstance(await other.ask(Ping(1)), Pong)


@in_loop
async def test_too_many_hosts_are_told_so() -> None:
    async with bench(max_connections=2) as made:
        await made.host()
        second = await made.host()
        third = made.connect()
        assert (await third.expect(Fault)).code == "too-many-connections"
        await third.gone()
        second.connection.close()
        await second.gone()
        await made.host()


@in_loop
async def test_pings_and_vitals() -> None:
    async with bench() as made:
        host = await made.host()
        made.clock.now = 123.5
        assert await host.ask(Ping(77)) == Pong(77, 123.5)
        vitals = await host.ask(AskVitals())
        assert isinstance(vitals, Vitals)
        assert (vitals.uptime_s, vitals.queued, vitals.served, vitals.store_bytes) == (23.5, 0, 0, 0)


@in_loop
async def test_blobs_are_asked_for_stored_and_refused_under_a_wrong_name() -> None:
    async with bench() as made:
        host = await made.host()
        blob = np.arange(100, dtype=np.uint8)
        digest, wrong = digest_of(blob), "0" * 64
        assert await host.ask(Have((digest, wrong))) == Missing((digest, wrong))
        assert (await host.ask(Put(digest, (describe("b", blob),)), blob)).hash == digest
        fault = await host.ask(Put(wrong, (describe("b", blob),)), blob)
        assert (fault.code, fault.about) == ("bad-hash", wrong)
        assert await host.ask(Have((digest, wrong))) == Missing((wrong,))


@in_loop
async def test_a_program_without_its_blobs_or_under_a_wrong_id_is_refused() -> None:
    async with bench() as made:
        host = await made.host()
        recipe = conv(WEIGHTS)
        fault = await host.ask(recipe.load)
        assert fault.code == "missing-blob"
        assert fault.about in recipe.blobs
        wrong = Load("1" * 64, recipe.load.graph, recipe.load.bindings, linear=True)
        fault = await host.ask(wrong)
        assert (fault.code, fault.about) == ("bad-program", "1" * 64)


@pytest.mark.parametrize("piece", [1 << 30, 1000])
@pytest.mark.parametrize("reply", ["f16", "f32"])
@pytest.mark.parametrize("how", ["input", "initializer"])
@in_loop
async def test_computes_the_strips_of_a_share_in_the_order_asked(reply: str, how: str, piece: int) -> None:
    async with bench() as made:
        host = await made.host(piece=piece)
        program = await host.load(conv(WEIGHTS, how=how))
        host.send(conv_run(program, codeword=9, stream=4, reply_dtype=reply), X)
        for part in PARTS:
            answer, (found,) = await host.next()
            assert (answer.run, answer.stream, answer.codeword, answer.part) == (1, 4, 9, part.part)
            assert answer.status is Status.DONE
            assert answer.tensors == (describe("y", found),)
            assert found.dtype == {"f16": np.float16, "f32": np.float32}[reply]
            expected = convolved(X[:, :, part.start : part.stop], WEIGHTS)
            np.testing.assert_allclose(found, expected, atol=1e-2 if reply == "f16" else 1e-5)
        await host.ask(Ping(0))
        assert host.credits == X.nbytes
        assert made.worker.runs.served == 3


@pytest.mark.parametrize("scale", [2.0**40, 2.0**-40, 2.0**-1000])
@in_loop
async def test_the_scale_passes_through_a_linear_program(scale: float) -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, parts=(), tensors=(describe("x", X, scale),), reply_dtype="f16"), X)
        answer, (found,) = await host.next()
        assert answer.tensors[0].scale == scale
        np.testing.assert_allclose(found, convolved(X, WEIGHTS), atol=1e-2)


@pytest.mark.parametrize("size", [1e6, 1e-6, 1e-12])
@in_loop
async def test_float16_answers_are_rescaled_where_float16_does_not_hold_them(size: float) -> None:
    async with bench() as made:
        host = await made.host()
        weights = (WEIGHTS * size).astype(np.float32)
        program = await host.load(conv(weights))
        host.send(conv_run(program, reply_dtype="f16"), X)
        for part in PARTS:
            answer, (found,) = await host.next()
            assert found.dtype == np.float16
            assert np.isfinite(found).all()
            assert 2**14 <= np.abs(found).max() <= 2**15
            expected = convolved(X[:, :, part.start : part.stop], weights)
            values = found.astype(np.float64) * answer.tensors[0].scale
            assert np.abs(values - expected).max() <= 2**-11 * np.abs(expected).max()


@in_loop
async def test_parts_that_overflow_amid_others_are_computed_again_and_answered_in_their_turn() -> None:
    engine = Recorder()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS * 100))
        x = X.copy()
        x[:, :, 4:6] *= 1000  # finite in float16, not so what comes of it
        parts = tuple(Part(at, 2 * at, 2 * at + 3) for at in range(5))
        host.send(conv_run(program, parts=parts, tensors=(describe("x", x),), reply_dtype="f16"), x)
        scales = []
        for part in parts:
            answer, (found,) = await host.next()
            assert (answer.part, answer.status) == (part.part, Status.DONE)
            assert found.dtype == np.float16
            expected = convolved(x[:, :, part.start : part.stop], WEIGHTS * 100)
            values = found.astype(np.float64) * answer.tensors[0].scale
            assert np.abs(values - expected).max() <= 2**-10 * np.abs(expected).max()
            scales.append(answer.tensors[0].scale > 1)
        assert scales == [False, True, True, False, False]
        # The third was with the thread when the second did not fit: two second attempts, then both at once.
        both = ["y16", "y32"]
        assert engine.outputs == [["y16"], ["y16"], ["y16"], ["y32"], ["y32"], both, both]
        await host.ask(Ping(0))
        assert host.credits == x.nbytes
        assert made.worker.runs.served == 5


@pytest.mark.parametrize("message", [Cancel(run=1), Skip(1, (0,))])
@in_loop
async def test_a_part_that_waits_for_its_second_attempt_is_cancelled_but_not_skipped(message: object) -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS * 1e6))
        host.send(conv_run(program, parts=(Part(0, 0, 6),), reply_dtype="f16", deadline_s=50.0), X)
        host.send(conv_run(program, run=2, parts=(Part(0, 6, 12),), reply_dtype="f32"), X)
        await engine.has_begun()
        await host.ask(Ping(0))
        engine.free.release()  # the first attempt ends and overflows
        await engine.has_begun()  # the other run is computed
        await until(lambda: made.worker._clients[host.other].runs[1].widen)  # the loop has heard of it
        host.send(message)
        await host.ask(Ping(0))
        made.clock.now += 100
        engine.free.release(2)
        ended = {answer.run: (answer, tensors) for answer, tensors in [await host.next(), await host.next()]}
        assert ended[2][0].status is Status.DONE
        answer, tensors = ended[1]
        if isinstance(message, Cancel):
            assert (answer.status, tensors, engine.runs) == (Status.CANCELLED, (), 2)
        else:
            assert (answer.status, tensors[0].dtype, engine.runs) == (Status.DONE, np.float16, 3)
        assert host.inbox.empty()


@in_loop
async def test_an_error_in_the_second_attempt_ends_the_part_with_its_code() -> None:
    engine = Recorder(fails_on=["y32"])
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS * 1e6))
        host.send(conv_run(program, parts=PARTS[:1], reply_dtype="f16"), X)
        answer, tensors = await host.next()
        assert (answer.status, answer.code, tensors) == (Status.FAILED, "out-of-memory", ())


@in_loop
async def test_answers_that_are_not_finite_are_sent_as_float32() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        x = X.copy()
        x[0, 0, 0, 0] = np.inf
        host.send(conv_run(program, parts=(), reply_dtype="f16"), x)
        _, (found,) = await host.next()
        assert found.dtype == np.float32
        assert not np.isfinite(found).all()


@in_loop
async def test_a_program_that_is_not_linear_gets_the_values_themselves() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(affine())
        x = np.array([1.0, 2.0, 3.0], np.float16)
        host.send(Run(1, 0, 0, program, (describe("x", x, 4.0),)), x)
        answer, (y, size) = await host.next()
        assert [spec.name for spec in answer.tensors] == ["y", "size"]
        assert y.tolist() == [19.0, 67.0, 147.0]
        assert y.dtype == np.float32
        assert size.tolist() == [3]
        assert answer.tensors[0].scale == 1.0


@in_loop
async def test_two_tensors_with_different_scales_are_multiplied_out() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(two_inputs())
        a = np.ones((4, 2), np.float32)
        tensors = (describe("a", a, 2.0), describe("b", a, 8.0))
        host.send(Run(1, 0, 0, program, tensors, axis=0, parts=(Part(0, 1, 3),)), a, a)
        answer, (y,) = await host.next()
        assert (y * answer.tensors[0].scale).tolist() == [[10.0, 10.0]] * 2


FAILURES = [
    ({"q": np.ones((2, 2), np.float32)}, "missing-input"),
    ({"a": np.ones((2, 2), np.float32)}, "missing-input"),
    ({n: np.ones((2, 2), np.float32) for n in "abc"}, "bad-shape"),
    ({"a": np.ones((2, 2), np.float32), "b": np.ones((2, 2), np.int32)}, "bad-shape"),
    ({"a": np.ones((2, 2), np.float32), "b": np.ones(2, np.float32)}, "bad-shape"),
    ({"a": np.ones((2, 2), np.float32), "b": np.ones((3, 5), np.float32)}, "bad-shape"),
]


@pytest.mark.parametrize(("tensors", "code"), FAILURES)
@in_loop
async def test_a_run_that_does_not_fit_its_program_fails_with_a_code(tensors: dict, code: str) -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(two_inputs())
        answer, _ = await host.run(program, **tensors)
        assert (answer.status, answer.code) in {(Status.FAILED, code), (Status.FAILED, "compute-failed")}
        assert answer.message
        a = np.ones((2, 2), np.float32)
        assert (await host.run(program, a=a, b=a))[0].status is Status.DONE


MISFITS = [
    {"parts": (Part(0, 0, 13),)},
    {"axis": 4},
    {"parts": (Part(0, 0, 1), Part(0, 1, 2))},
    {"tensors": ()},
    {"rows_total": 11},
    {"rows_total": 14, "parts": (Part(0, 0, 15),)},
]


@pytest.mark.parametrize("wrong", MISFITS)
@in_loop
async def test_a_run_that_cannot_be_sliced_is_refused(wrong: dict) -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        run = conv_run(program, **wrong)
        host.send(run, *([X] if run.tensors else []))
        answer, _ = await host.next()
        assert (answer.status, answer.code) == (Status.REFUSED, "bad-run")


@in_loop
async def test_a_program_that_is_not_loaded_is_refused_part_by_part() -> None:
    async with bench() as made:
        host = await made.host()
        host.send(conv_run("a" * 64), X)
        for answer, tensors in (await host.answers(3)).values():
            assert (answer.status, answer.code, tensors) == (Status.REFUSED, "unknown-program", ())
        await host.ask(Ping(0))
        assert host.credits == X.nbytes


@in_loop
async def test_programs_that_were_not_used_for_longest_make_room_for_new_ones() -> None:
    recipes = [conv(WEIGHTS * scale, how="initializer") for scale in (1, 2, 3)]
    limit = 2 * COPIES * WEIGHTS.nbytes
    async with bench(program_limit=limit) as made:
        host = await made.host()
        programs = [await host.load(recipe) for recipe in recipes[:2]]
        await host.run(programs[0], x=X)
        programs.append(await host.load(recipes[2]))
        statuses = [(await host.run(program, x=X))[0].status for program in programs]
        assert statuses == [Status.DONE, Status.REFUSED, Status.DONE]
        await host.load(recipes[1])  # the host's way out of it
        assert (await host.run(programs[1], x=X))[0].status is Status.DONE


@in_loop
async def test_a_program_larger_than_the_limit_is_kept_until_another_comes() -> None:
    recipes = [conv(WEIGHTS * scale, how="initializer") for scale in (1, 2)]
    async with bench(program_limit=1) as made:
        host = await made.host()
        for recipe in recipes:
            assert (await host.run(await host.load(recipe), x=X))[0].status is Status.DONE
        assert (await host.run(recipes[0].program, x=X))[0].status is Status.REFUSED


@in_loop
async def test_programs_whose_weights_are_fed_take_no_memory_of_their_own() -> None:
    async with bench(program_limit=1) as made:
        host = await made.host()
        programs = [await host.load(conv(WEIGHTS * scale)) for scale in (1, 2, 3)]
        for program in programs:
            assert (await host.run(program, x=X))[0].status is Status.DONE


@in_loop
async def test_more_than_the_queue_holds_is_refused() -> None:
    engine = Gate()
    async with bench(engine, queue_limit=4) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, run=1), X)
        await engine.has_begun()
        host.send(conv_run(program, run=2), X)
        for answer, _ in (await host.answers(3)).values():
            assert (answer.run, answer.status, answer.code) == (2, Status.REFUSED, "queue-full")
        assert host.other._parser.allocated_bytes < 2 * X.nbytes + 2000
        engine.free.release(3)
        assert {a.status for a, _ in (await host.answers(3)).values()} == {Status.DONE}


@in_loop
async def test_tensors_that_the_system_has_no_memory_for_end_what_they_belong_to() -> None:
    def nothing(dtype: object, shape: object) -> None:
        raise MemoryError

    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        first = np.ascontiguousarray(X[:, :, :4])
        rest = np.ascontiguousarray(X[:, :, 4:])
        growing = dataclasses.replace(conv_run(program, run=2), tensors=(describe("x", first),), rows_total=X.shape[2])
        host.send(growing, first)
        await host.ask(Ping(0))
        usual, host.other._parser._allocate = host.other._parser._allocate, nothing
        host.send(conv_run(program, run=1), X)
        for answer, tensors in (await host.answers(3)).values():
            assert (answer.run, answer.status, answer.code, tensors) == (1, Status.FAILED, "out-of-memory", ())
        host.send(Rows(2, 4, (describe("x", rest),)), rest)
        for answer, _ in (await host.answers(3)).values():
            assert (answer.run, answer.status, answer.code) == (2, Status.FAILED, "out-of-memory")
        blob = np.zeros(4000, np.uint8)
        fault = await host.ask(Put(digest_of(blob), (describe("b", blob),)), blob)
        assert (fault.code, fault.about) == ("out-of-memory", digest_of(blob))
        host.other._parser._allocate = usual
        host.send(conv_run(program, run=3), X)
        assert {a.status for a, _ in (await host.answers(3)).values()} == {Status.DONE}
        await host.ask(Ping(0))
        assert host.credits == first.nbytes + rest.nbytes + 2 * X.nbytes


@in_loop
async def test_more_than_the_memory_holds_is_refused_before_it_is_taken() -> None:
    engine = Gate()
    async with bench(engine, memory_limit=2 * X.nbytes - 1) as made:
        host, other = await made.host(), await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, run=1), X)
        await engine.has_begun()
        taken = other.other._parser.allocated_bytes
        other.send(conv_run(program, run=2), X)
        for answer, _ in (await other.answers(3)).values():
            assert (answer.status, answer.code) == (Status.REFUSED, "memory")
        assert other.other._parser.allocated_bytes == taken
        blob = np.zeros(4000, np.uint8)
        assert (await other.ask(Put(digest_of(blob), (describe("b", blob),)), blob)).code == "memory"
        engine.free.release(6)
        await host.answers(3)
        await host.ask(Ping(0))
        other.send(conv_run(program, run=3), X)
        assert {a.status for a, _ in (await other.answers(3)).values()} == {Status.DONE}


@in_loop
async def test_a_number_in_use_is_refused() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, parts=()), X)
        await engine.has_begun()
        host.send(conv_run(program, parts=()), X)
        answer, _ = await host.next()
        assert (answer.status, answer.code) == (Status.REFUSED, "duplicate-run")
        engine.free.release()
        assert (await host.next())[0].status is Status.DONE


@in_loop
async def test_cancel_ends_queued_parts_at_once_and_the_running_one_at_its_end() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program), X)
        await engine.has_begun()
        host.send(Cancel(run=1))
        answer, _ = await host.next()
        assert (answer.part, answer.status) == (1, Status.CANCELLED)
        engine.free.release()
        rest = await host.answers(2)
        assert {answer.status for answer, _ in rest.values()} == {Status.CANCELLED}
        assert all(tensors == () for _, tensors in rest.values())
        assert engine.runs == 1
        await host.ask(Ping(0))
        assert host.credits == X.nbytes


@in_loop
async def test_cancel_by_stream_leaves_other_streams_and_hosts_alone() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host, other = await made.host(), await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, run=1, stream=7, parts=PARTS[:1]), X)
        await engine.has_begun()
        host.send(conv_run(program, run=2, stream=7, parts=PARTS[:1]), X)
        host.send(conv_run(program, run=3, stream=8, parts=PARTS[:1]), X)
        other.send(conv_run(program, run=4, stream=7, parts=PARTS[:1]), X)
        await host.ask(Ping(0))
        await other.ask(Ping(0))
        host.send(Cancel(stream=7))
        await host.ask(Ping(0))
        engine.free.release(4)
        ended = [(await host.next())[0] for _ in range(3)]
        assert {one.run: one.status.value for one in ended} == {1: "cancelled", 2: "cancelled", 3: "done"}
        assert (await other.next())[0].status is Status.DONE


@in_loop
async def test_cancel_of_everything_and_of_nothing() -> None:
    async with bench() as made:
        host = await made.host()
        host.send(Cancel(run=99))
        host.send(Cancel())
        host.send(Skip(99, (1,)))
        assert isinstance(await host.ask(Ping(0)), Pong)


@in_loop
async def test_a_graph_of_many_nodes_stops_between_two() -> None:
    async with bench() as made:
        host = await made.host()
        recipe = chain(4000)
        program = await host.load(recipe)
        x = np.ones((192, 192), np.float32)
        host.send(Run(1, 0, 0, program, (describe("x", x),)), x)
        await host.ask(Ping(0))
        host.send(Cancel(run=1))
        answer, _ = await host.next()
        assert answer.status is Status.CANCELLED


@in_loop
async def test_skip_drops_only_parts_that_have_not_begun() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        parts = tuple(Part(at, at, at + 4) for at in range(5))
        host.send(conv_run(program, parts=parts), X)
        await engine.has_begun()
        host.send(Skip(1, (0, 3, 77)))
        assert [(await host.next())[0].part] == [3]
        engine.free.release(5)
        ended = await host.answers(4)
        assert {part: answer.status.value for part, (answer, _) in ended.items()} == {
            0: "done", 1: "done", 2: "done", 4: "done",
        }  # fmt: skip


@in_loop
async def test_a_skipped_part_beside_the_running_one_is_not_computed() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program), X)
        await engine.has_begun()
        host.send(Skip(1, (0,)))  # the second in order: already with the thread
        await host.ask(Ping(0))
        engine.free.release(3)
        ended = await host.answers(3)
        assert [ended[part][0].status.value for part in (3, 0, 1)] == ["done", "skipped", "done"]
        assert engine.runs == 2


@in_loop
async def test_parts_that_are_too_late_expire() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, deadline_s=2.0), X)
        await engine.has_begun()
        made.clock.now += 2.5
        engine.free.release(3)
        ended = await host.answers(3)
        assert [ended[part][0].status.value for part in (3, 0, 1)] == ["done", "expired", "expired"]
        answer = ended[3][0]
        assert (answer.received_s, answer.started_s, answer.finished_s) == (100.0, 100.0, 102.5)


@in_loop
async def test_higher_priority_goes_first_then_order_of_arrival() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, run=1, parts=PARTS[:2]), X)  # fills the thread: one runs, one is next
        await engine.has_begun()
        for run, priority in ((2, 0), (3, 5), (4, 5), (5, -1)):
            host.send(conv_run(program, run=run, priority=priority, parts=PARTS[:2]), X)
        await host.ask(Ping(0))
        engine.free.release(10)
        order = [(await host.next())[0] for _ in range(10)]
        assert [answer.run for answer in order] == [1, 1, 3, 3, 4, 4, 2, 2, 5, 5]
        assert [answer.backlog for answer in order] == list(range(9, -1, -1))


@pytest.mark.parametrize("first", [0, 4])
@in_loop
async def test_parts_are_computed_as_soon_as_their_rows_are_there(first: int) -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        parts = (Part(0, 0, 6), Part(1, 4, 12))
        begin = X[:, :, :first]
        host.send(conv_run(program, parts=parts, tensors=(describe("x", begin),), rows_total=12), begin)
        middle, end = X[:, :, first:7], X[:, :, 7:]
        host.send(Rows(1, first, (describe("x", middle),)), middle)
        answer, (found, *_) = await host.next()
        assert answer.part == 0
        np.testing.assert_allclose(found, convolved(X[:, :, 0:6], WEIGHTS), atol=1e-2)
        host.send(Rows(1, 7, (describe("x", end),)), end)
        answer, (found, *_) = await host.next()
        assert answer.part == 1
        np.testing.assert_allclose(found, convolved(X[:, :, 4:], WEIGHTS), atol=1e-2)
        await host.ask(Ping(0))
        assert host.credits == X.nbytes


@in_loop
async def test_a_whole_run_waits_for_all_its_rows() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, parts=(), tensors=(describe("x", X[:, :, :5]),), rows_total=12), X[:, :, :5])
        assert isinstance(await host.ask(Ping(0)), Pong)
        host.send(Rows(1, 5, (describe("x", X[:, :, 5:]),)), X[:, :, 5:])
        _, (found, *_) = await host.next()
        np.testing.assert_allclose(found, convolved(X, WEIGHTS), atol=1e-2)


BAD_ROWS = [
    (4, describe("x", X[:, :, :2])),
    (6, describe("x", X[:, :, :2])),
    (5, describe("z", X[:, :, :2])),
    (5, describe("x", X[:, :, :2], 2.0)),
    (5, describe("x", X[:, :2, :2])),
    (5, describe("x", X[:, :, :8])),
    (5, describe("x", X[0])),
]


@pytest.mark.parametrize(("start", "spec"), BAD_ROWS)
@in_loop
async def test_rows_that_do_not_continue_end_their_run(start: int, spec: object) -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, tensors=(describe("x", X[:, :, :5]),), parts=PARTS[:1], rows_total=12), X[:, :, :5])
        host.send(Rows(1, start, (spec,)), np.zeros(spec.shape, np.float16))
        answer, _ = await host.next()
        assert (answer.status, answer.code) == (Status.FAILED, "bad-rows")
        assert isinstance(await host.ask(Ping(0)), Pong)
        assert host.credits == X[:, :, :5].nbytes + spec.nbytes


@in_loop
async def test_late_rows_of_a_cancelled_run_are_dropped() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program, tensors=(describe("x", X[:, :, :5]),), parts=PARTS[:1], rows_total=12), X[:, :, :5])
        host.send(Cancel(run=1))
        assert (await host.next())[0].status is Status.CANCELLED
        host.send(Rows(1, 5, (describe("x", X[:, :, 5:]),)), X[:, :, 5:])
        await host.ask(Ping(0))
        assert host.credits == X.nbytes


@in_loop
async def test_a_host_that_asks_for_it_gets_the_credit_of_a_run_with_its_last_answer() -> None:
    async with bench() as made:
        host = await made.host(dataclasses.replace(HELLO, features=(ANSWER_CREDIT,)))
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program), X)
        given = [(await host.next())[0].credit for _ in PARTS]
        assert given == [None, None, X.nbytes]
        host.send(conv_run("f" * 64), X)  # refused, its tensors dropped
        await host.answers(len(PARTS))
        await host.ask(Ping(0))
        assert host.credits == 2 * X.nbytes
        assert host.credit_messages == 1


@in_loop
async def test_answers_wait_for_credit_but_one_may_always_go() -> None:
    async with bench() as made:
        hello = Hello((1, 1), "x", (), "x", 1 << 28, 1)
        host = await made.host(hello)
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program), X)
        await made.idle()
        await made.idle()
        assert isinstance((await host.next())[0], Answer)
        assert isinstance(await host.ask(Ping(0)), Pong)
        for _ in range(2):
            host.send(Credit(1 << 20))
            assert isinstance((await host.next())[0], Answer)
        assert host.inbox.empty()


@in_loop
async def test_nothing_more_is_computed_for_a_host_that_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoi_agent.clients.SEND_BYTES", 1000)
    async with bench() as made:
        host, other = await made.host(), await made.host()
        program = await host.load(conv(WEIGHTS))
        parts = tuple(Part(at, 0, 10) for at in range(20))
        host.other._transport.hold()
        host.send(conv_run(program, parts=parts), X)
        await other.ask(Ping(0))
        other.send(conv_run(program), X)
        await other.answers(3)
        assert made.worker.runs.served < 3 + 6
        host.other._transport.release()
        assert len(await host.answers(20)) == 20


@in_loop
async def test_a_host_that_reads_nothing_for_long_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.other._transport.hold()
        host.send(conv_run(program), X)
        other = await made.host()
        other.send(conv_run(program), X)
        await other.answers(3)
        await made.idle()
        for _ in range(4):
            made.worker.tick()
            made.clock.now += 16
        await host.gone()
        assert isinstance(await other.ask(Ping(0)), Pong)


@in_loop
async def test_unread_small_messages_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cocoi_agent.connection.MAX_CONTROL_BYTES", 10_000)
    async with bench() as made:
        host = await made.host()
        host.other._transport.hold()
        for token in range(2000):
            host.send(Ping(token))
        await host.gone()


@in_loop
async def test_a_host_that_goes_takes_its_runs_with_it() -> None:
    engine = Gate()
    async with bench(engine) as made:
        host, other = await made.host(), await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program), X)
        await engine.has_begun()
        other.send(conv_run(program, parts=PARTS[:1]), X)
        await other.ask(Ping(0))
        host.connection.abort()
        await host.gone()
        engine.free.release(2)
        assert (await other.next())[0].status is Status.DONE
        assert engine.runs == 2


@in_loop
async def test_a_host_that_goes_in_the_middle_of_a_tensor_leaves_nothing() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS, F32))
        x = np.zeros((1, 3, 4000, 300), np.float32)
        future = host.send(conv_run(program, tensors=(describe("x", x),)), x)
        assert isinstance(await host.ask(Ping(0)), Pong)  # overtakes: the header and a part have come
        assert made.worker.budget.reserved == x.nbytes
        host.connection.abort()
        with pytest.raises(ConnectionLostError):
            await future
        await host.gone()
        assert made.worker.budget.reserved == 0


@in_loop
async def test_a_cancel_overtakes_a_large_tensor() -> None:
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS, F32))
        x = np.zeros((1, 3, 1000, 1000), np.float32)
        sent = host.send(conv_run(program, run=1, tensors=(describe("x", x),), parts=()), x)
        assert isinstance(await host.ask(Ping(5)), Pong)
        assert not sent.done()
        host.send(Cancel(run=1))
        host.connection.close()


@in_loop
async def test_programs_of_one_graph_share_a_session() -> None:
    async with bench() as made:
        host = await made.host()
        recipes = [conv(WEIGHTS), conv(WEIGHTS * 2), conv(WEIGHTS, how="initializer")]
        programs = [await host.load(recipe) for recipe in recipes]
        first, second, built = (made.worker.library.find_program(program).session for program in programs)
        assert first is second
        assert built is not first
        assert (await host.ask(recipes[0].load)).program == programs[0]


@in_loop
async def test_the_agent_says_goodbye() -> None:
    async with bench() as made:
        host = await made.host()
        made.worker.on_stop()
        assert (await host.next())[0].reason == "the agent is stopping"


def test_the_id_of_a_program_covers_everything_that_makes_it() -> None:
    load = conv(WEIGHTS).load
    (binding,) = load.bindings
    variants = [
        program_id(load.graph, load.bindings, linear=True),
        program_id(load.graph, load.bindings, linear=False),
        program_id("0" * 64, load.bindings, linear=True),
        program_id(load.graph, (), linear=True),
        *(
            program_id(
                load.graph, (type(binding)(**{**{s: getattr(binding, s) for s in binding.__slots__}, **change}),)
            )
            for change in ({"name": "v"}, {"blob": "1" * 64}, {"dtype": "f16"}, {"shape": (1,)}, {"how": "initializer"})
        ),
    ]
    assert len(set(variants)) == len(variants)
    assert variants[0] == load.program
