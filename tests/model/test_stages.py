from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cocoi_cli.errors import ModelError, UsageError
from cocoi_cli.model.convolution import BadAttributeError, read_spec
from cocoi_cli.model.finish import RAW, Activation
from cocoi_cli.model.network import Behind, ConvSpec, ConvStage, LocalStage
from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.stages import UntypedTensorError, cut
from tests.model.graphs import (
    FLOAT,
    HALF,
    assert_cut_agrees,
    distributable,
    make,
    node,
    prepare,
    random_arrays,
    weights,
)
from tests.model.reference_run import relative_difference, run_network

W = weights(3, 3, 3, 3, seed=1)
B = np.float32([0.5, -1, 2])
X = {"x": (1, 3, 8, 7)}
SAME = {"pads": [1, 1, 1, 1]}


def kinds(network):
    return ["conv" if isinstance(stage, ConvStage) else stage.operators for stage in network.stages]


@pytest.mark.parametrize("attributes", [{"strides": [1]}, {"dilations": [0, 1]}, {"pads": [1, 1]}, {"strides": 2.0}])
def test_attributes_that_do_not_fit_are_named(tmp_path, attributes):
    convolution = node("Conv", ["x", "w"], ["y"], name="odd", **attributes)
    with pytest.raises(BadAttributeError) as caught:
        read_spec(convolution, W.shape, X["x"])
    assert (caught.value.node, [caught.value.attribute]) == ("odd", list(attributes))
    proto = make([convolution], X, ["y"], {"w": W})
    with pytest.raises(ModelError):
        prepare(tmp_path, proto, random_arrays(proto))


def test_a_chain_is_one_convolution_after_the_other(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"], name="first"),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w"], ["d"], name="second"),
        node("Sigmoid", ["d"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "b": B}))
    assert [stage.name for stage in network.stages] == ["first", "second", "local 1"]
    assert kinds(network) == ["conv", "conv", 1]
    assert network.last_use == {"x": 0, "r": 1, "d": 2}
    first, second, _ = network.stages
    assert (first.input, first.output, first.dtype) == ("x", "r", "float32")
    assert first.weight.flags.c_contiguous
    assert np.array_equal(first.weight, W)
    assert np.array_equal(first.finish.bias, B)
    assert first.finish.activation == Activation(lowest=0.0)
    assert second.finish is RAW
    assert first.bare.finish is RAW


def test_layers_are_described_at_the_sizes_of_the_run(tmp_path):
    convolution = node(
        "Conv", ["x", "w"], ["y"], strides=[2, 1], dilations=[1, 2], pads=[0, 1, 2, 3], group=3, kernel_shape=[3, 2]
    )
    proto = make([convolution], {"x": ("N", 3, "H", 7)}, ["y"], {"w": weights(6, 1, 3, 2)})
    layer = prepare(tmp_path, proto, {"x": np.zeros((2, 3, 8, 7), np.float32)}).layers[0]
    assert layer.name == "y"
    assert layer.spec == ConvSpec((3, 2), (2, 1), (1, 2), (0, 1), (2, 3), 3, 3, 6)
    assert (layer.input_shape, layer.output_shape) == ((2, 3, 8, 7), (2, 6, 4, 9))
    assert layer.macs == 2 * 6 * 4 * 9 * 1 * 3 * 2
    assert (layer.dtype, layer.obstacle) == ("float32", None)


def test_residual_additions(tmp_path):
    nodes = [
        node("Relu", ["x"], ["a"]),
        node("Conv", ["a", "w", "b"], ["c"], **SAME),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["r", "w"], ["d"], **SAME),
        node("Add", ["d", "a"], ["s"]),
        node("Relu", ["s"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "b": B}))
    assert kinds(network) == [1, "conv", "conv", 2]
    assert network.last_use["a"] == 3
    assert [layer.behind for layer in network.layers] == [Behind.JOINED, Behind.HOST]


def test_branches_run_in_one_wave_and_join(tmp_path):
    nodes = [
        node("Conv", ["x", "w"], ["a"], **SAME),
        node("Conv", ["x", "v", "b"], ["c"], auto_pad="SAME_UPPER"),
        node("MaxPool", ["x"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("Conv", ["p", "u"], ["d"]),
        node("Concat", ["a", "c", "d", "x"], ["y"], axis=1),
    ]
    constants = {"w": W, "v": weights(3, 3, 5, 2), "b": B, "u": weights(2, 3, 1, 1)}
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], constants))
    assert kinds(network) == [1, "conv", "conv", "conv", 1]
    assert [layer.behind for layer in network.layers] == [Behind.NOTHING] * 3


