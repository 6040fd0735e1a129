"""The coordinator over fake agents: every survivor set, every way to fail, always the right answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest

from cocoi_cli.model.network import LoadedModel
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.failures import CannotDecodeError, DeadlineError, NoAgentsError
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Outcome
from cocoi_cli.runtime.inner_link import ANSWER, DIE, GARBLE, HOLD
from tests.runtime.fakes import Ask, always, infer
from tests.runtime.small_network import picture, small_network

TOLERANCE = {"f32": 1e-4, "f16": 1e-2}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def reference(model: LoadedModel) -> dict[str, np.ndarray]:
    return dict(HostKernels(threads=1).baseline(model, picture(), repeat=False).outputs)


def agree(outcome: Outcome, reference: dict[str, np.ndarray], transport: str = "f32") -> bool:
    return difference(outcome.outputs["logits"], reference["logits"]) <= TOLERANCE[transport]


def after(count: int, word: str) -> Callable[[int], str]:
    """Answer `count` shares, then behave otherwise."""
    return lambda number: ANSWER if number < count else word


@pytest.mark.parametrize("transport", ["f32", "f16"])
@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication"])
def test_healthy_agents_give_the_answer_of_plain_onnx_runtime(model, reference, scheme, transport) -> None:
    (outcome,) = infer(model, picture(), [always] * 6, Ask(scheme=scheme, transport=transport))
    assert agree(outcome, reference, transport)
    convs = [row for row in outcome.stages if row.kind == "conv"]
    assert {row.name for row in convs} == {"conv1", "conv2", "conv3"}
    assert all(row.host == row.lost == 0 for row in convs)
    assert outcome.warnings == ()


@pytest.mark.parametrize("dead", [*combinations(range(5), 1), *combinations(range(5), 2)])
@pytest.mark.parametrize("moment", [0, 1, 2, 4])
@pytest.mark.parametrize("word", [DIE, HOLD, "out-of-memory"])
def test_any_two_of_five_may_fail_at_any_moment(model, reference, dead, moment, word) -> None:
    behaviours = [after(moment, word) if agent in dead else always for agent in range(5)]
    (outcome,) = infer(model, picture(), behaviours, Ask(n=5, k=3))
    assert agree(outcome, reference)
    assert all(row.host == 0 for row in outcome.stages)


@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication"])
@pytest.mark.parametrize("word", [DIE, "refused", GARBLE])
def test_when_all_agents_fail_the_host_computes_and_says_so(model, reference, scheme, word) -> None:
    (outcome,) = infer(model, picture(), [after(1, word)] * 4, Ask(scheme=scheme))
    assert agree(outcome, reference)
    assert sum(row.host for row in outcome.stages) > 0
    assert any("the host computes" in text for text in outcome.warnings)


@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication"])
@pytest.mark.parametrize("survivor", range(4))
def test_a_single_survivor_is_given_the_shares_of_the_others(model, reference, scheme, survivor) -> None:
    behaviours = [always if agent == survivor else after(1, DIE) for agent in range(4)]
    (outcome,) = infer(model, picture(), behaviours, Ask(scheme=scheme))
    assert agree(outcome, reference)
    assert all(row.host == 0 for row in outcome.stages)


@pytest.mark.parametrize("frozen", [1, 2, 3])
def test_frozen_agents_are_worked_around_without_redundancy(model, reference, frozen) -> None:
    behaviours = [after(1, HOLD)] * frozen + [always] * (5 - frozen)
    (outcome,) = infer(model, picture(), behaviours, Ask(scheme="uncoded"))
    assert agree(outcome, reference)
    assert sum(row.late for row in outcome.stages) == frozen


def test_a_frozen_fleet_is_given_up_at_the_deadline(model, reference) -> None:
    (outcome,) = infer(model, picture(), [after(0, HOLD)] * 3, Ask(deadline_s=0.05))
    assert agree(outcome, reference)
    assert any("deadline" in text for text in outcome.warnings)


def test_without_fallback_the_deadline_is_an_error(model) -> None:
    with pytest.raises(NoAgentsError, match="no agent answers; this plan needs 2"):
        infer(model, picture(), [after(0, HOLD)] * 3, Ask(deadline_s=0.05, fallback=False))
    behaviours = [after(1, HOLD), after(0, HOLD), after(0, HOLD)]
    with pytest.raises(DeadlineError, match=r"the deadline of 0.05 s passed with answers from 1 agents"):
        infer(model, picture(), behaviours, Ask(deadline_s=0.05, fallback=False))


def test_without_fallback_too_few_agents_are_an_error(model) -> None:
    with pytest.raises(CannotDecodeError, match="1 agent answers; decoding needs 2"):
        infer(model, picture(), [always, after(1, DIE), after(1, DIE)], Ask(fallback=False))
    with pytest.raises(NoAgentsError):
        infer(model, picture(), [after(0, DIE)] * 3, Ask(fallback=False))


def test_a_second_inference_does_without_the_agents_that_the_first_one_lost(model, reference) -> None:
    outcomes = infer(model, picture(), [after(2, DIE), *[always] * 4], Ask(n=5, k=3), times=3)
    assert all(agree(outcome, reference) for outcome in outcomes)
    assert [agent.state for agent in outcomes[2].agents] == ["lost", "up", "up", "up", "up"]
    assert outcomes[2].agents[0].used == 0


@pytest.mark.parametrize("transport", ["f32", "f16"])
@pytest.mark.parametrize("magnitude", [1e-30, 1e-6, 1e6, 1e30, 1e37])
def test_no_magnitude_saturates_or_vanishes(model, transport, magnitude) -> None:
    """Beyond float16's range a power of two travels along; biases are zero here in comparison, or dominate alike."""
    tensors = {"image": picture()["image"] * np.float32(magnitude)}
    reference = HostKernels(threads=1).baseline(model, tensors, repeat=False).outputs
    (outcome,) = infer(model, tensors, [always, after(1, DIE), *[always] * 4], Ask(transport=transport))
    assert difference(outcome.outputs["logits"], reference["logits"]) <= TOLERANCE[transport]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_values_that_are_not_finite_are_not_mixed(model, value) -> None:
    tensors = picture()
    tensors["image"][0, 1, 5, 7] = value
    reference = HostKernels(threads=1).baseline(model, tensors, repeat=False).outputs
    seen: list[str] = []
    (outcome,) = infer(model, tensors, [always] * 4, Ask(), observe=lambda name, _: seen.append(name))
    np.testing.assert_array_equal(outcome.outputs["logits"], reference["logits"])
    assert seen == ["conv1", "conv2", "conv3"]
    assert "not finite" in next(row.reason for row in outcome.stages if row.name == "conv1")


