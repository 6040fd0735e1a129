from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import onnx
import pytest

from cocoi_cli.model.contraction import LayerInSegmentError, OverlappingSegmentsError
from cocoi_cli.model.load import load_model
from cocoi_cli.model.network import ConvStage, FusedStage
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.segments import find_segments, segment_between
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut, find_layers
from cocoi_cli.model.tiles import fuse
from cocoi_cli.runtime.magnitudes import fits_float16, peak
from tests.model.built import prepare_built, tensors_of
from tests.model.graphs import distributable, make, node, prepare, random_arrays, weights
from tests.model.reference_run import relative_difference, run_fused, run_network
from tests.model.test_shared_models import seeded_inputs

TILES = (1, 2, 3, 5, 7, 20)
W = weights(4, 4, 3, 3, seed=1)
X = {"x": (1, 4, 12, 9)}
SAME = {"pads": [1, 1, 1, 1]}


def inputs_of(prepared, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in prepared.input_shapes.items()}


def assert_tiles_agree(prepared, segments, inputs, tiles, *, tolerance=1e-5):
    """Every segment in several numbers of tiles equals plain ONNX Runtime; `tiles` gives the numbers for each."""
    tensors = tensors_of(prepared, inputs, [name for item in segments for name in (item.input, item.output)])
    for segment, counts in zip(segments, tiles, strict=False):
        x, y = tensors[segment.input], tensors[segment.output]
        for count in counts:
            stage = fuse(prepared, segment, count, "f32", "f32")
            assert len(stage.tiles) == min(count, y.shape[2])
            assert relative_difference(run_fused(stage, x), y) <= tolerance, (segment.name, count)
        if not fits_float16(peak(x)):
            continue  # the host would compute it
        half = fuse(prepared, segment, counts[-1], "f16", "f16")
        assert relative_difference(run_fused(half, x), y) <= 1e-2, segment.name


# --- whole networks ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "step"), [("vgg16", 45, 2), ("resnet18", 51, 1), ("superres", 23, 1), ("resnet50", 33, 5)]
)
def test_segments_of_built_networks(tmp_path, name, size, step):
    prepared = prepare_built(tmp_path, name, size)
    segments = find_segments(prepared)[::step]
    picked = itertools.cycle([(1, 5), (2, 7), (3, 20)])
    assert_tiles_agree(prepared, segments, inputs_of(prepared), picked)


def test_segments_of_vgg_in_every_number_of_tiles(tmp_path):
    prepared = prepare_built(tmp_path, "vgg16", 37)
    segments = [item for item in find_segments(prepared) if item.input == "image"]
    assert_tiles_agree(prepared, segments, inputs_of(prepared), itertools.repeat(TILES))


SHARED = {
    "cifar10_imageclassifier": 1,
    "espnet_p2q3_cityscapes": 3,
    "fmnist_vgg": 1,
    "kws_dscnn_49x10": 3,
    "light_bvlc_alexnet": 3,
    "light_inception_v1": 8,
    "mnist_cntk": 1,
    "mobilenetv1_0.5_160_fp32": 11,
    "resnet20_cifar10": 1,
    "resnet8_cifar10": 1,
    "squeezenet1.1_fp32": 11,
    "style_candy_std_dynamic": 4,
    "ultraface_slim_320": 9,
}


@pytest.mark.shared
@pytest.mark.parametrize("name", SHARED)
def test_segments_of_shared_models(shared, name):
    path = shared / "data" / "models" / f"{name}.onnx"
    described = json.loads((shared / "data" / "expected.json").read_text())[path.name]["inputs"]
    model = load_model(path)
    inputs = seeded_inputs(described)
    prepared = find_layers(model, resolve_input_shapes(model, {key: array.shape for key, array in inputs.items()}))
    segments = find_segments(prepared)[:: SHARED[name]]
    assert len(segments) > 2
    picked = itertools.cycle([TILES] if SHARED[name] == 1 else [(1, 5), (2, 7), (3, 20)])
    # Equal weights and growing values: the order of a sum is seen more than elsewhere.
    tolerance = 3e-5 if name == "light_inception_v1" else 1e-5
    assert_tiles_agree(prepared, segments, inputs, picked, tolerance=tolerance)


# --- programs --------------------------------------------------------------------------------


def conv(x, y, **attributes):
    return node("Conv", [x, "w"], [y], name=f"conv_{y}", **{**SAME, **attributes})


CHAIN = [conv("x", "a"), node("Relu", ["a"], ["b"]), conv("b", "c"), node("Relu", ["c"], ["y"])]


