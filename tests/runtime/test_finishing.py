"""Bias and activation in the join: every code family, answers in random order, and sums that stay raw until the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from cocoi_cli.codes.registry import schemes
from cocoi_cli.model.finish import Activation
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import ConvStage, LoadedModel, Network
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.inner_link import InnerLink
from cocoi_cli.runtime.loading import loading_of, stage_programs
from cocoi_cli.runtime.plain_chain import run_chain
from cocoi_cli.runtime.work import StageWork, compute_convolution
from tests.model.reference_run import relative_difference
from tests.runtime.conv_works import (
    GROUPED,
    KERNELS,
    SHAPES,
    answer,
    begin,
    conv_stage,
    plainly,
    plan_of,
)
from tests.runtime.small_planned import input_of, planned_network

ACTIVATIONS = {
    "none": None,
    "relu": Activation(lowest=0.0),
    "relu6": Activation(lowest=0.0, highest=6.0),
    "leaky": Activation(slope=0.125),
}
MORE_SHAPES = {
    **SHAPES,
    "grouped": GROUPED,
    "1-D": (3, 1, 1, (1, 1), (1, 4, 23), 6, 1),
    "3-D": (3, 1, 1, (1, 1, 1, 1, 1, 1), (1, 2, 9, 5, 6), 4, 1),
}
PLANS = {
    "coded": {"n": 6, "k": 4, "strips": 3},
    "coded, one spare": {"scheme": "coded", "n": 4, "k": 3, "strips": 2},
    "uncoded": {"n": 4, "k": 4, "strips": 2},
    "replication": {"n": 6, "k": 3, "strips": 2},
    "hedged": {"n": 3, "k": 1, "strips": 5},
    "cocoi": {"n": 5, "k": 3},
    "lt": {"n": 4, "k": 6},
    "fcdcc": {"n": 5, "k": 3, "filters": 2},
    "fcdcc, more groups than fit": {"scheme": "fcdcc", "n": 6, "k": 4, "filters": 4},
}


def planned(name: str, transport: str = "f32"):
    fields = dict(PLANS[name])
    return plan_of(fields.pop("scheme", name), **fields, transport=transport)


def in_random_order(work: StageWork, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Every share of every strip, those of different strips in between each other."""
    count = work.code.shares or work.code.pieces + 40
    shares = [(strip, share) for strip in range(work.strips) for share in range(count)]
    for at in rng.permutation(len(shares)):
        yield shares[at]


def drive(work: StageWork, seed: int, lost: float = 0.0) -> np.ndarray:
    """Answer in random order, decode each strip as soon as that is possible, and let the host add what is missing."""
    rng = np.random.default_rng(seed)
    have: dict[int, list[int]] = {strip: [] for strip in range(work.strips)}
    open_strips = set(have)
    for strip, share in in_random_order(work, rng):
        if strip not in open_strips or rng.random() < lost:
            continue
        work.accept(strip, share, *answer(work, strip, share))
        have[strip].append(share)
        if work.code.ready(set(have[strip])):
            work.decode(strip, have[strip], KERNELS)
            open_strips.discard(strip)
    for strip in sorted(open_strips):
        added = work.code.completing(set(have[strip]))
        for share, sums in zip(added, work.convolve(KERNELS, strip, added), strict=True):
            work.accept(strip, share, sums, 1.0)
        work.decode(strip, [*have[strip], *added], KERNELS)
    return work.hand_over()


def assert_right(found: np.ndarray, stage: ConvStage, x: np.ndarray, tolerance: float = 1e-4) -> None:
    """No activation enlarges an error, so what counts is the error of the sums."""
    expected = plainly(stage, x)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance * np.abs(plainly(stage.bare, x)).max()


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", PLANS)
def test_every_family_finishes_what_it_joins_whatever_the_order(name: str, bias: bool, activation: str) -> None:
    stage, x, _ = conv_stage(SHAPES["same 3x3"], 2, ACTIVATIONS[activation], bias=bias)
    for seed in range(6):
        work = begin(stage, planned(name), x)
        tolerance = 1e-3 if name == "cocoi" else 1e-4  # powers of integers decode with so much noise
        assert_right(drive(work, seed, lost=0.3 if seed % 2 else 0.0), stage, x, tolerance)


@pytest.mark.parametrize("shape", MORE_SHAPES)
@pytest.mark.parametrize("name", ["coded", "lt", "fcdcc"])
def test_every_shape_is_finished(name: str, shape: str) -> None:
    stage, x, _ = conv_stage(MORE_SHAPES[shape], 3, ACTIVATIONS["relu"], bias=True)
    plan = planned(name)
    if stage.spec.group > 1 and name == "fcdcc":
        plan = plan_of("fcdcc", 5, 3)
    assert_right(drive(begin(stage, plan, x), 7, lost=0.2), stage, x)