def test_several_inputs_and_outputs(tmp_path):
    nodes = [
        node("Conv", ["x", "w"], ["c"], **SAME),
        node("Conv", ["z", "w", "b"], ["d"], **SAME),
        node("Add", ["c", "d"], ["sum"]),
        node("Conv", ["sum", "w", "b"], ["e"], **SAME),
        node("GlobalAveragePool", ["e"], ["pooled"]),
    ]
    proto = make(nodes, {**X, "z": X["x"], "unused": (1,)}, ["pooled", "e", "c", "sum"], {"w": W, "b": B})
    network = assert_cut_agrees(tmp_path, proto)
    assert not {"pooled", "e", "c", "sum"} & set(network.last_use)


def test_a_convolution_straight_to_an_output_keeps_its_name(tmp_path):
    network = assert_cut_agrees(tmp_path, make([node("Conv", ["x", "w"], ["y"])], X, ["y"], {"w": W}))
    assert kinds(network) == ["conv"]
    assert network.stages[0].output == "y"


def test_convolution_after_convolution(tmp_path):
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Conv", ["c", "w"], ["d"]), node("Conv", ["d", "w", "b"], ["y"])]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "b": B}))
    assert kinds(network) == ["conv", "conv", "conv"]


def test_a_result_that_is_used_twice(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "b"], ["c"]),
        node("Relu", ["c"], ["r"]),
        node("Conv", ["c", "w"], ["d"], **SAME),
        node("Mul", ["r", "d"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "b": B}))
    assert kinds(network) == ["conv", 1, "conv", 1]
    assert network.stages[0].output == "c"
    assert network.stages[0].finish.activation is None


def test_inputs_and_constants_that_are_outputs(tmp_path):
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Add", ["c", "k"], ["y"])]
    proto = make(nodes, X, ["y", "x", "k"], {"w": W, "k": np.ones((1, 3, 1, 1), np.float32)})
    assert_cut_agrees(tmp_path, proto)


@pytest.mark.parametrize("opset", [7, 8])
def test_initialisers_listed_as_inputs(tmp_path, opset):
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node("Mul", ["c", "k"], ["y"])]
    constants = {"w": W, "b": B, "k": np.float32([2])}
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], constants, opset=opset, ir_version=3, listed=True))
    assert network.stages[-1].inputs == ("c",)


def test_what_constants_make_joins_its_first_reader(tmp_path):
    nodes = [
        node("ConstantOfShape", ["n"], ["big"]),
        node("Exp", ["big"], ["ones"]),
        node("Relu", ["x"], ["r"]),
        node("Conv", ["r", "w"], ["c"], **SAME),
        node("Mul", ["c", "ones"], ["m"]),
        node("Conv", ["m", "w"], ["d"], **SAME),
        node("Mul", ["d", "ones"], ["y"]),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "n": np.array([1, 3, 8, 7])}))
    assert kinds(network) == [1, "conv", 3, "conv", 1]
    assert network.stages[2].outputs == ("ones", "m")


def branch(nodes, output):
    return helper.make_graph(nodes, output, [], [helper.make_tensor_value_info(output, FLOAT, None)])


