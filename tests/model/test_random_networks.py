"""Random small CNNs, cut in every way, against plain ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.model.network import ConvStage, FusedStage
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.segments import find_segments
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import cut, find_layers
from cocoi_cli.model.tiles import fuse
from tests.model.graphs import distributable, save
from tests.model.random_networks import dtype_of, random_network
from tests.model.reference_run import relative_difference, run_network


@pytest.mark.parametrize("seed", range(60))
def test_a_cut_network_agrees_with_the_whole(tmp_path, seed):
    proto, arrays = random_network(seed)
    model = save(tmp_path, proto)
    prepared = find_layers(model, resolve_input_shapes(model, {name: array.shape for name, array in arrays.items()}))
    names = distributable(prepared)
    assert len(names) == len(prepared.layers)
    half = dtype_of(proto) == np.float16
    rng = np.random.default_rng(seed)
    expected = open_session(proto.SerializeToString(), threads=1).run(None, arrays)
    some = [name for name in names if rng.random() < 0.5]
    for chosen, pieces, strips in ((names, 1, 1), (names, 4, 2), (some, 3, 1)):
        network = cut(prepared, chosen)
        assert sum(isinstance(stage, ConvStage) for stage in network.stages) == len(chosen)
        found = run_network(network, arrays, pieces=pieces, strips=strips)
        for item, reference in zip(model.outputs, expected, strict=True):
            assert relative_difference(found[item.name], reference) <= (4e-3 if half else 1e-5), item.name


@pytest.mark.parametrize("seed", range(60))
def test_a_network_cut_into_segments_agrees_with_the_whole(tmp_path, seed):
    proto, arrays = random_network(seed)
    if dtype_of(proto) == np.float16:
        return  # has no segments
    model = save(tmp_path, proto)
    prepared = find_layers(model, resolve_input_shapes(model, {name: array.shape for name, array in arrays.items()}))
    expected = open_session(proto.SerializeToString(), threads=1).run(None, arrays)
    rng = np.random.default_rng(seed)
    found = list(find_segments(prepared))
    for _ in range(3):
        rng.shuffle(found)
        chosen, taken = [], set()
        for segment in found:
            if rng.random() < 0.7 and taken.isdisjoint(segment.nodes):
                chosen.append(fuse(prepared, segment, int(rng.integers(1, 9)), "f32", "f32"))
                taken.update(segment.nodes)
        others = [name for name in distributable(prepared) if prepared.nodes[name] not in taken and rng.random() < 0.4]
        network = cut(prepared, others, chosen)
        assert sum(isinstance(stage, FusedStage) for stage in network.stages) == len(chosen)
        outputs = run_network(network, arrays, pieces=2)
        for item, reference in zip(model.outputs, expected, strict=True):
            assert relative_difference(outputs[item.name], reference) <= 1e-5, item.name


def test_the_same_seed_gives_the_same_network():
    first, second = random_network(7), random_network(7)
    assert first[0].SerializeToString() == second[0].SerializeToString()
    assert all(np.array_equal(first[1][name], second[1][name]) for name in first[1])


def test_the_seeds_cover_what_a_convolution_may_have():
    seen = set()
    for seed in range(60):
        proto, _ = random_network(seed)
        seen.add(f"opset {proto.opset_import[0].version}")
        seen.add(str(dtype_of(proto)))
        for node in proto.graph.node:
            seen.add(node.op_type)
            if node.op_type == "Conv":
                seen.add("bias" if len(node.input) == 3 else "no bias")
                seen.update(attribute.name for attribute in node.attribute)
                seen.update(f"group {attribute.i > 1}" for attribute in node.attribute if attribute.name == "group")
    wanted = {
        "opset 7",
        "opset 18",
        "float16",
        "float32",
        "bias",
        "no bias",
        "pads",
        "auto_pad",
        "dilations",
        "strides",
    }
    wanted |= {"group True", "BatchNormalization", "Concat", "Add", "Transpose", "DequantizeLinear", "ConstantOfShape"}
    assert wanted <= seen