@pytest.mark.parametrize("name", PLANS)
def test_half_precision_is_finished_after_decoding(name: str) -> None:
    stage, x, _ = conv_stage(SHAPES["same 3x3"], 4, ACTIVATIONS["relu"], bias=True)
    assert_right(drive(begin(stage, planned(name, "f16"), x), 3), stage, x, 2e-2)


@pytest.mark.parametrize("name", PLANS)
def test_a_finished_stage_is_the_raw_one_finished_at_the_end(name: str) -> None:
    """To the last bit: the same sums are decoded, whatever becomes of them in the output."""
    stage, x, _ = conv_stage(SHAPES["uneven pads, stride 2"], 5, ACTIVATIONS["relu6"], bias=True)
    for seed in range(4):
        raw = drive(begin(stage.bare, planned(name), x), seed, lost=0.2)
        found = drive(begin(stage, planned(name), x), seed, lost=0.2)
        assert np.array_equal(found, stage.finish.of(raw))


@pytest.mark.parametrize("name", PLANS)
def test_shares_of_agents_and_of_the_host_are_raw(name: str) -> None:
    """What is compared when answers are verified knows nothing of bias and activation."""
    stage, x, _ = conv_stage(SHAPES["same 3x3"], 6, ACTIVATIONS["relu"], bias=True)
    work, bare = begin(stage, planned(name), x), begin(stage.bare, planned(name), x)
    assert work.magnitude == bare.magnitude
    for share in range(min(work.code.shares or 8, 6)):
        assert np.array_equal(answer(work, 0, share)[0], answer(bare, 0, share)[0])
        (found,), (wanted,) = work.convolve(KERNELS, 0, [share]), bare.convolve(KERNELS, 0, [share])
        assert np.array_equal(found, wanted)
    finished, raw = stage_programs(stage, work.plan), stage_programs(stage.bare, work.plan)
    assert [source.graph for source in finished] == [source.graph for source in raw]


def test_answers_that_were_joined_finished_are_decoded_from_raw() -> None:
    """Every data share but one has been written with its bias when the last piece is decoded from them."""
    stage, x, _ = conv_stage(SHAPES["pointwise"], 7, ACTIVATIONS["relu"], bias=True)
    for missing in range(4):
        work = begin(stage, plan_of("coded", 5, 4), x)
        order = [share for share in range(4) if share != missing] + [4]
        for share in order:
            work.accept(0, share, *answer(work, 0, share))
        assert work.decode(0, order, KERNELS)
        assert_right(work.hand_over(), stage, x)


def test_an_answer_beyond_those_that_are_decoded_from_is_not_finished_twice() -> None:
    """A data share is joined when it comes and overwritten when others than it are decoded from."""
    stage, x, _ = conv_stage(SHAPES["same 3x3"], 8, ACTIVATIONS["leaky"], bias=True)
    work = begin(stage, plan_of("coded", 6, 4), x)
    for share in (0, 5, 2, 4, 3):
        work.accept(0, share, *answer(work, 0, share))
    assert work.decode(0, (5, 2, 4, 3), KERNELS)
    assert_right(work.hand_over(), stage, x)


@pytest.mark.parametrize("activation", ["none", "relu", "relu6", "leaky"])
@pytest.mark.parametrize("shape", ["same 3x3", "1-D", "3-D", "grouped"])
def test_the_host_finishes_what_it_computes_whole(shape: str, activation: str) -> None:
    """An input that is not finite, or of another size than planned: as ONNX Runtime, NaN and infinities included."""
    stage, x, _ = conv_stage(MORE_SHAPES[shape], 9, ACTIVATIONS[activation], bias=True)
    strange = x.copy()
    strange.reshape(-1)[[3, 40, 77]] = [np.nan, np.inf, -np.inf]
    work = begin(stage, plan_of("coded", 5, 3), strange)
    assert not work.is_sendable
    larger = np.concatenate([x, x], axis=2)
    for given, found in ((strange, work.whole(KERNELS)), (larger, compute_convolution(stage, larger, KERNELS))):
        assert relative_difference(found, plainly(stage, given)) <= 1e-4


