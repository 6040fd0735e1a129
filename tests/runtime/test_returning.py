"""Agents that come back: asked ever more seldom, used again from the next inference on, unless they lied."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime import returning
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.connecting import BadKeysError
from cocoi_cli.runtime.deployed import DeployedFleet
from cocoi_cli.runtime.engine import Engine
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.options import Options
from cocoi_cli.runtime.report import InferenceReport
from cocoi_cli.runtime.returning import FIRST_WAIT_S, LONGEST_WAIT_S, Returning
from tests.runtime.loop_fleet import LoopFleet, loop_fleet
from tests.runtime.small_network import picture, small_network

FLEET = DeployedFleet(tuple(AgentAddress(f"a{index}", "127.0.0.1", 1, None) for index in range(3)), None)


class Time:
    """A clock that stands still until it is told otherwise."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Nobody:
    def answered(self, link, answer, tensors) -> None:
        raise AssertionError(answer)

    def lost(self, link, cause) -> None:
        raise AssertionError(cause)


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Who was asked, in order; nobody answers."""
    names: list[str] = []

    async def nobody(links, addresses, identity):
        names.extend(address.id for address in addresses)
        return {address.id: LinkError(address.id, "there", "connection refused") for address in addresses}

    monkeypatch.setattr(returning, "open_living", nobody)
    return names


async def rest() -> None:
    """Let what was begun come to its end."""
    for _ in range(5):
        await asyncio.sleep(0)


def moments_of_asking(known: tuple[str, ...], until_s: float, asked: list[str]) -> list[float]:
    """Seconds after the first inference at which somebody is asked, with four inferences a second."""

    async def main() -> list[float]:
        time, found = Time(), []
        seeker = Returning(FLEET, Nobody(), time)
        for step in range(int(4 * until_s) + 1):
            time.now = 100.0 + step / 4
            before = len(asked)
            seeker.seek(known)
            await rest()
            assert seeker.returned() == []
            found += [step / 4] * (len(asked) - before)
        return found

    return asyncio.run(main())


def test_pauses_double_up_to_the_longest(asked) -> None:
    moments = moments_of_asking(("a0", "a1"), 130, asked)
    assert moments == [1, 2, 4, 8, 16, 32, 62, 92, 122]
    assert (FIRST_WAIT_S, LONGEST_WAIT_S) == (1.0, 30.0)
    assert set(asked) == {"a2"}


def test_each_missing_agent_is_asked_by_itself(asked) -> None:
    assert moments_of_asking(("a1",), 4, asked) == [1, 1, 2, 2, 4, 4]
    assert asked == ["a0", "a2"] * 3


def test_nobody_is_asked_while_all_are_there(asked) -> None:
    assert moments_of_asking(("a0", "a1", "a2"), 100, asked) == []


def test_pauses_begin_anew_once_an_agent_was_there(asked) -> None:
    async def main() -> None:
        time = Time()
        seeker = Returning(FLEET, Nobody(), time)
        for known, moment, count in (
            ((), 0, 0), ((), 1, 3), ((), 1.5, 3), ((), 2, 6), (("a0", "a1", "a2"), 3, 6), (("a1", "a2"), 3, 6),
            (("a1", "a2"), 3.9, 6), (("a1", "a2"), 4, 7),
        ):  # fmt: skip
            time.now = 100.0 + moment
            seeker.seek(known)
            await rest()
            seeker.returned()
            assert len(asked) == count, moment

    asyncio.run(main())


def test_one_that_is_being_asked_is_not_asked_again(monkeypatch) -> None:
    begun: list[str] = []

    async def slow(links, addresses, identity):
        begun.append(addresses[0].id)
        await asyncio.Event().wait()

    monkeypatch.setattr(returning, "open_living", slow)

    async def main() -> None:
        time = Time()
        seeker = Returning(FLEET, Nobody(), time)
        for step in range(50):
            time.now = 100.0 + step
            seeker.seek(("a0", "a1"))
            await rest()
        assert begun == ["a2"]
        await seeker.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_keys_that_are_gone_cost_no_inference(monkeypatch) -> None:
    async def broken(links, addresses, identity):
        raise BadKeysError("host.key", "it is gone")

    monkeypatch.setattr(returning, "open_living", broken)

    async def main() -> None:
        time = Time()
        seeker = Returning(FLEET, Nobody(), time)
        seeker.seek(())
        time.now += 1
        seeker.seek(())
        await rest()
        assert seeker.returned() == []

    asyncio.run(main())


# --- with real agents in this loop --------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reference(model: LoadedModel) -> np.ndarray:
    return dict(HostKernels(threads=1).baseline(model, picture(), repeat=False).outputs)["logits"]


@pytest.fixture
def hurry(monkeypatch) -> None:
    """Missing agents are asked at every inference."""
    monkeypatch.setattr(returning, "FIRST_WAIT_S", 0.0)
    monkeypatch.setattr(returning, "LONGEST_WAIT_S", 0.0)


class Scene:
    """An engine over a fleet, and right answers."""

    def __init__(self, engine: Engine, fleet: LoopFleet, model: LoadedModel, reference: np.ndarray) -> None:
        self.engine, self.fleet, self._model, self._reference = engine, fleet, model, reference

    async def infer(self, **more) -> InferenceReport:
        options = Options(transport="f32", **more)
        report = await self.engine.infer(self._model, picture(), "", options, None, None)
        assert difference(report.outputs["logits"], self._reference) <= 1e-4
        return report

    async def until(self, what: Callable[[InferenceReport], bool]) -> InferenceReport:
        """Infer until something is so; agents need a moment to be asked and to answer."""
        for _ in range(500):
            report = await self.infer()
            if what(report):
                return report
            await asyncio.sleep(0.01)
        raise AssertionError(report.agents)


def play(model, reference, story: Callable[[Scene], Awaitable[None]], agents: int = 4) -> None:
    async def main() -> None:
        async with loop_fleet(agents) as fleet:
            engine = Engine(fleet.deployed, kernels=HostKernels(threads=1))
            await engine.start()
            try:
                await story(Scene(engine, fleet, model, reference))
            finally:
                await engine.aclose()
        assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []

    asyncio.run(main())


def row(report: InferenceReport, agent: str):
    return next(each for each in report.agents if each.id == agent)


def works(agent: str) -> Callable[[InferenceReport], bool]:
    return lambda report: row(report, agent).state == "up" and row(report, agent).used > 0


def test_an_agent_that_was_restarted_takes_part_again(model, reference, hurry) -> None:
    async def story(scene) -> None:
        for _ in range(2):
            first = await scene.infer()
            assert [agent.state for agent in first.agents] == ["up"] * 4
            await scene.fleet.agents["a1"].stop()
            without = await scene.until(lambda report: row(report, "a1").state == "lost")
            assert row(without, "a1").reason
            await scene.fleet.agents["a1"].start()
            again = await scene.until(works("a1"))
            assert [agent.id for agent in again.agents] == ["a0", "a1", "a2", "a3"]
            assert row(again, "a1").reason == ""
            assert again.warnings == ()

    play(model, reference, story)


def test_an_agent_that_was_down_from_the_start_joins(model, reference, hurry) -> None:
    async def main() -> None:
        async with loop_fleet(4) as fleet:
            addresses = fleet.deployed
            await fleet.agents["a0"].stop()
            engine = Engine(addresses, kernels=HostKernels(threads=1))
            await engine.start()
            scene = Scene(engine, fleet, model, reference)
            try:
                first = await scene.infer()
                assert row(first, "a0").state == "down"
                assert len(first.warnings) == 1
                await fleet.agents["a0"].start()
                report = await scene.until(works("a0"))
                assert [agent.id for agent in report.agents] == ["a0", "a1", "a2", "a3"]
                assert max(stage.n for stage in report.stages) == 4
            finally:
                await engine.aclose()

    asyncio.run(main())


def test_agents_whose_connections_were_cut_in_the_middle_come_back_too(model, reference, hurry) -> None:
    async def story(scene) -> None:
        await scene.infer()
        loop = asyncio.get_running_loop()
        for agent in ("a0", "a3"):
            loop.call_later(0.002, scene.fleet.agents[agent].cut)
        await scene.infer()
        await scene.until(lambda report: all(each.state == "up" and each.used for each in report.agents))

    play(model, reference, story)


def test_an_agent_that_lied_is_not_asked_again(model, reference, hurry) -> None:
    async def story(scene) -> None:
        scene.fleet.agents["a2"].engine.lie = 0.5
        report = await scene.infer(verify=2)
        assert report.verification.distrusted == ("a2",)
        scene.fleet.agents["a2"].cut()
        for _ in range(10):
            report = await scene.infer()
            await asyncio.sleep(0.01)
        assert (row(report, "a2").state, row(report, "a2").used) == ("lost", 0)
        assert "contradict" in row(report, "a2").reason
        assert report.warnings == ()

    play(model, reference, story, agents=5)