def test_control_flow_sees_what_it_captures(tmp_path):
    yes = branch([node("Mul", ["c", "k"], ["t"])], "t")
    inner = branch([node("Conv", ["r", "w"], ["e"], name="inside", **SAME)], "e")
    no = branch(
        [node("If", ["flag"], ["u"], then_branch=inner, else_branch=branch([node("Neg", ["c"], ["f"])], "f"))], "u"
    )
    nodes = [
        node("ReduceSum", ["x"], ["total"], keepdims=0),
        node("Greater", ["total", "zero"], ["flag"]),
        node("Conv", ["x", "w", "b"], ["c"], name="outside", **SAME),
        node("Relu", ["c"], ["r"]),
        node("If", ["flag"], ["picked"], name="choice", then_branch=yes, else_branch=no),
        node("Conv", ["r", "w"], ["d"], name="last", **SAME),
        node("Add", ["picked", "d"], ["y"]),
    ]
    constants = {"w": W, "b": B, "k": np.float32([3]), "zero": np.float32(0)}
    proto = make(nodes, X, ["y"], constants)
    for sign in (1, -1):
        arrays = {"x": sign * np.abs(random_arrays(proto)["x"])}
        network = assert_cut_agrees(tmp_path, proto, arrays)
    obstacles = {layer.name: layer.obstacle for layer in network.layers}
    assert obstacles == {
        "outside": None,
        "choice/else_branch/u/then_branch/inside": "inside the body of If",
        "last": None,
    }
    assert [stage.layers for stage in network.stages if isinstance(stage, LocalStage)] == [
        (),
        ("choice/else_branch/u/then_branch/inside",),
        (),
    ]


def test_obstacles_say_why(tmp_path):
    constants = {
        "w": W,
        "bad": np.where(W > 0.4, np.inf, W).astype(np.float32),
        "xi": np.ones((1, 3, 8, 8), np.uint8),
        "wi": np.ones((2, 3, 3, 3), np.uint8),
        "fixed": np.ones((1, 3, 8, 8), np.float32),
        "wd": W.astype(np.float64),
    }
    assert np.isinf(constants["bad"]).any()
    cases = {
        "transposed convolution": [node("ConvTranspose", ["x", "w"], ["y"])],
        "quantised convolution (ConvInteger)": [
            node("ConvInteger", ["xi", "wi"], ["i"]),
            node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
        ],
        "its weights are computed at run time": [
            node("ReduceMean", ["x"], ["m"], axes=[2, 3]),
            node("Add", ["w", "m"], ["v"]),
            node("Conv", ["x", "v"], ["y"]),
        ],
        "its weights are not all finite": [node("Conv", ["x", "bad"], ["y"])],
        "it depends on constants only": [node("Conv", ["fixed", "w"], ["y"])],
    }
    for obstacle, nodes in cases.items():
        proto = make(nodes, X, ["y"], constants)
        network = assert_cut_agrees(tmp_path, proto)
        assert [layer.obstacle for layer in network.layers] == [obstacle]
        assert [stage.name for stage in network.stages] == ["local 1"]
    assert network.layers[0].macs == 3 * 6 * 6 * 3 * 9


def test_convolutions_in_double_precision_stay(tmp_path):
    proto = make([node("Conv", ["x", "w"], ["y"])], X, ["y"], {"w": W.astype(np.float64)}, element=TensorProto.DOUBLE)
    layer = prepare(tmp_path, proto, random_arrays(proto)).layers[0]
    assert (layer.obstacle, layer.dtype) == ("its weights are float64", "float64")


def test_operator_sets_before_seven_stay(tmp_path):
    proto = make([node("Conv", ["x", "w"], ["y"])], X, ["y"], {"w": W}, opset=6)
    assert prepare(tmp_path, proto, random_arrays(proto)).layers[0].obstacle == "operator set 6 is older than 7"


def test_float16_sums_are_rounded_after_the_bias(tmp_path):
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["r"]), node("Conv", ["r", "w"], ["y"])]
    constants = {"w": W.astype(np.float16) * 200, "b": np.float16([-60000, 100, 0])}
    proto = make(nodes, X, ["y"], constants, element=HALF)
    arrays = {"x": np.full((1, 3, 8, 7), 2, np.float16)}
    network = assert_cut_agrees(tmp_path, proto, arrays, tolerance=4e-3)
    convolutions = [stage for stage in network.stages if isinstance(stage, ConvStage)]
    assert [(stage.dtype, stage.weight.dtype) for stage in convolutions] == [("float32", np.float32)] * 2
    assert {layer.dtype for layer in network.layers} == {"float16"}


def test_a_bias_computed_at_run_time(tmp_path):
    for element, tolerance in ((FLOAT, 1e-5), (HALF, 4e-3)):
        dtype = helper.tensor_dtype_to_np_dtype(element)
        nodes = [
            node("ReduceMean", ["x"], ["m"], axes=[0, 2, 3], keepdims=0),
            node("Conv", ["x", "w", "m"], ["y"]),
        ]
        proto = make(nodes, X, ["y"], {"w": W.astype(dtype)}, element=element)
        network = assert_cut_agrees(tmp_path, proto, tolerance=tolerance)
        assert network.layers[0].obstacle is None