@pytest.mark.parametrize("name", ["coded", "lt", "fcdcc"])
@pytest.mark.parametrize("seed", range(3))
def test_sums_that_overflow_are_finished_too(name: str, seed: int) -> None:
    """An infinity may come of a convolution of finite numbers; what is decoded to NaN is computed on the host."""
    stage, x, _ = conv_stage(SHAPES["pointwise"], 10, ACTIVATIONS["relu"], bias=True)
    x = np.full_like(x, 3e38)
    stage.weight[...] = np.float32([1, -1, 0.1, -0.1, 0.01, 0, -2]).reshape(-1, 1, 1, 1)
    with np.errstate(over="ignore", invalid="ignore"):
        found = drive(begin(stage, planned(name), x), seed)
    expected = plainly(stage, x)
    assert np.isposinf(expected).any()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e33)


# --- whole inferences --------------------------------------------------------------------------


class Shuffled(InnerLink):
    """An agent whose answers are overtaken by those of others."""

    luck = np.random.default_rng(0)

    def _deliver(self, answer, tensors) -> None:
        if self.luck.random() < 0.7:
            asyncio.get_running_loop().call_soon(self._deliver, answer, tensors)
        else:
            super()._deliver(answer, tensors)


def infer_in_turn(
    model: LoadedModel, inputs: list[dict[str, np.ndarray]], plan_of_layers, *, observe=None, verify: int = 0
) -> tuple[Network, list[Outcome]]:
    """One inference after another, on one coordinator that uses its memory again."""

    async def main() -> tuple[Network, list[Outcome]]:
        kernels = HostKernels(threads=1)
        coordinator = Coordinator(kernels)
        links = [Shuffled(f"a{at}", coordinator, kernels) for at in range(6)]
        coordinator.attach(links)
        prepared = find_layers(model, {name: array.shape for name, array in inputs[0].items()})
        plan = plan_of_layers(prepared.layers)
        network = cut(prepared, plan.distributed)
        programs = loading_of(network, plan).stages
        for link in links:
            link.load(network, plan, programs)
        outcomes = []
        for tensors in inputs:
            job = Job(
                network=network, plan=plan, programs=programs, tensors=tensors, deadline_s=60.0, observe=observe,
                verify=verify,
            )  # fmt: skip
            outcomes.append(await coordinator.run(job))
        coordinator.close()
        return network, outcomes

    return asyncio.run(main())


def by_rule(scheme: str, transport: str = "f32"):
    return lambda layers: default_plan(layers, agents=6, scheme=scheme, n=6, k=None, transport=transport)


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return planned_network(tmp_path_factory.mktemp("vgg"), "vgg")


@pytest.mark.parametrize("scheme", [*schemes()])
@pytest.mark.parametrize("transport", ["f32", "f16"])
def test_stages_that_feed_each_other_do_not_spoil_each_others_memory(vgg, scheme, transport) -> None:
    """The output of one stage is the input of the next, and then memory for the one after it."""
    inputs = [input_of(seed) for seed in range(4)]
    network, outcomes = infer_in_turn(vgg, inputs, by_rule(scheme, transport))
    assert [type(stage) for stage in network.stages[:2]] == [ConvStage, ConvStage]
    for tensors, outcome in zip(inputs, outcomes, strict=True):
        expected = dict(KERNELS.baseline(vgg, tensors, repeat=False).outputs)["logits"]
        assert difference(outcome.outputs["logits"], expected) <= {"f32": 1e-4, "f16": 1e-2}[transport]
        assert outcome.warnings == ()


def test_whoever_observes_sees_raw_sums_and_changes_nothing(vgg) -> None:
    seen: dict[str, np.ndarray] = {}
    network, (watched,) = infer_in_turn(vgg, [input_of()], by_rule("uncoded"), observe=seen.__setitem__)
    _, (plain,) = infer_in_turn(vgg, [input_of()], by_rule("uncoded"))
    assert np.array_equal(watched.outputs["logits"], plain.outputs["logits"])
    chain = run_chain(network, KERNELS, input_of())
    assert set(seen) == set(chain.results)
    for name, sums in seen.items():
        assert sums.min() < 0
        assert difference(sums, chain.results[name]) <= 1e-5
    assert difference(chain.outputs["logits"], plain.outputs["logits"]) <= 1e-5


def test_finished_outputs_pass_verification(vgg) -> None:
    """Spare answers are raw, and so must be what they are held against."""
    for scheme in ("coded", "replication", "lt", "fcdcc"):
        _, (outcome,) = infer_in_turn(vgg, [input_of()], by_rule(scheme), verify=1)
        assert outcome.verification is not None
        assert outcome.verification.codewords > 0
        assert (outcome.verification.inconsistent, outcome.verification.suspects) == (0, {})
