"""Exactly the stage that rounds badly is raised, by exactly the step that it takes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import LoadedModel, Network
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import FUSED, ConvPlan, Plan, SegmentPlan
from cocoi_cli.runtime import rehearsal
from cocoi_cli.runtime.check import Tolerance
from cocoi_cli.runtime.host import NO_WEIGHTS, HostKernels
from cocoi_cli.runtime.plain_chain import MOST_BYTES
from cocoi_cli.runtime.preparing import Preparations
from cocoi_cli.runtime.rehearsal import further, histories, within_budget
from cocoi_cli.runtime.rungs import Rung, rung_of, stages_of

CHANNELS = 8
RNG = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def _same_weights_whatever_ran_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(1))


def conv(name: str, x: str, y: str, **attributes: object) -> NodeProto:
    return helper.make_node("Conv", [x, f"{name}_w"], [y], name=name, **attributes)


def weights(inputs: int = CHANNELS, outputs: int = CHANNELS, size: int = 3) -> np.ndarray:
    values = RNG.standard_normal((outputs, inputs, size, size)) / np.sqrt(inputs * size * size)
    return values.astype(np.float32)


def build(folder: Path, nodes: Sequence[NodeProto], constants: Mapping[str, np.ndarray]) -> LoadedModel:
    graph = helper.make_graph(
        list(nodes),
        "ladder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, CHANNELS, 24, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    folder.mkdir(exist_ok=True)
    path = folder / "ladder.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return load_model(path)


def normalised(x: str, y: str) -> NodeProto:
    return helper.make_node("InstanceNormalization", [x, "one", "zero"], [y], epsilon=1e-30)


def with_bad_shares(folder: Path) -> LoadedModel:
    """The input of `bad` is a small spread on a large offset, which float16 loses before anything is computed."""
    nodes = [
        conv("before", "x", "b"),
        helper.make_node("Add", ["b", "offset"], ["far"]),
        conv("bad", "far", "c"),
        normalised("c", "n"),
        conv("behind", "n", "y"),
    ]
    constants = {"before_w": weights(), "bad_w": weights(), "behind_w": weights(), "offset": np.float32([[[[300.0]]]])}
    return build(folder, nodes, constants | affine())


def with_bad_answers(folder: Path) -> LoadedModel:
    """A constant that float16 holds exactly reaches every sum of `bad`; answers in float16 lose what stands on it."""
    first = weights()
    first[0] = 0.0  # this channel is 0, and becomes the constant
    lift = np.zeros((1, CHANNELS, 1, 1), np.float32)
    lift[0, 0] = 1024.0
    second = weights()
    second[:, 0] = 0.0
    second[:, 0, 1, 1] = 1.0
    nodes = [
        conv("before", "x", "b"),
        helper.make_node("Add", ["b", "lift"], ["lifted"]),
        conv("bad", "lifted", "c"),
        normalised("c", "n"),
        conv("behind", "n", "y"),
    ]
    constants = {"before_w": first, "bad_w": second, "behind_w": weights(), "lift": lift}
    return build(folder, nodes, constants | affine())


def affine() -> dict[str, np.ndarray]:
    return {"one": np.ones(CHANNELS, np.float32), "zero": np.zeros(CHANNELS, np.float32)}


def tame(folder: Path) -> LoadedModel:
    nodes = [conv("before", "x", "b"), helper.make_node("Relu", ["b"], ["r"]), conv("bad", "r", "c"),
             helper.make_node("Relu", ["c"], ["s"]), conv("behind", "s", "y")]  # fmt: skip
    return build(folder, nodes, {f"{name}_w": weights() for name in ("before", "bad", "behind")})


def growing(folder: Path, factor: float) -> LoadedModel:
    """What `before` makes is enlarged so much."""
    nodes = [
        conv("before", "x", "b"),
        helper.make_node("Mul", ["b", "factor"], ["far"]),
        conv("bad", "far", "c"),
        conv("behind", "c", "y"),
    ]
    constants = {f"{name}_w": weights() for name in ("before", "bad", "behind")}
    return build(folder, nodes, constants | {"factor": np.float32([[[[factor]]]])})


class CountingKernels(HostKernels):
    """Counts multiply-accumulates of slices, and how often plans were cut."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.macs = 0

    def run_program(self, graph, feeds, outputs, weights=NO_WEIGHTS):
        results = super().run_program(graph, feeds, outputs, weights)
        if "w" in weights:
            self.macs += results[0].size * weights["w"][0].size
        return results


