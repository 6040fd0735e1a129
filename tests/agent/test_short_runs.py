"""Which parts are expected to be short, and that the loop computes these, and only where nothing else waits."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from cocoi_agent import short_runs
from cocoi_agent.engine import Engine
from cocoi_agent.short_runs import ENOUGH, MOST_PROGRAMS, PROCESSOR_S, WALL_S, ShortRuns
from cocoi_agent.wire.messages import Status
from cocoi_agent.wire.tensors import describe
from tests.agent.host import bench
from tests.agent.programs import conv, convolved
from tests.agent.test_worker import PARTS, WEIGHTS, Recorder, X, conv_run, in_loop


def seen(*took: tuple[float, float], elements: int = 100) -> ShortRuns:
    runs = ShortRuns()
    for processor_s, wall_s in took:
        runs.took("p", elements, processor_s, wall_s)
    return runs


SHORT = (0.5 * PROCESSOR_S, 0.5 * WALL_S)
BUSY = (2 * PROCESSOR_S, 0.5 * WALL_S)
WAITING = (0.5 * PROCESSOR_S, 2 * WALL_S)


def test_the_first_parts_of_a_program_are_not_expected_to_be_short() -> None:
    for count in range(ENOUGH + 2):
        runs = seen(*[SHORT] * count)
        assert runs.expects("p", 100) == (count >= ENOUGH)
        assert not runs.expects("q", 100)


@pytest.mark.parametrize("long", [BUSY, WAITING])
def test_after_a_long_part_others_must_have_been_short_again(long) -> None:
    runs = seen(*[SHORT] * 9, long)
    assert not runs.expects("p", 100)
    for _ in range(ENOUGH - 1):
        runs.took("p", 100, *SHORT)
    assert not runs.expects("p", 100)
    runs.took("p", 100, *SHORT)
    assert runs.expects("p", 100)


def test_nothing_is_known_of_larger_parts() -> None:
    runs = seen(*[SHORT] * ENOUGH, elements=100)
    assert runs.expects("p", 1)
    assert not runs.expects("p", 101)


def test_what_is_remembered_is_bounded() -> None:
    runs = ShortRuns()
    for number in range(MOST_PROGRAMS + 10):
        for _ in range(ENOUGH):
            runs.took(str(number), 1, *SHORT)
    assert sum(runs.expects(str(number), 1) for number in range(MOST_PROGRAMS + 10)) <= MOST_PROGRAMS
    assert runs.expects(str(MOST_PROGRAMS + 9), 1)


class Watched(Engine):
    """Notes who computes."""

    def __init__(self) -> None:
        super().__init__()
        self.by_loop: list[bool] = []

    def run(self, *args: object) -> list:
        self.by_loop.append(threading.current_thread() is threading.main_thread())
        return super().run(*args)


@in_loop
async def test_the_loop_computes_what_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(short_runs, "PROCESSOR_S", 1e9)  # however slow this machine is
    engine = Watched()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        expected = convolved(X, WEIGHTS)
        for _ in range(ENOUGH + 3):
            answer, (_, y) = await host.run(program, x=X)
            assert answer.status is Status.DONE
            np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
        assert engine.by_loop == [False] * ENOUGH + [True] * 3


@in_loop
async def test_parts_behind_one_another_are_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else many short ones together would keep the loop from everything else."""
    monkeypatch.setattr(ShortRuns, "expects", lambda *_: True)
    engine = Watched()
    async with bench(engine) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        host.send(conv_run(program), X)
        await host.answers(len(PARTS))
        assert engine.by_loop == [False, False, False]
        assert (await host.run(program, x=X))[0].status is Status.DONE
        assert engine.by_loop[-1]


@in_loop
async def test_a_second_attempt_that_fails_says_nothing_of_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(ShortRuns, "took", lambda _, program, *__: told.append(program))
    async with bench(Recorder(fails_on=["y32"])) as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        large = np.clip(2e4 * X.astype(np.float32), -6e4, 6e4).astype(np.float16)
        host.send(conv_run(program, parts=(), reply_dtype="f16", tensors=(describe("x", large),)), large)
        answer, _ = (await host.answers(1))[0]
        assert (answer.status, answer.code) == (Status.FAILED, "out-of-memory")
        assert told == [program]  # of the first attempt


@in_loop
async def test_what_was_not_computed_says_nothing_of_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(ShortRuns, "took", lambda _, program, *__: told.append(program))
    async with bench() as made:
        host = await made.host()
        program = await host.load(conv(WEIGHTS))
        assert (await host.run(program, x=X[:, :2]))[0].status is Status.FAILED
        assert told == []
        assert (await host.run(program, x=X))[0].status is Status.DONE
        assert told == [program]