def chain(tmp_path, rows=24, nodes=CHAIN):
    proto = make(nodes, {"x": (1, 4, rows, 9)}, ["y"], {"w": W})
    return prepare(tmp_path, proto, random_arrays(proto))


def test_tiles_inside_the_picture_share_a_program(tmp_path):
    prepared = chain(tmp_path)
    stage = fuse(prepared, segment_between(prepared, "x", "y"), 7, "f16", "f16")
    assert [tile.program for tile in stage.tiles] == [0, 1, 1, 1, 1, 1, 2]
    assert len(stage.programs) == len(stage.host_programs) == len({*stage.programs, *stage.host_programs}) / 2 == 3
    assert {tile.stop - tile.start for tile in stage.tiles} == {3, 4}
    assert [(tile.first, tile.last) for tile in stage.tiles[:2]] == [(0, 5), (1, 8)]
    one_row = fuse(prepared, segment_between(prepared, "x", "y"), 99, "f16", "f16")
    assert len(one_row.tiles) == 24
    assert len(one_row.programs) == 5  # the second row's halo still meets the border


def test_equal_segments_have_equal_programs(tmp_path):
    nodes = [conv("x", "a"), node("Relu", ["a"], ["b"]), conv("b", "c"), node("Relu", ["c"], ["y"])]
    prepared = chain(tmp_path, nodes=nodes)
    first, second = (
        fuse(prepared, segment_between(prepared, *ends), 4, "f16", "f16") for ends in (("x", "b"), ("b", "y"))
    )
    assert first.programs == second.programs
    assert first.whole == second.whole


def test_the_types_that_travel_decide_inputs_and_outputs(tmp_path):
    prepared = chain(tmp_path)
    segment = segment_between(prepared, "x", "y")

    def ports(program):
        graph = onnx.load_from_string(program).graph
        kinds = {1: "f32", 10: "f16"}
        return (
            [(item.name, kinds[item.type.tensor_type.elem_type]) for item in graph.input],
            [(item.name, kinds[item.type.tensor_type.elem_type]) for item in graph.output],
        )

    for transport, reply in itertools.product(("f16", "f32"), repeat=2):
        stage = fuse(prepared, segment, 3, transport, reply)
        outputs = [("y16", "f16"), ("y32", "f32")] if reply == "f16" else [("y32", "f32")]
        assert ports(stage.programs[1]) == ([("x", transport), ("w0", "f32")], outputs)
        assert ports(stage.host_programs[1]) == ([("x", "f32"), ("w0", "f32")], [("y32", "f32")])
    assert list(stage.weights) == ["w0"]
    assert np.array_equal(stage.weights["w0"], W)
    for wrong in (("f8", "f16"), ("f16", "")):
        with pytest.raises(ValueError, match="neither"):
            fuse(prepared, segment, 3, *wrong)
    with pytest.raises(ValueError, match="0 tiles"):
        fuse(prepared, segment, 0, "f16", "f16")


# --- cutting -----------------------------------------------------------------------------------


def fused(prepared, *ends, tiles=3, transport="f32"):
    return [fuse(prepared, segment_between(prepared, *pair), tiles, transport, transport) for pair in ends]


def kinds(network):
    words = {ConvStage: "conv", FusedStage: "fused"}
    return [words.get(type(stage), "local") for stage in network.stages]


def assert_network_agrees(prepared, network, inputs, tolerance=1e-5):
    assert {name for stage in network.stages for name in getattr(stage, "layers", (stage.name,))} == {
        layer.name for layer in prepared.layers
    }
    reference = open_session(prepared.model.path).run(None, inputs)
    found = run_network(network, inputs, pieces=3, strips=2)
    for item, expected in zip(prepared.model.outputs, reference, strict=True):
        assert relative_difference(found[item.name], expected) <= tolerance, item.name


@pytest.mark.parametrize(
    ("name", "size", "ends"),
    [
        ("vgg16", 40, [("image", "pool1"), ("pool1", "pool2")]),
        ("vgg16", 40, [("image", "pool2"), ("relu3_1", "pool3"), ("pool4", "pool5")]),
        (
            "resnet18",
            50,
            [("image", "pool1"), ("pool1", "group1.block1.relu"), ("group2.block1.relu", "group2.block2.relu")],
        ),
        (
            "resnet18",
            50,
            [("group1.block2.relu", "group2.block1.relu"), ("group2.block2.relu1", "group2.block2.norm2")],
        ),
        ("superres", 21, [("image", "relu2"), ("relu4", "relu6")]),
    ],
)
def test_segments_and_single_convolutions_together(tmp_path, name, size, ends):
    prepared = prepare_built(tmp_path, name, size)
    inputs = inputs_of(prepared)
    segments = fused(prepared, *ends)
    inside = {layer for segment in segments for layer in segment.layers}
    others = [layer for layer in distributable(prepared) if layer not in inside]
    for distributed in (others[::2], others):
        network = cut(prepared, distributed, segments)
        assert kinds(network).count("fused") == len(segments)
        assert kinds(network).count("conv") == len(distributed)
        assert_network_agrees(prepared, network, inputs)
    assert_network_agrees(prepared, cut(prepared, [], fused(prepared, *ends, transport="f16")), inputs, 1e-2)


