"""The host as one more home: right with it, when it is slow, when it fails, and when nobody else is left."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.model.stages import cut
from cocoi_cli.model.tiles import fuse
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.host import HostKernels, ProgramError
from cocoi_cli.runtime.host_share import HOST, HostShare
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.inner_link import ANSWER, DIE, HOLD, InnerLink
from cocoi_cli.runtime.loading import loading_of
from tests.runtime.small_planned import KINDS, input_of, planned_network, rich_plan, segment_of

TOLERANCE = {"f32": 1e-4, "f16": 1e-2}


@pytest.fixture(scope="module", params=sorted(KINDS))
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind: str, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return planned_network(tmp_path_factory.mktemp(kind), kind)


@pytest.fixture(scope="module")
def reference(model: LoadedModel) -> np.ndarray:
    return dict(HostKernels(threads=1).baseline(model, input_of(), repeat=False).outputs)["logits"]


def answers(_: int) -> str:
    return ANSWER


def after(count: int, word: str) -> Callable[[int], str]:
    return lambda number: ANSWER if number < count else word


class Broken(HostKernels):
    """Fails in every computation that is not an agent's, from the given one on."""

    def __init__(self, fails_at: int) -> None:
        super().__init__(threads=1)
        self.left = fails_at

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise ProgramError("no room")

    def convolve(self, *arguments):
        self._count()
        return super().convolve(*arguments)

    def run_program(self, graph, feeds, outputs, weights=None):
        if threading.current_thread().name.startswith("cocoi-host-share"):
            self._count()
        return super().run_program(graph, feeds, outputs, {} if weights is None else weights)


class Stage:
    """A coordinator over agents inside the test, and jobs by a plan."""

    def __init__(self, model: LoadedModel, kind: str, behaviours, plan_of, kernels: HostKernels | None = None) -> None:
        self.kernels = kernels or HostKernels(threads=1)
        self.coordinator = Coordinator(self.kernels)
        agents = HostKernels(threads=1)
        self.links = [InnerLink(f"a{at}", self.coordinator, agents, behave) for at, behave in enumerate(behaviours)]
        self.coordinator.attach(self.links)
        prepared = find_layers(model, {"image": (1, 3, 32, 32)})
        self.plan: Plan = plan_of(prepared)
        segments = (
            [fuse(prepared, segment_of(prepared, kind), each.tiles, each.transport, each.answers)
             for each in self.plan.segments]
        )  # fmt: skip
        self.network = cut(prepared, self.plan.distributed, segments)
        self.programs = loading_of(self.network, self.plan).stages
        for link in self.links:
            link.load(self.network, self.plan, self.programs)

    async def run(self, *, fallback: bool = True, deadline_s: float = 60.0) -> Outcome:
        job = Job(
            network=self.network,
            plan=self.plan,
            programs=self.programs,
            tensors=input_of(),
            deadline_s=deadline_s,
            fallback=fallback,
        )
        return await self.coordinator.run(job)


def infer(model, kind, behaviours, *, transport="f32", host=True, n=4, times=1, kernels=None, **more) -> list[Outcome]:
    async def main() -> list[Outcome]:
        stage = Stage(
            *(model, kind, behaviours, lambda prepared: rich_plan(prepared, kind, n=n, transport=transport, host=host)),
            kernels=kernels,
        )
        try:
            return [await stage.run(**more) for _ in range(times)]
        finally:
            stage.coordinator.close()

    return asyncio.run(main())


@pytest.mark.parametrize("transport", ["f32", "f16"])
@pytest.mark.parametrize("host", [True, False])
def test_a_plan_with_segments_gives_what_plain_onnx_runtime_gives(model, kind, reference, transport, host) -> None:
    agents = 3 if host else 4
    for outcome in infer(model, kind, [answers] * agents, transport=transport, host=host, times=3):
        assert difference(outcome.outputs["logits"], reference) <= TOLERANCE[transport]
        assert outcome.warnings == ()
        kinds = [row.kind for row in outcome.stages]
        assert "fused" in kinds
        assert "conv" in kinds
        rows = {agent.id: agent for agent in outcome.agents}
        assert (HOST in rows) == host
        if host:
            assert list(rows)[-1] == HOST
            assert (rows[HOST].state, rows[HOST].failed, rows[HOST].bytes_out) == ("up", 0, 0)
        assert sum(row.host for row in outcome.stages) == 0


def test_what_the_host_computes_is_counted_in_its_row(model, kind, reference) -> None:
    """The only agent freezes at once, so the host has everything to itself."""
    (outcome,) = infer(model, kind, [after(0, HOLD)], n=2)
    assert difference(outcome.outputs["logits"], reference) <= 1e-4
    rows = {agent.id: agent for agent in outcome.agents}
    assert rows[HOST].used > 0
    assert rows[HOST].used == sum(row.arrived for row in outcome.stages)
    assert rows["a0"].used == 0


@pytest.mark.parametrize("moment", [0, 1, 3])
@pytest.mark.parametrize("word", [DIE, "out-of-memory"])
def test_the_host_finishes_what_dead_agents_leave(model, kind, reference, moment, word) -> None:
    for outcome in infer(model, kind, [after(moment, word)] * 3, times=2):
        assert difference(outcome.outputs["logits"], reference) <= 1e-4


@pytest.mark.parametrize("dead", [0, 1, 2])
def test_one_dead_agent_changes_nothing_but_the_tables(model, kind, reference, dead) -> None:
    behaviours = [after(2, DIE) if agent == dead else answers for agent in range(3)]
    (outcome,) = infer(model, kind, behaviours, fallback=False)
    assert difference(outcome.outputs["logits"], reference) <= 1e-4


