from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.codes.registry import make_code, schemes
from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import Behind, ConvStage
from cocoi_cli.model.segments import find_segments, segment_between
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut
from cocoi_cli.planning.defaults import default_plan, gain_limit
from cocoi_cli.planning.loads import FINISH_PASSES
from cocoi_cli.planning.plan import ConvPlan, Plan, SegmentPlan
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.working import begin_work
from cocoi_cli.simulation.shapes import LocalShape, SharedShape, conv_shape
from cocoi_cli.simulation.waves import chain_shapes, stage_shapes, whole_model
from tests.runtime.small_network import small_network
from tests.simulation.networks import conv, vgg16


def planned(scheme: str, n: int, k: int, *, axis: int = 2, strips: int = 2, transport: str = "f16", filters: int = 1):
    return ConvPlan("conv", scheme, n, k, axis, strips, transport, "", filters=filters)


CASES = [
    planned("coded", 5, 3), planned("coded", 5, 3, transport="f32"), planned("coded", 4, 4, axis=3, strips=3),
    planned("uncoded", 4, 4), planned("replication", 6, 3), planned("hedged", 3, 1, strips=7),
    planned("cocoi", 5, 4, axis=3, strips=1, transport="f32"), planned("lt", 4, 6, strips=1),
    planned("fcdcc", 6, 4, strips=1, transport="f32", filters=4), planned("fcdcc", 6, 4, strips=1, filters=2),
]  # fmt: skip


@pytest.mark.parametrize("plan", CASES, ids=lambda plan: f"{plan.scheme}-{plan.axis}-{plan.strips}-{plan.filters}")
@pytest.mark.parametrize(("size", "stride", "kernel"), [(23, 1, 3), (31, 2, 5), (12, 1, 1)])
def test_bytes_are_those_of_the_arrays_that_are_really_sent(plan: ConvPlan, size: int, stride: int, kernel: int):
    layer = conv("conv", 6, 8, size, kernel, stride)
    weight = np.ones((8, 6, kernel, kernel), np.float32)
    stage = ConvStage("conv", "x", "y", layer.spec, weight, layer.input_shape, layer.output_shape, "float32")
    work = begin_work(stage, plan, np.ones(layer.input_shape, np.float32), Blocks())
    shape = conv_shape(layer, plan, 0)
    assert len(shape.strips) == work.strips
    for strip, sizes in enumerate(shape.strips):
        share = shape.code.pieces if shape.code.shares is None else 0
        assert sizes.bytes_out == work.share(strip, share).x.nbytes
        width = 2 if plan.transport == "f16" else 4
        assert sizes.bytes_in == math.prod(work.answer_shape(strip)) * width


def test_uncoded_pieces_compute_the_layer_and_its_padding():
    layer = conv("conv", 8, 8, 56)
    shape = conv_shape(layer, planned("uncoded", 7, 7, strips=4), 0)
    assert 7 * sum(sizes.macs for sizes in shape.strips) == layer.macs


def test_every_family_has_a_shape():
    layers = vgg16()[2:4]
    for scheme in schemes():
        plan = default_plan(layers, agents=10, scheme=scheme, n=None, k=None, transport="f16")
        shapes = [each for each in chain_shapes(layers, plan) if isinstance(each, SharedShape)]
        assert [shape.scheme for shape in shapes] == [scheme, scheme]
        assert all(sizes.bytes_out > 0 and sizes.bytes_in > 0 and sizes.macs > 0 for s in shapes for sizes in s.strips)


def test_mixtures_are_the_shares_that_are_no_pieces():
    shape = conv_shape(conv("conv", 8, 8, 40), planned("coded", 7, 5), 0)
    code = make_code("coded", 7, 5, gain_limit=gain_limit("f16"))
    assert shape.mixed == {share for share in range(7) if code.piece_of(share) is None} == {5, 6}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory):
    model = small_network(tmp_path_factory.mktemp("model"))
    return find_layers(model, resolve_input_shapes(model, {"image": (1, 3, 40, 40)}))