@dataclass
class Settled:
    plan: Plan
    rungs: dict[str, Rung]
    cuts: int
    work: float  # slices computed, in multiples of the network


def settle(
    model: LoadedModel,
    plan: Plan | None = None,
    *,
    scheme: str = "coded",
    asked: str = "f16",
    tolerance: float | None = None,
) -> Settled:
    kernels = CountingKernels()
    preparations = Preparations(kernels)
    x = np.random.default_rng(2).standard_normal((1, CHANNELS, 24, 24)).astype(np.float32)
    prepared = preparations.prepare(model, {"x": x.shape})
    if plan is None:
        k = 5 if scheme == "uncoded" else 3
        plan = default_plan(prepared.layers, agents=5, scheme=scheme, n=None, k=k, transport=asked)
    cuts = []

    async def cut_by(each: Plan) -> Network:
        cuts.append(each)
        return preparations.cut(each).network

    reference = kernels.baseline(model, {"x": x}, repeat=False).outputs
    found = asyncio.run(within_budget(plan, Tolerance(asked, tolerance), cut_by, kernels, {"x": x}, reference))
    rungs = {name: rung_of(stage) for name, stage in stages_of(found).items()}
    macs = sum(layer.macs for layer in prepared.layers)
    return Settled(found, rungs, len(cuts), kernels.macs / macs)


@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication"])
def test_a_tame_network_keeps_float16(tmp_path, scheme) -> None:
    settled = settle(tame(tmp_path), scheme=scheme)
    assert set(settled.rungs.values()) == {Rung.HALF}


@pytest.mark.parametrize("scheme", ["coded", "uncoded"])
def test_only_the_stage_with_bad_shares_goes_to_float32(tmp_path, scheme) -> None:
    settled = settle(with_bad_shares(tmp_path), scheme=scheme)
    found = Rung.SINGLE if scheme == "coded" else Rung.UNCODED
    assert settled.rungs == {"before": Rung.HALF, "bad": found, "behind": Rung.HALF}
    reasons = {layer.layer: layer.reason for layer in settled.plan.layers}
    assert "; float32, as float16 would err by" in reasons["bad"]
    assert "err" not in reasons["before"] + reasons["behind"]
    assert settled.cuts == 1  # what travels makes no other network


@pytest.mark.parametrize("scheme", ["coded", "uncoded"])
def test_only_the_answers_of_the_stage_with_bad_answers_go_to_float32(tmp_path, scheme) -> None:
    settled = settle(with_bad_answers(tmp_path), scheme=scheme)
    assert settled.rungs == {"before": Rung.HALF, "bad": Rung.WIDE_ANSWERS, "behind": Rung.HALF}
    (bad,) = (layer for layer in settled.plan.layers if layer.layer == "bad")
    assert (bad.transport, bad.reply) == ("f16", "f32")
    assert "; float32 answers, as float16 would err by" in bad.reason


def test_what_float32_loses_too_is_kept_here_alone(tmp_path) -> None:
    settled = settle(with_bad_shares(tmp_path), asked="f32")
    assert settled.rungs == {"before": Rung.SINGLE, "behind": Rung.SINGLE}
    (bad,) = (layer for layer in settled.plan.layers if layer.layer == "bad")
    assert bad.scheme == "local"
    assert "kept here: even float32 would err by" in bad.reason


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize("look_into", [False, True])
def test_what_only_decoding_loses_stays_on_agents_without_a_code(tmp_path, monkeypatch, heavy, look_into) -> None:
    """Float32 with the worst loss errs by several times what it errs by without a code; the limit lies between."""
    if heavy:
        monkeypatch.setattr(rehearsal, "HEAVY_MACS", 0.0)
    if not look_into:
        monkeypatch.setattr(rehearsal, "MOST_BLAMED", 0)
    model, code = with_bad_shares(tmp_path), {"scheme": "coded", "asked": "f32"}
    asked = settle(model, **code, tolerance=1.0).plan  # nothing is too bad for this one
    limit = 3e-4
    assert settle(model, asked, asked="f32", tolerance=limit).rungs.get("bad") is None
    settled = settle(model, replace(asked, scheme="auto"), asked="f32", tolerance=limit)
    assert settled.rungs["bad"] is Rung.UNCODED
    (bad,) = (layer for layer in settled.plan.layers if layer.layer == "bad")
    assert (bad.scheme, bad.k) == ("hedged", 1)
    assert "; float32 without a code, as it would err by" in bad.reason
    assert settled.cuts == 1


