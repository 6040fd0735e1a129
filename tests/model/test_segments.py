from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from onnx import TensorProto

from cocoi_cli.model.regions import MOST_CONVOLUTIONS
from cocoi_cli.model.segments import (
    MOST_ENDS,
    MOST_SEGMENTS,
    IllegalSegmentError,
    find_segments,
    segment_between,
)
from tests.model.built import prepare_built
from tests.model.graphs import HALF, make, node, prepare, random_arrays, weights

W = weights(4, 4, 3, 3, seed=1)
X = {"x": (1, 4, 12, 9)}
SAME = {"pads": [1, 1, 1, 1]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Networks of `models/build.py`, each made once."""
    made = {}

    def of(name, size):
        if (name, size) not in made:
            made[name, size] = prepare_built(tmp_path_factory.mktemp("built"), name, size)
        return made[name, size]

    return of


def conv(x, y, **attributes):
    return node("Conv", [x, "w"], [y], name=f"conv_{y}", **attributes)


def graph(tmp_path, nodes, outputs=("y",), constants=None, **options):
    proto = make(nodes, X, list(outputs), {"w": W, **(constants or {})}, **options)
    return prepare(tmp_path, proto, random_arrays(proto))


def ends(prepared):
    return {segment.name: (segment.input, segment.output) for segment in find_segments(prepared)}


# --- what is found ---------------------------------------------------------------------


def test_vgg_is_cut_behind_its_poolings(prepared):
    found = ends(prepared("vgg16", 64))
    assert found["conv1_1..conv1_2"] == ("image", "pool1")
    assert found["conv2_1..conv2_2"] == ("pool1", "pool2")
    assert found["conv1_1..conv2_2"] == ("image", "pool2")
    assert found["conv3_1..conv3_3"] == ("pool2", "pool3")
    assert found["conv1_1"] == ("image", "relu1_1")
    assert found["conv1_2"] == ("relu1_1", "pool1")


def test_resnet_gives_its_stem_and_whole_blocks(prepared):
    found = ends(prepared("resnet18", 64))
    assert found["conv1"] == ("image", "pool1")
    assert found["group1.block1.conv1..group1.block1.conv2"] == ("pool1", "group1.block1.relu")
    assert found["group2.block1.conv1..group2.block1.shortcut"] == ("group1.block2.relu", "group2.block1.relu")
    assert found["conv1..group1.block2.conv2"] == ("image", "group1.block2.relu")
    deep = ends(prepared("resnet50", 64))
    assert deep["group1.block1.conv1..group1.block1.shortcut"] == ("pool1", "group1.block1.relu")
    assert deep["group1.block2.conv1..group1.block2.conv3"] == ("group1.block1.relu", "group1.block2.relu")


def test_the_input_of_superres_reaches_round_all_layers(prepared):
    assert ends(prepared("superres", 32))["conv1..conv10"] == ("image", "enlarged")


def test_a_run_of_depthwise_blocks_is_one_segment(tmp_path):
    nodes = [
        node("Conv", ["x", "d"], ["a"], name="depthwise", group=4, strides=[2, 2], **SAME),
        node("Clip", ["a", "zero", "six"], ["b"]),
        node("Conv", ["b", "p"], ["c"], name="pointwise"),
        node("Clip", ["c", "zero", "six"], ["y"]),
    ]
    constants = {"d": weights(4, 1, 3, 3), "p": weights(6, 4, 1, 1), "zero": np.float32(0), "six": np.float32(6)}
    found = ends(graph(tmp_path, nodes, constants=constants))
    assert found == {"depthwise": ("x", "b"), "depthwise..pointwise": ("x", "y"), "pointwise": ("b", "y")}


def test_a_fire_module_is_one_segment(tmp_path):
    nodes = [
        conv("x", "s", **SAME),
        node("Relu", ["s"], ["squeezed"]),
        conv("squeezed", "e1", **SAME),
        node("Relu", ["e1"], ["r1"]),
        conv("squeezed", "e3", dilations=[2, 2], pads=[2, 2, 2, 2]),
        node("Relu", ["e3"], ["r3"]),
        node("Concat", ["r1", "r3"], ["y"], axis=1),
    ]
    found = ends(graph(tmp_path, nodes))
    assert found["conv_s..conv_e3"] == ("x", "y")
    assert found["conv_e1..conv_e3"] == ("squeezed", "y")


def test_a_tensor_that_others_read_ends_a_segment(tmp_path):
    nodes = [
        conv("x", "a"),
        node("Relu", ["a"], ["head"]),
        node("GlobalAveragePool", ["head"], ["mean"]),
        conv("head", "y"),
    ]
    assert ends(graph(tmp_path, nodes, ("y", "mean"))) == {"conv_a": ("x", "head"), "conv_y": ("head", "y")}


def test_a_graph_output_inside_ends_a_segment(tmp_path):
    found = ends(graph(tmp_path, [conv("x", "a"), conv("a", "y")], ("y", "a")))
    assert found == {"conv_a": ("x", "a"), "conv_y": ("a", "y")}


def test_layers_that_others_stand_between_are_no_segment(tmp_path):
    nodes = [conv("x", "a"), conv("x", "b", **SAME), conv("a", "y"), node("Relu", ["b"], ["z"])]
    assert set(ends(graph(tmp_path, nodes, ("y", "z")))) == {"conv_a", "conv_b", "conv_y"}


@pytest.mark.parametrize(("name", "size"), [("vgg16", 64), ("resnet18", 64), ("resnet50", 64), ("superres", 32)])
def test_segments_are_bounded_in_number_and_named_once(prepared, name, size):
    model = prepared(name, size)
    found = find_segments(model)
    order = [layer.name for layer in model.layers]
    assert 10 < len(found) <= MOST_SEGMENTS
    assert len({segment.name for segment in found}) == len(found)
    starts = [segment.input for segment in found]
    assert max(starts.count(start) for start in starts) <= MOST_ENDS
    places = [(order.index(segment.layers[0]), order.index(segment.layers[-1])) for segment in found]
    assert places == sorted(places)
    for segment, (first, last) in zip(found, places, strict=True):
        assert list(segment.layers) == order[first : last + 1]
        assert segment.macs == sum(layer.macs for layer in model.layers[first : last + 1])
        assert segment == segment_between(model, segment.input, segment.output)


def test_a_long_chain_stays_bounded(tmp_path):
    names = ["x", *(f"t{number}" for number in range(1, 120)), "y"]
    chain = [node("Conv", [a, "w"], [b], name=f"conv_{b}", **SAME) for a, b in itertools.pairwise(names)]
    proto = make(chain, {"x": (1, 4, 400, 3)}, ["y"], {"w": W})
    found = find_segments(prepare(tmp_path, proto, random_arrays(proto)))
    assert len(found) == MOST_SEGMENTS
    assert max(len(segment.layers) for segment in found) <= min(MOST_ENDS, MOST_CONVOLUTIONS)
    assert sum(len(segment.layers) == 1 for segment in found) == 120


# --- what is refused, and why ------------------------------------------------------------


ROWS = np.arange(12, dtype=np.float32).reshape(12, 1)
REFUSED = {
    "reads all rows": [node("InstanceNormalization", ["a", "four", "four"], ["b"])],
    "moves rows": [node("Transpose", ["a"], ["b"], perm=[0, 1, 3, 2])],
    "differs from row to row": [node("Add", ["a", "rows"], ["b"])],
    "rows one below the other": [node("Concat", ["a", "a"], ["b"], axis=2)],
    "a constant with all rows": [node("Concat", ["a", "picture"], ["b"], axis=1)],
    "between rows": [node("Resize", ["a", "", "scales"], ["b"], mode="linear")],
    "a mean over the edge": [
        node("AveragePool", ["a"], ["b"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, pads=[0, 0, 1, 1])
    ],
    "several results": [node("Split", ["a"], ["b", "other"], axis=1)],
    "another type": [node("Cast", ["a"], ["half"], to=HALF), node("Cast", ["half"], ["b"], to=TensorProto.FLOAT)],
    "fewer rows": [node("ReduceMean", ["a"], ["m"], axes=[2]), node("Mul", ["a", "m"], ["b"])],
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_computed_row_by_row_is_refused(tmp_path, case):
    nodes = [conv("x", "a", **SAME), *REFUSED[case], node("Relu", ["b"], ["y"])]
    constants = {
        "rows": ROWS,
        "four": np.ones(4, np.float32),
        "picture": np.ones((1, 4, 12, 9), np.float32),
        "scales": np.float32([1, 1, 2, 2]),
    }
    prepared = graph(tmp_path, nodes, constants=constants)
    assert ends(prepared) == {"conv_a": ("x", "a")}
    with pytest.raises(IllegalSegmentError) as caught:
        segment_between(prepared, "x", "y")
    operator = REFUSED[case][-1].op_type
    assert operator in caught.value.reason or "half" in caught.value.reason
    assert caught.value.code == "illegal-segment"


def test_refusals_name_what_is_in_the_way(tmp_path):
    nodes = [
        conv("x", "a", **SAME),
        conv("a", "b", **SAME),
        node("Add", ["b", "x"], ["c"]),
        node("ConvTranspose", ["c", "w"], ["d"], name="up"),
        node("Relu", ["x"], ["e"]),
        node("Relu", ["d"], ["y"]),
    ]
    prepared = graph(tmp_path, nodes, ("y", "e", "b"))

    def reason(start, end):
        with pytest.raises(IllegalSegmentError) as caught:
            segment_between(prepared, start, end)
        return caught.value.reason

    assert reason("x", "nowhere") == "`nowhere` is no float32 tensor of known size with rows"
    assert reason("x", "y") == "the operator ConvTranspose `up` is not computed row by row"
    assert reason("a", "c") == "it depends on `x` too"
    assert reason("b", "a") == "it depends on `x` too"
    assert reason("x", "c") == "`b` inside it is needed elsewhere"
    assert reason("x", "e") == "it holds no convolution"
    assert reason("x", "x") == "no path leads from one to the other"


def test_a_layer_with_an_obstacle_is_in_no_segment(tmp_path):
    nodes = [conv("x", "a", **SAME), node("Conv", ["a", "bad"], ["b"], name="broken", **SAME), conv("b", "y", **SAME)]
    bad = np.full(W.shape, np.inf, np.float32)
    prepared = graph(tmp_path, nodes, constants={"bad": bad})
    assert ends(prepared) == {"conv_a": ("x", "a"), "conv_y": ("b", "y")}
    with pytest.raises(IllegalSegmentError, match=r"`broken` stays on the host: its weights are not all finite"):
        segment_between(prepared, "x", "y")


def test_float16_layers_are_in_no_segment(tmp_path):
    proto = make([node("Conv", ["x", "w"], ["y"])], X, ["y"], {"w": W.astype(np.float16)}, element=HALF)
    assert find_segments(prepare(tmp_path, proto, random_arrays(proto))) == ()


# --- what tiles cost -----------------------------------------------------------------------


def test_the_overlap_of_vgg_is_what_was_published(prepared):
    """docs/methods.md, fused tiles: multiply-accumulates against unfused, and megabytes in, of eight strips."""
    model = prepared("vgg16", 224)
    named = {segment.name: segment for segment in find_segments(model)}
    for name, overlap, megabytes_in, megabytes_out in (
        ("conv1_1..conv1_2", 1.00, 0.68, 3.2),
        ("conv1_1..conv2_2", 1.13, 0.83, 1.6),
        ("conv1_1..conv3_3", 1.54, 1.28, 0.8),
    ):
        cost = named[name].cost(8)
        assert cost.macs / named[name].macs == pytest.approx(overlap, abs=0.005)
        assert cost.bytes_in_elems * 4e-6 == pytest.approx(megabytes_in, abs=0.005)
        assert cost.bytes_out_elems * 4e-6 == pytest.approx(megabytes_out, abs=0.05)


def slow_cost(segment, tiles):
    """Every tile walked on its own."""
    total = read = most = largest_in = 0
    for rows in segment.cut(tiles):
        held = segment.rows.held(rows)
        macs = sum(made.size * each for made, each in zip(held[1:], segment.row_macs, strict=True))
        total, most = total + macs, max(most, macs)
        read += held[0].size * segment.row_elems[0]
        largest_in = max(largest_in, held[0].size * segment.row_elems[0])
    return total, read, most, largest_in


@pytest.mark.parametrize(("name", "size"), [("vgg16", 64), ("resnet18", 75), ("superres", 41)])
def test_costs_agree_with_every_tile_walked(prepared, name, size):
    for segment in find_segments(prepared(name, size)):
        for tiles in (1, 2, 3, 5, 7, 8, 13, 20, 100):
            cost = segment.cost(tiles)
            assert (cost.macs, cost.bytes_in_elems, cost.largest_macs, cost.largest_in_elems) == slow_cost(
                segment, tiles
            )
            assert cost.tiles == min(tiles, segment.output_shape[2])
            assert cost.bytes_out_elems == math.prod(segment.output_shape)
        whole = segment.cost(1)
        assert whole.macs <= segment.macs  # rows that no output row reads are not computed
        assert whole.largest_out_elems == whole.bytes_out_elems
        assert whole.memory_elems >= max(whole.largest_in_elems, whole.largest_out_elems)


def test_costs_with_an_enlargement_inside(tmp_path):
    nodes = [conv("x", "a", **SAME), node("Resize", ["a", "", "scales"], ["b"]), conv("b", "y", **SAME)]
    prepared = graph(tmp_path, nodes, constants={"scales": np.float32([1, 1, 3, 1])})
    segment = segment_between(prepared, "x", "y")
    assert segment.rows.grain == 3
    for tiles in range(1, 40):
        cost = segment.cost(tiles)
        assert (cost.macs, cost.bytes_in_elems, cost.largest_macs, cost.largest_in_elems) == slow_cost(segment, tiles)


def test_no_tile_is_refused(tmp_path):
    segment = segment_between(graph(tmp_path, [conv("x", "y")]), "x", "y")
    with pytest.raises(ValueError, match="0 tiles"):
        segment.cost(0)
