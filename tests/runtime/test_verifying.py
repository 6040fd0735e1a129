"""Spare answers: honest fleets pass, liars are found, and nothing that goes wrong meanwhile costs the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import LoadedModel
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.engine import Engine
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.host_share import HOST
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.inner_link import ANSWER, DIE, HOLD, InnerLink
from cocoi_cli.runtime.loading import loading_of
from cocoi_cli.runtime.options import Options
from cocoi_cli.runtime.report import InferenceReport
from tests.runtime.loop_fleet import LoopFleet, loop_fleet, spoiled
from tests.runtime.small_network import picture, small_network

CODED = ("coded", "hedged", "replication", "fcdcc", "cocoi")
TOLERANCE = {"f32": 1e-4, "f16": 1e-2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reference(model: LoadedModel) -> np.ndarray:
    return dict(HostKernels(threads=1).baseline(model, picture(), repeat=False).outputs)["logits"]


class LyingLink(InnerLink):
    """An agent that lies about shares of which `lies` says so, by their number in the order of sending."""

    def __init__(self, *arguments, lies: Callable[[int], bool]) -> None:
        super().__init__(*arguments)
        self._lies = lies

    def _deliver(self, answer, tensors) -> None:
        if self._lies(answer.run):
            tensors = tuple(spoiled(y, 0.3) for y in tensors)
        super()._deliver(answer, tensors)


def never(_: int) -> bool:
    return False


def always(_: int) -> bool:
    return True


def answers(_: int) -> str:
    return ANSWER


def run(
    model: LoadedModel,
    scheme: str,
    *,
    n: int = 6,
    k: int | None = None,
    transport: str = "f32",
    verify: int = 2,
    lies: dict[int, Callable[[int], bool]] | None = None,
    behave: dict[int, Callable[[int], str]] | None = None,
    deadline_s: float = 60.0,
    edit: Callable[[Plan], Plan] = lambda plan: plan,
) -> Outcome:
    """One inference over agents inside the test, some of which lie or behave otherwise."""

    async def main() -> Outcome:
        kernels = HostKernels(threads=1)
        coordinator = Coordinator(kernels)
        links = [
            LyingLink(
                *(f"a{index}", coordinator, kernels, (behave or {}).get(index, answers)),
                lies=(lies or {}).get(index, never),
            )
            for index in range(n)
        ]
        coordinator.attach(links)
        prepared = find_layers(model, {"image": (1, 3, 40, 40)})
        plan = edit(default_plan(prepared.layers, agents=n, scheme=scheme, n=None, k=k, transport=transport))
        network = cut(prepared, plan.distributed)
        programs = loading_of(network, plan).stages
        for link in links:
            link.load(network, plan, programs)
        job = Job(
            network=network, plan=plan, programs=programs, tensors=picture(), deadline_s=deadline_s, verify=verify
        )
        try:
            outcome = await coordinator.run(job)
        finally:
            coordinator.close()
        assert len(asyncio.all_tasks()) == 1
        return outcome

    return asyncio.run(main())


def strips(outcome: Outcome) -> int:
    return sum(row.strips for row in outcome.stages)


# --- the coordinator's verdict ------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["f32", "f16"])
@pytest.mark.parametrize("scheme", [*CODED, "lt"])
def test_an_honest_fleet_passes(model, reference, scheme, transport) -> None:
    outcome = run(model, scheme, transport=transport)
    found = outcome.verification
    assert found is not None
    assert (found.passed, found.liar, found.unchecked, found.codewords) == (True, None, 0, strips(outcome))
    assert difference(outcome.outputs["logits"], reference) <= TOLERANCE[transport]
    assert found.cuts == (("tile",) if scheme == "hedged" else ("strip",))
    assert outcome.warnings == ()


@pytest.mark.parametrize("liar", range(6))
@pytest.mark.parametrize("scheme", CODED)
def test_one_liar_is_named_by_two_spares(model, scheme, liar) -> None:
    k = 2 if scheme == "replication" else None  # so that there are three copies of each piece
    found = run(model, scheme, k=k, lies={liar: always}).verification
    assert not found.passed
    assert found.liar == f"a{liar}"
    assert set(found.suspects) == {f"a{liar}"}


@pytest.mark.parametrize("transport", ["f32", "f16"])
def test_a_single_lie_is_found_in_float16_too(model, transport) -> None:
    found = run(model, "coded", transport=transport, lies={2: lambda number: number == 1}).verification
    assert (found.inconsistent, found.suspects) == (1, {"a2": 1})


@pytest.mark.parametrize("scheme", ["coded", "hedged", "fcdcc", "cocoi", "replication"])
def test_with_one_spare_a_lie_is_found_and_nobody_is_named(model, scheme) -> None:
    k = {"coded": 5, "fcdcc": None, "cocoi": 5, "hedged": None, "replication": 3}[scheme]
    found = run(model, scheme, k=k, verify=1, lies={1: always}).verification
    assert not found.passed
    assert found.liar is None


@pytest.mark.parametrize("liar", range(3))
@pytest.mark.parametrize("k", [None, 3])
def test_a_liar_under_a_rateless_code_is_found_and_named_where_its_sums_tell_it_apart(model, k, liar) -> None:
    found = run(model, "lt", k=k, lies={liar: always}).verification
    assert not found.passed
    assert found.liar in (None, f"a{liar}")


def test_a_scheme_without_spare_answers_has_nothing_checked(model) -> None:
    outcome = run(model, "uncoded", lies={0: always})
    found = outcome.verification
    assert (found.codewords, found.unchecked, found.passed) == (0, strips(outcome), True)


def test_answers_of_the_check_are_not_in_the_table_of_stages(model) -> None:
    checked, plain = run(model, "coded", k=4), run(model, "coded", k=4, verify=0)
    assert plain.verification is None
    for with_check, without in zip(checked.stages, plain.stages, strict=True):
        assert with_check.host == without.host == 0
        assert with_check.arrived <= with_check.strips * 6
        assert with_check.bytes_out <= without.bytes_out * 2
    assert sum(agent.used for agent in checked.agents) >= sum(agent.used for agent in plain.agents) + strips(plain)


def after(count: int, word: str) -> Callable[[int], str]:
    return lambda number: ANSWER if number < count else word


def shares_sent(model: LoadedModel, n: int) -> int:
    """Shares that each agent gets at most in an inference that is not checked."""
    outcome = run(model, "coded", n=n, verify=0)
    return max(agent.used + agent.late + agent.cancelled for agent in outcome.agents)


@pytest.mark.parametrize("gone", [1, 2, 5, 6])
@pytest.mark.parametrize("word", [DIE, "out-of-memory"])
def test_agents_that_end_meanwhile_cost_neither_answer_nor_verdict(model, reference, gone, word) -> None:
    count = shares_sent(model, 6)
    outcome = run(model, "coded", behave={agent: after(count + agent % 2, word) for agent in range(gone)})
    assert difference(outcome.outputs["logits"], reference) <= 1e-4
    assert outcome.verification.passed
    assert outcome.verification.codewords + outcome.verification.unchecked == strips(outcome)
    assert not any("the host computes" in text for text in outcome.warnings)
    assert all(row.host == 0 for row in outcome.stages)


def test_what_the_host_had_to_compute_is_no_riddle_to_the_check(model, reference) -> None:
    """All agents are gone before the first strip is whole, so some strips have no answer of an agent at all."""
    outcome = run(model, "coded", behave=dict.fromkeys(range(6), after(1, DIE)))
    assert difference(outcome.outputs["logits"], reference) <= 1e-4
    assert sum(row.host for row in outcome.stages) > 0
    assert outcome.verification.passed


@pytest.mark.parametrize("liar", [0, 1])
def test_a_liar_among_agents_that_took_over_shares_is_never_believed(model, liar) -> None:
    """Three of six are dead: the living give several shares of each strip, and no honest one is suspected for it."""
    dead = dict.fromkeys((3, 4, 5), after(0, DIE))
    found = run(model, "coded", k=4, lies={liar: always}, behave=dead).verification
    assert found.liar in (None, f"a{liar}")


@pytest.mark.parametrize("liar", range(4))
def test_a_liar_that_took_over_tiles_of_dead_agents_does_not_outvote_the_honest(model, liar) -> None:
    dead = dict.fromkeys((4, 5), after(1, DIE))
    found = run(model, "hedged", lies={liar: always}, behave=dead).verification
    assert found.liar == f"a{liar}"


def test_agents_that_never_give_their_spare_answers_are_not_waited_for_beyond_the_deadline(model, reference) -> None:
    count = shares_sent(model, 3)
    outcome = run(model, "hedged", n=3, behave=dict.fromkeys(range(3), after(count, HOLD)), deadline_s=1.0)
    assert difference(outcome.outputs["logits"], reference) <= 1e-4
    assert outcome.verification.passed
    assert outcome.verification.codewords + outcome.verification.unchecked == strips(outcome)


def test_the_host_is_a_witness_and_never_a_suspect(model, reference) -> None:
    def with_host(plan: Plan) -> Plan:
        return replace(plan, layers=tuple(replace(each, host=True) for each in plan.layers))

    honest = run(model, "coded", n=5, k=3, edit=with_host)
    assert honest.verification.passed
    assert honest.verification.unchecked == 0
    assert any(agent.id == HOST and agent.used for agent in honest.agents)
    lied = run(model, "coded", n=5, k=3, edit=with_host, lies={0: always, 1: always}).verification
    assert not lied.passed
    assert HOST not in lied.suspects


# --- the engine: computed again, without the liar -----------------------------------------------


def infer(
    model: LoadedModel, agents: int, options: Sequence[Options], story: Callable[[LoopFleet], None]
) -> list[InferenceReport]:
    """One inference after another over real agents in this loop."""

    async def main() -> list[InferenceReport]:
        async with loop_fleet(agents) as fleet:
            engine = Engine(fleet.deployed, kernels=HostKernels(threads=1))
            await engine.start()
            try:
                story(fleet)
                return [await engine.infer(model, picture(), "", each, None, None) for each in options]
            finally:
                await engine.aclose()

    return asyncio.run(main())


def lying(*names: str) -> Callable[[LoopFleet], None]:
    def story(fleet: LoopFleet) -> None:
        for name in names:
            fleet.agents[name].engine.lie = 0.4

    return story


CHECKED = Options(verify=2, check=False, compare=False, transport="f32")


def right(report: InferenceReport, reference: np.ndarray) -> bool:
    return difference(report.outputs["logits"], reference) <= 1e-4


def test_the_liar_is_left_out_and_the_answer_computed_again(model, reference) -> None:
    first, second = infer(model, 6, [CHECKED, CHECKED], lying("a2"))
    assert right(first, reference)
    assert right(second, reference)
    assert (first.verification.passed, first.verification.distrusted) == (True, ("a2",))
    assert any(text.startswith("a2 is not used any more: its answers contradict") for text in first.warnings)
    (row,) = [agent for agent in second.agents if agent.id == "a2"]
    assert (row.state, row.used) == ("lost", 0)
    assert row.reason.startswith("its answers contradict those of the others")
    assert (second.verification.passed, second.verification.distrusted) == (True, ())
    assert not any("a2" in text for text in second.warnings)


def test_a_liar_among_tiles_contradicts_in_tiles(model, reference) -> None:
    (report,) = infer(model, 4, [replace(CHECKED, scheme="hedged")], lying("a2"))
    assert right(report, reference)
    (text,) = (text for text in report.warnings if text.startswith("a2 is not used any more"))
    assert re.search(r"those of the others in \d+ tiles?;", text)


def test_two_liars_are_found_one_after_the_other_or_the_host_computes_alone(model, reference) -> None:
    (report,) = infer(model, 6, [CHECKED], lying("a1", "a4"))
    assert right(report, reference)


def test_where_nobody_can_be_named_the_host_computes_alone(model, reference) -> None:
    options = Options(verify=1, k=5, transport="f32")
    (report,) = infer(model, 6, [options], lying("a0"))
    assert right(report, reference)
    assert not report.verification.passed
    assert report.verification.distrusted == ()
    assert all(stage.kind == "local" for stage in report.stages)
    assert any("the host computes alone" in text for text in report.warnings)