def test_a_settled_plan_stays_as_it_is(tmp_path) -> None:
    model = with_bad_shares(tmp_path)
    settled = settle(model)
    assert settle(model, settled.plan).plan == settled.plan


def test_a_plan_without_agents_is_not_rehearsed(tmp_path) -> None:
    settled = settle(tame(tmp_path), scheme="local")
    assert settled.plan.is_local
    assert settled.cuts == 0


def test_a_heavy_network_is_settled_in_a_few_runs(tmp_path, monkeypatch) -> None:
    """The plain chain, one history, an eighth of it to find the culprit, and one history more."""
    monkeypatch.setattr(rehearsal, "HEAVY_MACS", 0.0)
    calm = settle(tame(tmp_path))
    assert set(calm.rungs.values()) == {Rung.HALF}
    assert calm.work <= 2.6
    bad = settle(with_bad_shares(tmp_path))
    assert bad.rungs["bad"] is Rung.SINGLE
    assert bad.work <= 4.5  # 22 rows in strips of 3 pieces: padding counts for a fifth
    assert bad.work > calm.work


def test_a_network_too_large_to_be_looked_into_is_raised_as_a_whole(tmp_path, monkeypatch) -> None:
    assert MOST_BYTES > 0
    monkeypatch.setattr("cocoi_cli.runtime.plain_chain.MOST_BYTES", 0)
    assert set(settle(with_bad_shares(tmp_path)).rungs.values()) == {Rung.SINGLE}
    assert set(settle(tame(tmp_path)).rungs.values()) == {Rung.HALF}


def test_a_network_of_very_many_stages_is_raised_as_a_whole(tmp_path, monkeypatch) -> None:
    """Who is to blame takes too long to find out: hundreds of stages took minutes, on the event loop at that."""
    monkeypatch.setattr(rehearsal, "MOST_BLAMED", 2)
    settled = settle(with_bad_shares(tmp_path))
    assert {rung_of(stage) for stage in stages_of(settled.plan).values()} == {Rung.SINGLE}


def with_segment(model: LoadedModel, plan: Plan, layers: tuple[str, ...]) -> Plan:
    """The plan with these layers computed as one segment in three tiles."""
    preparations = Preparations(HostKernels(threads=1))
    preparations.prepare(model, {"x": (1, CHANNELS, 24, 24)})
    (segment, *_) = (each for each in preparations.segments() if each.layers == layers)
    decided = SegmentPlan(segment.name, layers, segment.input, segment.output, 3, 4, "f16", "in tiles")
    inside = [
        ConvPlan(layer.layer, FUSED, 0, 0, 0, 0, "f16", "in tiles", segment=segment.name)
        if layer.layer in layers
        else layer
        for layer in plan.layers
    ]
    return replace(plan, layers=tuple(inside), segments=(decided,))


def test_segments_climb_the_same_ladder(tmp_path) -> None:
    model = with_bad_shares(tmp_path)
    plan = with_segment(model, settle(model).plan, ("bad",))
    (name,) = (segment.name for segment in plan.segments)
    settled = settle(model, plan)
    assert settled.rungs == {"before": Rung.HALF, name: Rung.UNCODED, "behind": Rung.HALF}
    assert "float32, as float16 would err by" in settled.plan.segments[0].reason
    calm = tame(tmp_path)
    plan = with_segment(calm, settle(calm).plan, ("before", "bad"))
    assert set(settle(calm, plan).rungs.values()) == {Rung.HALF}


@pytest.mark.parametrize("heavy", [False, True])
def test_what_cannot_be_sent_is_kept_here_from_the_start(tmp_path, monkeypatch, heavy) -> None:
    """Infinities come of the model's own constants; what is computed here anyway need not be cut into stages."""
    if heavy:
        monkeypatch.setattr(rehearsal, "HEAVY_MACS", 0.0)
    settled = settle(growing(tmp_path, np.inf))
    assert settled.rungs == {"before": Rung.HALF}
    reasons = {layer.layer: layer.reason for layer in settled.plan.layers}
    assert {reasons["bad"], reasons["behind"]} == {"kept here: its input is not finite, or not of the planned size"}


