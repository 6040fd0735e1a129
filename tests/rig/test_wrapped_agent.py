"""The wrapped agent: what it does to a task, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bench.lab.agent import FaultyComputer
from bench.lab.behaviour import Behaviour, Delay, Lie, delay_draw
from bench.lab.control_file import ControlReader, make_control_file, write_behaviour
from cocoi_agent.compute import Computer
from cocoi_agent.jobs import WHOLE, Task
from cocoi_agent.wire.messages import Status

TASK_S = 2.0


class Engine:
    """Computes the same within two seconds of a clock that only it and the sleeper move."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        self.answer = np.full((2, 2), 3.0, np.float32)
        self.error: Exception | None = None

    def run(self, *_: object) -> list[np.ndarray]:
        self.now += TASK_S
        if self.error is not None:
            raise self.error
        return [self.answer]

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def control(tmp_path: Path) -> Path:
    file = tmp_path / "control"
    make_control_file(file)
    return file


@pytest.fixture
def computer(engine: Engine, control: Path) -> FaultyComputer:
    return FaultyComputer(engine, engine.clock, control=ControlReader(control), name="node-1", sleep=engine.sleep)


def new_task() -> Task:
    return Task(job=SimpleNamespace(cancelled=False, program=None), part=WHOLE, expires_s=None)


def test_without_faults_a_task_is_the_agents_own(computer, engine) -> None:
    theirs, ours = new_task(), new_task()
    Computer(engine, engine.clock).compute(theirs)
    engine.now = 100.0
    computer.compute(ours)
    assert engine.slept == []
    assert (ours.started_s, ours.finished_s) == (theirs.started_s, theirs.finished_s)
    assert ours.computed[0] is engine.answer


def test_a_delay_is_a_multiple_of_the_tasks_own_time(computer, engine, control) -> None:
    delay = Delay("exp", 0.5, 3)
    write_behaviour(control, Behaviour(delay=delay))
    tasks = [new_task() for _ in range(5)]
    for task in tasks:
        computer.compute(task)
    draw = delay_draw(delay, "node-1")
    assert engine.slept == pytest.approx([TASK_S * draw() for _ in tasks])
    assert [task.finished_s - task.started_s for task in tasks] == pytest.approx(
        [TASK_S + slept for slept in engine.slept]
    )


def test_a_running_agent_takes_each_change_at_its_next_task(computer, engine, control) -> None:
    for behaviour, sleeps in ((Behaviour(), 0), (Behaviour(Delay("exp", 1.0)), 1), (Behaviour(), 1)):
        write_behaviour(control, behaviour)
        computer.compute(new_task())
        assert len(engine.slept) == sleeps


def test_a_lie_reaches_the_answer_and_not_the_engine(computer, engine, control) -> None:
    write_behaviour(control, Behaviour(lie=Lie("noise", 0.5)))
    task = new_task()
    computer.compute(task)
    assert not np.array_equal(task.computed[0], engine.answer)
    np.testing.assert_array_equal(engine.answer, np.full((2, 2), 3.0, np.float32))
    assert engine.slept == []


@pytest.mark.parametrize("how", ["cancelled", "dropped", "failed"])
def test_what_was_not_computed_is_neither_delayed_nor_spoilt(computer, engine, control, how) -> None:
    write_behaviour(control, Behaviour(Delay("exp", 1.0), Lie("flip")))
    task = new_task()
    if how == "cancelled":
        task.job.cancelled = True
    elif how == "dropped":
        task.dropped = Status.SKIPPED
    else:
        engine.error = ValueError("no")
    computer.compute(task)
    assert engine.slept == []
    assert task.computed == ()