def test_nothing_distributed_is_the_model_as_it_was_read(tmp_path):
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node("Relu", ["c"], ["y"])]
    proto = make(nodes, {**X, "unused": (2,)}, ["y"], {"w": W, "b": B})
    network = cut(prepare(tmp_path, proto, random_arrays(proto)), [])
    (stage,) = network.stages
    assert stage.model == proto.SerializeToString()
    assert (stage.inputs, stage.outputs, stage.layers, stage.operators) == (("x", "unused"), ("y",), ("c",), 2)


def test_every_subset_of_the_layers_may_be_distributed(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "b"], ["a"], name="a", **SAME),
        node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "w"], ["c"], name="b", **SAME),
        node("Conv", ["x", "w", "b"], ["d"], name="c", **SAME),
        node("Sum", ["c", "d", "a"], ["y"]),
    ]
    proto = make(nodes, X, ["y", "d"], {"w": W, "b": B})
    arrays = random_arrays(proto)
    prepared = prepare(tmp_path, proto, arrays)
    expected = open_session(proto.SerializeToString()).run(["y", "d"], arrays)
    names = distributable(prepared)
    for mask in range(2 ** len(names)):
        chosen = [name for at, name in enumerate(names) if mask >> at & 1]
        network = cut(prepared, chosen)
        assert {stage.name for stage in network.stages if isinstance(stage, ConvStage)} == set(chosen)
        local = [name for stage in network.stages if isinstance(stage, LocalStage) for name in stage.layers]
        assert sorted(local) == sorted(set(names) - set(chosen))
        found = run_network(network, arrays)
        assert all(relative_difference(found[name], want) < 1e-5 for name, want in zip("yd", expected, strict=True))


def test_local_stages_run_at_any_size(tmp_path):
    nodes = [node("Relu", ["x"], ["r"]), node("Conv", ["r", "w", "b"], ["c"]), node("Sigmoid", ["c"], ["y"])]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "b": B}))
    session = open_session(network.stages[0].model)
    assert session.run(None, {"x": np.zeros((4, 3, 20, 30), np.float32)})[0].shape == (4, 3, 20, 30)


def test_stages_are_valid_models_with_only_what_they_need(tmp_path):
    nodes = [
        node("MatMul", ["x", "m"], ["r"]),
        node("Conv", ["r", "w", "b"], ["c"]),
        node("Mul", ["c", "k"], ["y"]),
    ]
    constants = {"w": W, "b": B, "k": np.float32([2]), "m": np.eye(7, dtype=np.float32)}
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], constants))
    first, last = (onnx.load_from_string(stage.model) for stage in network.stages if isinstance(stage, LocalStage))
    for model in (first, last):
        onnx.checker.check_model(model)
    assert {item.name for item in first.graph.initializer} == {"m"}
    assert {item.name for item in last.graph.initializer} == {"k"}


def test_names_stay_unique(tmp_path):
    nodes = [
        node("ReduceMean", ["x"], ["m"], axes=[0, 2, 3], keepdims=0),
        node("Conv", ["x", "w"], ["c"], name="d", **SAME),
        node("Conv", ["c", "w"], ["d"], **SAME),
        node("Conv", ["d", "w", "m"], ["e"], **SAME),
        node("Relu", ["e"], ["e_sum"]),
        node("Conv", ["e_sum", "w", "m_column"], ["y"], name="e", **SAME),
    ]
    network = assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "m_column": B}))
    assert [layer.name for layer in network.layers] == ["d", "d_2", "e", "e_2"]


def test_nodes_in_the_wrong_order_are_sorted(tmp_path):
    nodes = [node("Conv", ["r", "w"], ["y"]), node("Relu", ["x"], ["r"])]
    assert kinds(assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W}))) == [1, "conv"]


def test_convolutions_inside_the_models_own_functions(tmp_path):
    proto = make([node("Block", ["x", "w"], ["y"], domain="own")], X, ["y"], {"w": W}, opset=18)
    body = [node("Conv", ["a", "k"], ["c"]), node("Relu", ["c"], ["d"])]
    proto.functions.append(helper.make_function("own", "Block", ["a", "k"], ["d"], body, [helper.make_opsetid("", 18)]))
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert [layer.obstacle for layer in assert_cut_agrees(tmp_path, proto).layers] == [None]