@pytest.mark.parametrize("transport", ["f32", "f16"])
def test_sums_that_overflow_float32_come_out_as_they_do_in_onnx_runtime(model, transport) -> None:
    """Finite inputs near the largest float: the mixtures overflow, and so do the honest sums."""
    tensors = {"image": np.full((1, 3, 40, 40), 3e38, np.float32)}
    tensors["image"][:, :, ::3] = 1e30
    reference = HostKernels(threads=1).baseline(model, tensors, repeat=False).outputs
    behaviours = [always, after(1, DIE), *[always] * 4]
    (outcome,) = infer(model, tensors, behaviours, Ask(transport=transport))
    assert not np.isfinite(reference["logits"]).all()
    np.testing.assert_array_equal(outcome.outputs["logits"], reference["logits"])


def test_an_input_of_another_size_than_planned_is_computed_on_the_host(tmp_path) -> None:
    """The last defence against a graph whose sizes depend on values."""
    planned, larger = small_network(tmp_path, size=40), small_network(tmp_path, size=48)
    reference = HostKernels(threads=1).baseline(larger, picture(48), repeat=False).outputs
    (outcome,) = infer(planned, picture(40), [always] * 4, Ask(), feed=picture(48))
    assert difference(outcome.outputs["logits"], reference["logits"]) <= 1e-4
    reasons = {row.name: row.reason for row in outcome.stages}
    assert reasons["conv1"] == "its input is 1x3x48x48 where 1x3x40x40 was planned"