def test_without_fallback_the_host_is_no_agent_that_is_left(model, kind) -> None:
    """Of a coded layer it alone has no k answers; that nobody else is there is told as such."""

    def coded(prepared) -> Plan:
        plan = rich_plan(prepared, kind, n=4)
        names = {layer for segment in plan.segments for layer in segment.layers}
        layers = tuple(
            replace(each, scheme="coded", n=4, k=3, axis=2, strips=2, host=True, segment="")
            if each.layer in names
            else each
            for each in plan.layers
        )
        return replace(plan, layers=layers, segments=())

    async def main() -> None:
        stage = Stage(model, kind, [after(0, DIE)] * 3, coded)
        try:
            with pytest.raises(NoAgentsError):
                await stage.run(fallback=False)
        finally:
            stage.coordinator.close()

    asyncio.run(main())


@pytest.mark.parametrize("fails_at", [0, 1, 2, 5])
def test_kernels_that_fail_end_the_inference_with_their_error_and_not_the_next(model, kind, reference, fails_at):
    async def main() -> None:
        kernels = Broken(fails_at)
        stage = Stage(
            model, kind, [after(0, HOLD)], lambda prepared: rich_plan(prepared, kind, n=2), kernels=kernels
        )  # fmt: skip
        try:
            with pytest.raises(ProgramError):
                await stage.run()
            kernels.left = 10_000
            outcome = await stage.run()
            assert difference(outcome.outputs["logits"], reference) <= 1e-4
            assert next(agent for agent in outcome.agents if agent.id == HOST).used > 0
        finally:
            stage.coordinator.close()

    asyncio.run(main())


async def idle(coordinator: Coordinator) -> None:
    """Return once the host's thread has nothing to do and all has been told."""
    while coordinator._host._waiting:  # noqa: ASYNC110  (nothing tells the test)
        await asyncio.sleep(0)


def test_forgetting_while_the_host_computes_is_no_riddle(model, kind, reference) -> None:
    """A share that nobody waits for any more is answered after the session was made anew."""

    async def main() -> None:
        gate = threading.Event()

        class Slow(HostKernels):
            def run_program(self, graph, feeds, outputs, weights=None):
                if threading.current_thread().name.startswith("cocoi-host-share"):
                    gate.wait(30)
                return super().run_program(graph, feeds, outputs, {} if weights is None else weights)

        wrong: list[dict] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: wrong.append(context))
        plan_of = lambda prepared: rich_plan(prepared, kind, n=4)  # noqa: E731  (one line says it)
        stage = Stage(model, kind, [answers] * 3, plan_of, kernels=Slow(threads=1))
        try:
            first = await stage.run()
            assert stage.coordinator._host._waiting, "the host's share is still computed"
            stage.coordinator.forget()
            gate.set()
            await asyncio.wait_for(idle(stage.coordinator), 30)
            second = await stage.run()
            for outcome in (first, second):
                assert difference(outcome.outputs["logits"], reference) <= 1e-4
        finally:
            gate.set()
            stage.coordinator.close()
        assert wrong == []

    asyncio.run(main())


# --- the thread itself --------------------------------------------------------------------------


class Gated:
    """Work whose shares are computed when the gate opens."""

    def __init__(self) -> None:
        self.gate, self.begun, self.order = threading.Event(), threading.Event(), []

    def convolve(self, kernels, strip, shares):
        self.begun.set()
        assert self.gate.wait(30)
        self.order.append(shares[0])
        if shares[0] == 9:
            raise ProgramError("no room")
        return [np.full(1, shares[0], np.float32)]


class Ears:
    def __init__(self) -> None:
        self.heard: asyncio.Queue = asyncio.Queue()

    def host_answered(self, codeword, share, answer, started_s) -> None:
        self.heard.put_nowait((codeword, share, None if answer is None else float(answer[0])))

    def host_failed(self, codeword, share, error) -> None:
        self.heard.put_nowait((codeword, share, str(error)))


def thread(story) -> None:
    async def main() -> None:
        ears, work = Ears(), Gated()
        share = HostShare(HostKernels(threads=1), ears)
        try:
            await story(share, work, ears)
        finally:
            work.gate.set()
            share.close()

    asyncio.run(main())


async def begun(work: Gated) -> None:
    assert await asyncio.to_thread(work.begun.wait, 30)


def test_a_share_that_waits_is_dropped_and_one_that_runs_is_answered() -> None:
    async def story(share, work, ears) -> None:
        for number in range(3):
            share.begin(work, 0, 5, number)
        await begun(work)
        share.cancel(5, 0)
        share.cancel(5, 1)
        share.cancel(7, 7)  # nobody knows it
        assert await ears.heard.get() == (5, 1, None)
        work.gate.set()
        assert [await ears.heard.get(), await ears.heard.get()] == [(5, 0, 0.0), (5, 2, 2.0)]
        assert work.order == [0, 2]
        share.cancel(5, 0)  # long answered

    thread(story)


def test_a_failure_is_told_and_the_next_share_computed() -> None:
    async def story(share, work, ears) -> None:
        work.gate.set()
        share.begin(work, 0, 5, 9)
        share.begin(work, 0, 5, 1)
        codeword, number, text = await ears.heard.get()
        assert (codeword, number) == (5, 9)
        assert "no room" in text
        assert await ears.heard.get() == (5, 1, 1.0)

    thread(story)


def test_it_can_be_closed_while_it_computes_and_closed_again() -> None:
    async def story(share, work, ears) -> None:
        share.begin(work, 0, 5, 0)
        share.begin(work, 0, 5, 1)
        await begun(work)
        share.close()
        share.close()
        assert await ears.heard.get() == (5, 1, None)

    thread(story)