def test_sequences_between_stages(tmp_path):
    nodes = [
        node("SplitToSequence", ["x"], ["parts"], axis=1),
        node("Conv", ["x", "w"], ["c"], **SAME),
        node("ConcatFromSequence", ["parts"], ["joined"], axis=1),
        node("Add", ["joined", "c"], ["s"]),
        node("Conv", ["s", "w"], ["d"], **SAME),
        node("SequenceAt", ["parts", "at"], ["one"]),
        node("Mul", ["d", "one"], ["y"]),
    ]
    assert_cut_agrees(tmp_path, make(nodes, X, ["y"], {"w": W, "at": np.array(1)}))


def test_sparse_constants(tmp_path):
    proto = make([node("Conv", ["x", "w"], ["c"]), node("Add", ["c", "s"], ["y"])], X, ["y"], {"w": W})
    values = helper.make_tensor("s", FLOAT, [2], [1.0, -2.0])
    positions = helper.make_tensor("at", TensorProto.INT64, [2], [0, 4])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, positions, [5]))
    assert_cut_agrees(tmp_path, proto)


def test_plans_for_another_model_are_refused(tmp_path):
    nodes = [node("Conv", ["x", "w"], ["c"], name="good"), node("ConvTranspose", ["c", "w"], ["y"], name="bad")]
    prepared = prepare(tmp_path, make(nodes, X, ["y"], {"w": W}), random_arrays(make(nodes, X, ["y"], {"w": W})))
    with pytest.raises(UsageError) as caught:
        cut(prepared, ["good", "other"])
    assert (caught.value.code, caught.value.details["layer"]) == ("unknown-layer", "other")
    with pytest.raises(UsageError) as caught:
        cut(prepared, ["bad"])
    assert caught.value.details == {"layer": "bad", "obstacle": "transposed convolution"}


def test_an_untyped_tensor_between_stages_is_an_error(tmp_path):
    nodes = [node("Conv", ["x", "w"], ["c"]), node("Relu", ["x"], ["r"]), node("Conv", ["r", "w"], ["y"])]
    proto = make(nodes, X, ["y"], {"w": W})
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    types = {name: kind for name, kind in prepared.types.items() if name != "r"}
    with pytest.raises(UntypedTensorError):
        cut(replace(prepared, types=types), distributable(prepared))


def test_functions_written_for_another_operator_set(tmp_path):
    block = [node("Conv", ["a", "w"], ["c"], pads=[1, 1, 1, 1]), node("Relu", ["c"], ["b"])]
    proto = make([node("Block", ["x", "w"], ["y"], domain="own")], X, ["y"], {"w": W}, opset=18)
    proto.functions.append(
        helper.make_function("own", "Block", ["a", "w"], ["b"], block, [helper.make_opsetid("", 13)])
    )
    proto.opset_import.append(helper.make_opsetid("own", 1))
    assert [layer.obstacle for layer in assert_cut_agrees(tmp_path, proto).layers] == [None]


def test_sizes_that_are_handed_from_stage_to_stage_keep_their_count(tmp_path):
    nodes = [
        node("Conv", ["x", "w"], ["a"]),
        node("Shape", ["a"], ["large"]),
        node("Slice", ["large", "two", "four"], ["plane"]),
        node("Conv", ["a", "v"], ["c"], strides=[2, 2]),
        node("Shape", ["c"], ["small"]),
        node("Slice", ["small", "zero", "two"], ["front"]),
        node("Concat", ["front", "plane"], ["sizes"], axis=0),
        node("Resize", ["c", "", "", "sizes"], ["r"]),
        node("Add", ["r", "a"], ["y"]),
    ]
    positions = {name: np.array([at]) for name, at in (("zero", 0), ("two", 2), ("four", 4))}
    square = weights(4, 4, 3, 3)
    proto = make(nodes, {"x": ("N", 3, "H", "W")}, ["y"], {"w": weights(4, 3, 3, 3), "v": square, **positions})
    arrays = {"x": np.random.default_rng(0).standard_normal((1, 3, 17, 16)).astype(np.float32)}
    network = assert_cut_agrees(tmp_path, proto, arrays)
    assert [layer.obstacle for layer in network.layers] == [None, None]


