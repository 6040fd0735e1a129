"""The same inferences over every carrier: what holds for fakes holds for real agents."""

from __future__ import annotations

import asyncio
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Outcome
from tests.runtime.carriers import CARRIERS, job_for, make_job, open_fleet
from tests.runtime.small_network import picture, small_network

pytestmark = pytest.mark.parametrize("kind", CARRIERS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reference(model: LoadedModel) -> dict[str, np.ndarray]:
    return dict(HostKernels(threads=1).baseline(model, picture(), repeat=False).outputs)


def infer(
    kind: str,
    model: LoadedModel,
    folder: Path,
    *,
    agents: int = 4,
    k: int | None = 2,
    scheme: str = "coded",
    transport: str = "f32",
    kill: tuple[int, ...] = (),
    at_stage: int = 1,
    times: int = 1,
) -> list[Outcome]:
    async def main() -> list[Outcome]:
        coordinator = Coordinator(HostKernels(threads=1))
        async with open_fleet(kind, agents, coordinator, folder) as fleet:
            network, plan = job_for(model, picture(), agents, k=k, scheme=scheme, transport=transport)
            programs = await fleet.prepare(network, plan)

            def first_strip(number: int) -> None:
                if number == at_stage:
                    for agent in kill:
                        fleet.kill(agent)

            job = make_job(network, plan, programs, picture(), first_strip)
            return [await coordinator.run(job) for _ in range(times)]

    return asyncio.run(main())


@pytest.mark.parametrize("transport", ["f32", "f16"])
@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication"])
def test_a_healthy_fleet_agrees_with_plain_onnx_runtime(kind, model, reference, tmp_path, scheme, transport) -> None:
    outcomes = infer(kind, model, tmp_path, k=None, scheme=scheme, transport=transport, times=2)
    for outcome in outcomes:
        assert difference(outcome.outputs["logits"], reference["logits"]) <= {"f32": 1e-4, "f16": 1e-2}[transport]
        assert outcome.warnings == ()
        assert all(row.host == row.lost == 0 for row in outcome.stages)


@pytest.mark.parametrize("kill", [*combinations(range(4), 1), *combinations(range(4), 2)])
@pytest.mark.parametrize("at_stage", [0, 2])
def test_any_n_minus_k_killed_agents_change_nothing(kind, model, reference, tmp_path, kill, at_stage) -> None:
    (outcome,) = infer(kind, model, tmp_path, kill=kill, at_stage=at_stage)
    assert difference(outcome.outputs["logits"], reference["logits"]) <= 1e-4
    lost = {agent.id for agent in outcome.agents if agent.state == "lost"}
    assert lost <= {f"a{index}" for index in kill}
    assert len(lost) == len(kill) or at_stage == 2  # after the last stage nobody looks any more
    assert all(row.host == 0 for row in outcome.stages)


@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication"])
def test_all_killed_agents_leave_the_work_to_the_host(kind, model, reference, tmp_path, scheme) -> None:
    (outcome,) = infer(kind, model, tmp_path, k=None, scheme=scheme, kill=(0, 1, 2, 3))
    assert difference(outcome.outputs["logits"], reference["logits"]) <= 1e-4
    assert sum(row.host for row in outcome.stages) > 0
    assert any("the host computes" in text for text in outcome.warnings)


def test_a_lone_survivor_does_the_work_of_all(kind, model, reference, tmp_path) -> None:
    (outcome,) = infer(kind, model, tmp_path, kill=(0, 2, 3))
    assert difference(outcome.outputs["logits"], reference["logits"]) <= 1e-4
    assert all(row.host == 0 for row in outcome.stages)
