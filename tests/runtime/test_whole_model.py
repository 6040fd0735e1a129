"""The whole unmodified model on one agent: right, or a clear error; nothing of an earlier run is taken for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
import pytest

from cocoi_agent.wire.messages import Answer, Status
from cocoi_agent.wire.tensors import describe
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime.engine import Engine
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.link import AgentLink
from cocoi_cli.runtime.link_errors import LinkError
from cocoi_cli.runtime.options import Options
from cocoi_cli.runtime.whole_model import CODEWORD, WholeModel
from tests.runtime.loop_fleet import LoopFleet, loop_fleet
from tests.runtime.small_network import picture, small_network


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reference(model: LoadedModel) -> np.ndarray:
    return dict(HostKernels(threads=1).baseline(model, picture(), repeat=False).outputs)["logits"]


def play(story: Callable[[Engine, LoopFleet], Awaitable[None]], agents: int = 2) -> None:
    """An engine over real agents in this loop."""

    async def main() -> None:
        async with loop_fleet(agents) as fleet:
            engine = Engine(fleet.deployed, kernels=HostKernels(threads=1))
            await engine.start()
            try:
                await story(engine, fleet)
            finally:
                await engine.aclose()

    asyncio.run(main())


def on(device: str, **more) -> Options:
    return Options(device=device, **more)


def test_an_agent_gives_what_plain_onnx_runtime_gives(model, reference) -> None:
    async def story(engine, fleet) -> None:
        for device in ("a1", "a0", "a1"):
            report = await engine.infer(model, picture(), "p", on(device, check=True), None, None)
            np.testing.assert_allclose(report.outputs["logits"], reference, rtol=1e-5, atol=1e-6)
            assert report.check.passed
            assert report.latency_s > 0
            assert report.baseline_s > 0
            assert report.stages == ()

    play(story)


def test_inferences_by_plan_go_on_as_before(model, reference) -> None:
    async def story(engine, fleet) -> None:
        for options in (Options(transport="f32"), on("a0"), Options(transport="f32"), on("a0")):
            report = await engine.infer(model, picture(), "", options, None, None)
            np.testing.assert_allclose(report.outputs["logits"], reference, rtol=1e-4, atol=1e-5)
            assert report.warnings == ()

    play(story, agents=3)


def test_an_agent_that_is_not_there_is_told(model) -> None:
    async def story(engine, fleet) -> None:
        with pytest.raises(LinkError, match=r"a9.*not connected"):
            await engine.infer(model, picture(), "", on("a9"), None, None)

    play(story)


def test_an_agent_that_is_lost_meanwhile_is_told_and_others_are_used_on(model, reference, monkeypatch) -> None:
    send_model = AgentLink.send_model

    async def story(engine, fleet) -> None:
        def send_and_cut(link: AgentLink, *share: object) -> int:
            run = send_model(link, *share)
            fleet.agents[link.id].cut()
            return run

        await engine.infer(model, picture(), "", on("a0"), None, None)
        with monkeypatch.context() as patched:
            patched.setattr(AgentLink, "send_model", send_and_cut)
            with pytest.raises(LinkError, match="a0") as told:
                await engine.infer(model, picture(), "", on("a0"), None, None)
        assert "not connected" not in str(told.value)
        with pytest.raises(LinkError, match=r"a0.*not connected"):
            await engine.infer(model, picture(), "", on("a0"), None, None)
        report = await engine.infer(model, picture(), "", on("a1"), None, None)
        np.testing.assert_allclose(report.outputs["logits"], reference, rtol=1e-5, atol=1e-6)

    play(story)


# --- one run, with a link that does what the test says ------------------------------------------


class HeldLink:
    """Takes the model, and answers when told."""

    def __init__(self, name: str, whole: WholeModel) -> None:
        self.id, self._whole = name, whole
        self.runs: list[int] = []
        self.cancelled = 0
        self.asked = asyncio.Event()

    async def prepare(self, programs, blobs) -> int:
        (program,) = programs
        assert set(blobs) == {program.graph}
        return 0

    def send_model(self, codeword, program, tensors) -> int:
        self.runs.append(len(self.runs) + 1)
        self.asked.set()
        return self.runs[-1]

    def cancel(self, codeword, share) -> None:
        self.cancelled += 1

    def answer(self, run: int, value: float, status: Status = Status.DONE) -> bool:
        y = np.full((1, 5), value, np.float32)
        done = status is Status.DONE
        tensors = (describe("logits", y),) if done else ()
        message = "" if done else "no room"
        found = Answer(run, 0, CODEWORD, 0, status, tensors, code="" if done else "out-of-memory", message=message)
        return self._whole.take(self.id, found, (y,) if done else ())


def alone(story: Callable[[WholeModel, HeldLink, HeldLink], Awaitable[None]]) -> None:
    async def main() -> None:
        whole = WholeModel()
        await story(whole, HeldLink("a0", whole), HeldLink("a1", whole))

    asyncio.run(main())


def begin(whole: WholeModel, link: HeldLink, model: LoadedModel, deadline_s: float = 60.0) -> asyncio.Task:
    link.asked.clear()
    return asyncio.get_running_loop().create_task(whole.run(link, model, picture(), deadline_s))


def test_silence_ends_with_the_deadline_and_what_comes_later_is_dropped(model) -> None:
    async def story(whole, first, second) -> None:
        with pytest.raises(LinkError, match=r"no answer within 0\.01 s"):
            await whole.run(first, model, picture(), 0.01)
        assert first.cancelled == 1
        task = begin(whole, second, model)
        await second.asked.wait()
        assert first.answer(1, 7.0)  # of the run that was given up, for another picture
        task_again = second.answer(1, 3.0)
        assert task_again
        outputs, seconds = await task
        assert float(outputs["logits"][0, 0]) == 3.0
        assert seconds >= 0

    alone(story)


def test_an_earlier_run_of_the_same_agent_is_no_answer(model) -> None:
    async def story(whole, first, _) -> None:
        with pytest.raises(LinkError):
            await whole.run(first, model, picture(), 0.01)
        task = begin(whole, first, model)
        await first.asked.wait()
        first.answer(1, 7.0)
        first.answer(2, 3.0)
        outputs, _ = await task
        assert float(outputs["logits"][0, 0]) == 3.0

    alone(story)


def test_only_the_loss_of_the_agent_that_is_asked_matters(model) -> None:
    async def story(whole, first, _) -> None:
        task = begin(whole, first, model)
        await first.asked.wait()
        whole.lost("a1", "it went away")
        assert not task.done()
        whole.lost("a0", "it went away")
        with pytest.raises(LinkError, match="a0"):
            await task
        whole.lost("a0", "nobody is asked any more")

    alone(story)


def test_a_refusal_is_told_in_the_agents_words(model) -> None:
    async def story(whole, first, _) -> None:
        task = begin(whole, first, model)
        await first.asked.wait()
        first.answer(1, 0.0, Status.REFUSED)
        with pytest.raises(LinkError, match=r"no room \(`out-of-memory`\)"):
            await task

    alone(story)


def test_answers_to_shares_are_left_to_others() -> None:
    answer = Answer(1, 0, CODEWORD + 1, 0, Status.DONE, ())
    assert not WholeModel().take("a0", answer, ())