def test_everything_in_one_segment(tmp_path):
    prepared = chain(tmp_path)
    network = cut(prepared, [], fused(prepared, ("x", "y")))
    assert kinds(network) == ["fused"]
    assert network.stages[0].name == "conv_a..conv_c"
    assert_network_agrees(prepared, network, inputs_of(prepared))


def test_a_segment_between_two_distributed_convolutions(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "bias"], ["a"], name="first", **SAME),
        node("Conv", ["a", "w", "bias"], ["b"], name="second", **SAME),
        node("Relu", ["b"], ["c"]),
        node("Conv", ["c", "w", "bias"], ["y"], name="third", **SAME),
    ]
    proto = make(nodes, X, ["y"], {"w": W, "bias": np.float32([1, -1, 2, 0])})
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    network = cut(prepared, ["first", "third"], fused(prepared, ("a", "c")))
    assert kinds(network) == ["conv", "fused", "conv"]
    assert network.last_use == {"x": 0, "a": 1, "c": 2}
    assert_network_agrees(prepared, network, inputs_of(prepared))


def test_branches_beside_a_segment_and_tensors_read_twice(tmp_path):
    nodes = [
        conv("x", "a"),
        conv("a", "b"),
        node("Sigmoid", ["b"], ["c"]),
        node("GlobalAveragePool", ["a"], ["mean"]),
        node("Mul", ["c", "mean"], ["m"]),
        conv("x", "d"),
        node("Add", ["m", "d"], ["y"]),
    ]
    proto = make(nodes, X, ["y", "c"], {"w": W})
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    for distributed in ([], ["conv_d"], ["conv_a", "conv_d"]):
        network = cut(prepared, distributed, fused(prepared, ("a", "c")))
        assert_network_agrees(prepared, network, inputs_of(prepared))


def test_constants_that_only_a_segment_needs_are_gone(tmp_path):
    nodes = [
        node("Relu", ["x"], ["r"]),
        node("Exp", ["raw"], ["slope"]),
        node("Exp", ["slope"], ["other"]),
        conv("r", "a"),
        node("PRelu", ["a", "slope"], ["b"]),
        node("Mul", ["b", "other"], ["y"]),
    ]
    proto = make(nodes, X, ["y"], {"w": W, "raw": np.zeros((4, 1, 1), np.float32)})
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    network = cut(prepared, [], fused(prepared, ("r", "y")))
    assert kinds(network) == ["local", "fused"]
    assert network.stages[0].outputs == ("r",)
    assert_network_agrees(prepared, network, inputs_of(prepared))
    network = cut(prepared, [], fused(prepared, ("r", "b")))
    assert kinds(network) == ["local", "fused", "local"]
    assert_network_agrees(prepared, network, inputs_of(prepared))


def test_segments_that_overlap_are_refused(tmp_path):
    nodes = [conv("x", "a"), node("MaxPool", ["a"], ["b"], name="pool", kernel_shape=[2, 2]), conv("b", "y")]
    proto = make(nodes, X, ["y"], {"w": W})
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    with pytest.raises(OverlappingSegmentsError) as caught:
        cut(prepared, [], fused(prepared, ("x", "b"), ("a", "y")))
    assert str(caught.value) == "the segments `conv_a` and `conv_y` overlap: both hold `pool`"
    assert (caught.value.code, caught.value.exit_status) == ("overlapping-segments", 2)
    with pytest.raises(LayerInSegmentError) as caught:
        cut(prepared, ["conv_y"], fused(prepared, ("x", "y")))
    assert str(caught.value) == "the convolution `conv_y` is to be computed alone and in the segment `conv_a..conv_y`"
    assert caught.value.code == "layer-in-segment"


def test_a_segment_of_another_model_is_our_own_mistake(tmp_path):
    prepared = chain(tmp_path)
    (stage,) = fused(prepared, ("x", "y"))
    with pytest.raises(ValueError, match="not of this graph"):
        cut(prepared, [], [replace(stage, input="elsewhere")])