def test_random_numbers_are_an_obstacle_that_is_named(tmp_path):
    def obstacles(*between, constants=None):
        nodes = [node("Conv", ["x", "w"], ["a"]), *between, node("Relu", ["b"], ["y"])]
        return prepare(tmp_path, make(nodes, X, ["y"], {"w": W, **(constants or {})}), {"x": np.zeros(X["x"])}).layers

    assert "(RandomNormalLike)" in obstacles(node("RandomNormalLike", ["a"], ["b"]))[0].obstacle
    for training in (True, False):
        constants = {"ratio": np.float32(0.5), "training": np.array(training)}
        (layer,) = obstacles(node("Dropout", ["a", "ratio", "training"], ["b"]), constants=constants)
        assert (layer.obstacle is not None) is training
    assert obstacles(node("Dropout", ["a"], ["b"]))[0].obstacle is None


def test_convolutions_that_the_runtime_has_rewritten_say_so(tmp_path):
    proto = make([node("Conv", ["x", "w"], ["y"], domain="com.microsoft.nchwc")], X, ["y"], {"w": W})
    proto.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    (layer,) = prepare(tmp_path, proto, {"x": np.zeros(X["x"])}).layers
    assert layer.obstacle == "Conv of the domain com.microsoft.nchwc"


@pytest.mark.parametrize("name", ["w", "b"])
def test_values_that_do_not_fill_their_shape(tmp_path, name):
    proto = make([node("Conv", ["x", "w", "b"], ["y"])], X, ["y"], {"w": W, "b": B})
    tensor = next(item for item in proto.graph.initializer if item.name == name)
    tensor.raw_data = tensor.raw_data[:-4]
    with pytest.raises(ModelError, match=f"`{name}`"):
        assert_cut_agrees(tmp_path, proto)


def test_thousands_of_nodes_in_the_wrong_order_are_sorted_at_once(tmp_path):
    chain = [node("Relu", [f"t{at}"], [f"t{at + 1}"]) for at in range(3000)]
    proto = make([*reversed(chain), node("Conv", ["x", "w"], ["t0"])], X, ["t3000"], {"w": W})
    network = prepare(tmp_path, proto, {"x": np.zeros(X["x"])})
    assert [item.input[0] for item in network.graph.nodes] == ["x", *(f"t{at}" for at in range(3000))]


def test_sizes_that_only_a_run_can_tell_reach_every_stage(tmp_path):
    nodes = [
        node("Shape", ["x"], ["shape"]),
        node("Transpose", ["x"], ["t"], perm=[0, 2, 3, 1]),
        node("LpNormalization", ["t"], ["n"], axis=3),
        node("Transpose", ["n"], ["u"], perm=[0, 3, 1, 2]),
        node("Reshape", ["u", "shape"], ["r"]),  # its rank is unknown to ONNX before operator set 14
        node("Conv", ["r", "w"], ["a"]),
        node("Shape", ["a"], ["large"]),
        node("Slice", ["large", "two", "four"], ["plane"]),
        node("Slice", ["shape", "zero", "two"], ["front"]),
        node("Concat", ["front", "plane"], ["sizes"], axis=0),
        node("Resize", ["x", "none", "none", "sizes"], ["s"]),
        node("Conv", ["a", "v"], ["c"]),
        node("Concat", ["batch", "plane"], ["again"], axis=0),
        node("Resize", ["c", "none", "none", "again"], ["d"]),
        node("Add", ["s", "d"], ["y"]),
    ]
    constants = {name: np.array([at]) for name, at in (("zero", 0), ("two", 2), ("four", 4))}
    constants |= {"batch": np.array([1, 3]), "none": np.zeros(0, np.float32), "w": W, "v": weights(3, 3, 3, 3)}
    proto = make(nodes, {"x": (1, 3, 13, 12)}, ["y", "c"], constants, opset=11)
    network = assert_cut_agrees(tmp_path, proto)
    assert [layer.obstacle for layer in network.layers] == [None, None]
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    for layer in network.layers:
        run_network(cut(prepared, [layer.name]), random_arrays(proto))
