"""Random small CNNs through the coordinator, with every set of k survivors out of n agents.

The clock stands still, so nobody is ever late: what is decoded is decoded from exactly the survivors' answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from cocoi_cli.codes.registry import make_code
from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import LoadedModel, Network
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut
from cocoi_cli.planning import defaults
from cocoi_cli.planning.defaults import default_plan, gain_limit
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime.check import Tolerance, compare
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.inner_link import ANSWER, DIE, InnerLink
from cocoi_cli.runtime.loading import loading_of
from cocoi_cli.runtime.rehearsal import within_budget
from tests.model.random_networks import random_network

pytestmark = pytest.mark.slow

SIZES = [(n, k) for n in range(3, 7) for k in range(1, n)]
FLOAT32_SEEDS = range(100, 112)
FLOAT16_SEEDS = range(200, 204)


@pytest.fixture(autouse=True)
def every_layer_is_large_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """These networks are tiny; what is tested is arithmetic, not whether it pays."""
    monkeypatch.setattr(defaults, "SMALLEST_MACS", 0)


@dataclass
class Case:
    """A random network, its inputs, and what plain ONNX Runtime makes of them."""

    model: LoadedModel
    prepared: Prepared
    tensors: Mapping[str, np.ndarray]
    reference: Mapping[str, np.ndarray]
    kernels: HostKernels

    def plan(self, n: int, k: int, transport: str) -> Plan:
        return default_plan(self.prepared.layers, agents=n, scheme="coded", n=n, k=k, transport=transport)

    def cut(self, plan: Plan) -> Network:
        return cut(self.prepared, plan.distributed)

    def rehearsed(self, plan: Plan) -> Plan:
        async def cut_by(each: Plan) -> Network:
            return self.cut(each)

        return asyncio.run(
            within_budget(plan, Tolerance(plan.transport), cut_by, self.kernels, self.tensors, self.reference)
        )


def make_case(folder: Path, seed: int) -> Case:
    proto, tensors = random_network(seed)
    path = folder / f"random{seed}.onnx"
    path.write_bytes(proto.SerializeToString())
    model, kernels = load_model(path), HostKernels(threads=1)
    shapes = resolve_input_shapes(model, {name: array.shape for name, array in tensors.items()})
    reference = kernels.baseline(model, tensors, repeat=False).outputs
    return Case(model, find_layers(model, shapes), tensors, reference, kernels)


def survive(case: Case, network: Network, plan: Plan, survivors: tuple[int, ...]) -> Outcome:
    """One inference in which all others die of their first share."""

    def behaviour(agent: int) -> Callable[[int], str]:
        return lambda _: ANSWER if agent in survivors else DIE

    async def main() -> Outcome:
        coordinator = Coordinator(case.kernels, clock=lambda: 0.0)
        links = [InnerLink(f"a{index}", coordinator, case.kernels, behaviour(index)) for index in range(plan.n)]
        coordinator.attach(links)
        programs = loading_of(network, plan).stages
        for link in links:
            link.load(network, plan, programs)
        job = Job(network=network, plan=plan, programs=programs, tensors=case.tensors, deadline_s=600.0)
        return await coordinator.run(job)

    return asyncio.run(main())


def judge(case: Case, outcome: Outcome, transport: str, about: object) -> None:
    report = compare(outcome.outputs, case.reference, Tolerance(transport))
    assert report.passed, (about, report)


@pytest.mark.parametrize("seed", FLOAT32_SEEDS)
def test_any_k_survivors_give_the_answer_of_plain_onnx_runtime(tmp_path, seed) -> None:
    case = make_case(tmp_path, seed)
    for n, k in SIZES:
        plan, code = case.plan(n, k, "f32"), make_code("coded", n, k, gain_limit=gain_limit("f32"))
        network = case.cut(plan)
        assert plan.distributed, "nothing of this network is distributed"
        for survivors in combinations(range(n), k):
            outcome = survive(case, network, plan, survivors)
            judge(case, outcome, "f32", (n, k, survivors))
            used = {int(agent.id[1:]) for agent in outcome.agents if agent.used}
            assert used == set(survivors)
            rows = [row for row in outcome.stages if row.kind == "conv"]
            lacking = {code.piece_of(share) for share in survivors} != set(range(k))  # something must be decoded
            assert all(row.host == 0 for row in rows)
            assert all(row.decoded == (row.strips if lacking else 0) for row in rows)


@pytest.mark.parametrize("seed", FLOAT16_SEEDS)
def test_what_was_rehearsed_holds_whoever_survives(tmp_path, seed) -> None:
    """A rehearsal sees one history; its margin must cover all others."""
    case = make_case(tmp_path, seed)
    for n, k in SIZES:
        plan = case.rehearsed(case.plan(n, k, "f16"))
        network = case.cut(plan)
        for survivors in combinations(range(n), k) if plan.distributed else ():
            outcome = survive(case, network, plan, survivors)
            judge(case, outcome, "f16", (n, k, survivors))