def test_tiles_that_float16_does_not_hold_travel_in_float32(tmp_path) -> None:
    """A tile cannot be scaled, as its biases lie inside; a conv stage by itself can."""
    model = growing(tmp_path, 1e6)
    whole = settle(model)
    assert set(whole.rungs.values()) == {Rung.HALF}
    plan = with_segment(model, whole.plan, ("bad", "behind"))
    (name,) = (segment.name for segment in plan.segments)
    settled = settle(model, plan)
    assert settled.rungs == {"before": Rung.HALF, name: Rung.UNCODED}
    assert settled.plan.segments[0].reason == "in tiles; float32, as float16 does not hold its input"


def test_a_tolerance_of_ones_own_decides_how_high_they_climb(tmp_path) -> None:
    bad, calm = with_bad_shares(tmp_path / "bad"), tame(tmp_path / "calm")
    assert settle(bad, asked="f32", tolerance=1e-2).rungs["bad"] is Rung.SINGLE  # 1e-4 keeps it here
    assert Rung.SINGLE in settle(calm, tolerance=1e-5).rungs.values()  # 1e-2 leaves all in float16
    assert settle(calm, tolerance=1e-9).plan.is_local


def layer(name: str, n: int, k: int, scheme: str = "coded", *, host: bool = False) -> ConvPlan:
    return ConvPlan(name, scheme, n, k, 2, 1, "f16", "", host=host)


def network_of(model: LoadedModel) -> Network:
    preparations = Preparations(HostKernels(threads=1))
    prepared = preparations.prepare(model, {"x": (1, CHANNELS, 24, 24)})
    plan = default_plan(prepared.layers, agents=3, scheme="local", n=None, k=None, transport="f16")
    return preparations.cut(plan).network


def test_the_histories_hold_the_worst_loss_of_every_code_none_and_one_between(tmp_path) -> None:
    network = network_of(tame(tmp_path))
    plan = Plan("coded", 6, 4, "f16", (layer("before", 6, 4), layer("bad", 6, 3), layer("behind", 6, 6, "uncoded")))
    found = histories(plan, network, heavy=False)
    sizes = [len(lost) for lost in found]
    assert 2 in sizes
    assert 3 in sizes
    assert frozenset() in found
    assert len(set(found)) == len(found)
    assert len(histories(plan, network, heavy=True)) == 1
    more = further(plan, found)
    assert not set(more) & set(found)
    assert len(found) + len(more) >= 6
    alone = Plan("uncoded", 6, 6, "f16", (layer("before", 6, 6, "uncoded"),))
    assert histories(alone, network, heavy=False) == [frozenset()]


def test_the_host_is_never_lost(tmp_path) -> None:
    network = network_of(tame(tmp_path))
    plan = Plan("coded", 5, 3, "f16", (layer("before", 5, 3, host=True),))
    found = histories(plan, network, heavy=False)
    assert all(lost <= set(range(4)) for lost in (*found, *further(plan, found)))


@pytest.mark.parametrize("scheme", ["coded", "cocoi", "lt", "replication"])
@pytest.mark.parametrize("host", [False, True])
def test_every_code_can_be_rehearsed_with_and_without_the_host(tmp_path, scheme, host) -> None:
    model = with_bad_shares(tmp_path)
    layers = tuple(layer(name, 5, 3, scheme, host=host) for name in ("before", "bad", "behind"))
    settled = settle(model, Plan(scheme, 5, 3, "f16", layers))
    assert settled.rungs.get("bad", Rung.HOST) >= Rung.SINGLE
    assert settled.rungs["behind"] < Rung.HOST


def test_filter_codes_can_be_rehearsed(tmp_path) -> None:
    layers = tuple(replace(layer(name, 5, 4, "fcdcc"), filters=2) for name in ("before", "bad", "behind"))
    settled = settle(with_bad_shares(tmp_path), Plan("fcdcc", 5, 4, "f16", layers))
    assert settled.rungs.get("bad", Rung.HOST) >= Rung.SINGLE