def test_stages_are_those_that_the_coordinator_runs(prepared):
    for chosen in (("conv1",), ("conv2",), ("conv1", "conv3"), ("conv1", "conv2", "conv3")):
        layers = tuple(
            ConvPlan(layer.name, "coded", 4, 3, 2, 1, "f16", "") if layer.name in chosen
            else ConvPlan(layer.name, "local", 0, 0, 0, 0, "f16", "")
            for layer in prepared.layers
        )  # fmt: skip
        plan = Plan("coded", 4, 3, "f16", layers)
        real = cut(prepared, plan.distributed).stages
        shapes = stage_shapes(prepared, plan)
        words = [shape.name if isinstance(shape, SharedShape) else "local" for shape in shapes]
        assert words == [stage.name if isinstance(stage, ConvStage) else "local" for stage in real]
        inside = [shape for shape in shapes if isinstance(shape, LocalShape)]
        wanted = sum(layer.macs for layer in prepared.layers if layer.name not in chosen)
        assert sum(part.macs for shape in inside for part in shape.slices) == wanted


def test_an_activation_is_paid_for_where_it_is_computed(prepared):
    """conv1 takes its ReLU along; the addition and the ReLU behind conv2 are the host's."""
    layers = tuple(ConvPlan(layer.name, "coded", 4, 3, 2, 1, "f16", "") for layer in prepared.layers)
    shapes = stage_shapes(prepared, Plan("coded", 4, 3, "f16", layers))
    joining = [sizes.joining for shape in shapes if isinstance(shape, SharedShape) for sizes in shape.strips[:1]]
    assert joining == [FINISH_PASSES[behind] for behind in (Behind.JOINED, Behind.HOST, Behind.NOTHING)]
    local = [shape.passes for shape in shapes if isinstance(shape, LocalShape)]
    assert local == [4 * 2 * 8 * 40 * 40, 4 * 5 * 20 * 20]


def test_a_chain_has_a_pass_only_behind_what_cannot_take_it_along():
    layers = [replace(conv(f"conv{at}", 8, 8, 56), behind=behind) for at, behind in enumerate(Behind)]
    plan = default_plan(layers, agents=5, scheme="coded", n=None, k=None, transport="f16")
    found = [(shape.name, getattr(shape, "passes", None)) for shape in chain_shapes(layers, plan)]
    assert found == [("conv0", None), ("conv1", None), ("conv2", None), ("after conv2", 2 * 4 * 8 * 56 * 56)]


def test_an_activation_inside_a_segment_is_not_taken_along(prepared):
    segment = segment_between(prepared, "c1", "r2")
    fused = SegmentPlan(segment.name, segment.layers, segment.input, segment.output, 5, 4, "f16", "")
    layers = tuple(
        ConvPlan(layer.name, "fused", 0, 0, 0, 0, "f16", "", segment=segment.name) if layer.name in segment.layers
        else ConvPlan(layer.name, "coded", 4, 3, 2, 1, "f16", "")
        for layer in prepared.layers
    )  # fmt: skip
    shapes = stage_shapes(prepared, Plan("auto", 4, 3, "f16", layers, (fused,)))
    assert [shape.name for shape in shapes if isinstance(shape, SharedShape)] == ["conv1", "conv2", "conv3"]


def test_the_whole_model_has_every_convolution_and_passes_for_the_rest(prepared):
    whole = whole_model(prepared)
    assert sum(part.macs for part in whole.slices) == sum(layer.macs for layer in prepared.layers)
    # Two ReLUs and an addition of 8 x 40 x 40, and a pooling of 5 x 20 x 20, in float32.
    assert whole.passes == 4 * (3 * 8 * 40 * 40 + 5 * 20 * 20)


def test_a_segment_is_one_stage_whose_tiles_do_its_work(prepared):
    segment = next(each for each in find_segments(prepared) if each.layers == ("conv1", "conv2"))
    fused = SegmentPlan(segment.name, segment.layers, segment.input, segment.output, 5, 4, "f16", "")
    layers = tuple(
        ConvPlan(layer.name, "fused" if layer.name in segment.layers else "local", 0, 0, 0, 0, "f16", "",
                 segment=segment.name if layer.name in segment.layers else "")
        for layer in prepared.layers
    )  # fmt: skip
    shapes = stage_shapes(prepared, Plan("auto", 4, 1, "f16", layers, (fused,)))
    (shared,) = [shape for shape in shapes if isinstance(shape, SharedShape)]
    cost = segment.cost(5)
    assert (shared.name, shared.kind, len(shared.strips)) == (segment.name, "fused", cost.tiles)
    assert sum(sizes.macs for sizes in shared.strips) == pytest.approx(cost.macs, rel=1e-4)
    assert sum(sizes.bytes_out for sizes in shared.strips) == pytest.approx(2 * cost.bytes_in_elems, rel=1e-3)
    assert shared.layer == 0
