"""Graphs that are taken and refused, programs, and float16 answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from cocoi_agent.engine import BadProgramError, Engine, Port, TerminatedError, run_options
from cocoi_agent.graphs import UnfitGraphError, check_graph
from cocoi_agent.protobuf import BadBytesError, fields, nested, varint
from cocoi_agent.replies import Wanted, choose, holds
from cocoi_agent.store import MemoryStore
from cocoi_agent.wire.messages import Binding, Load
from cocoi_agent.wire.programs import program_id
from tests.agent.programs import F32, Recipe, affine, chain, conv, convolved, info, model_of

W = np.random.default_rng(3).standard_normal((4, 3, 3, 3)).astype(np.float32)


def stored(recipe: Recipe) -> MemoryStore:
    store = MemoryStore(1 << 24)
    for digest, blob in recipe.blobs.items():
        store.put(digest, blob)
    return store


def relu(domain: str = "") -> onnx.NodeProto:
    return helper.make_node("Relu", ["x"], ["y"], domain=domain)


def external() -> onnx.TensorProto:
    tensor = helper.make_tensor("c", F32, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def branch(node: onnx.NodeProto) -> onnx.NodeProto:
    then, other = (helper.make_graph([one], "b", [], [info("y", F32, None)]) for one in (node, relu()))
    return helper.make_node("If", ["flag"], ["z"], then_branch=then, else_branch=other)


X, Y = [info("x", F32, [1])], [info("y", F32, None)]
NESTED = relu().SerializeToString()
for _ in range(40):  # by hand: protobuf's own limit would come first
    NESTED = nested(5, nested(6, nested(1, NESTED)))

UNFIT = {
    "custom operator": (model_of([relu("evil.ops")], X, Y, opsets=[helper.make_opsetid("evil.ops", 1)]), "evil.ops"),
    "contrib operator": (model_of([relu("com.microsoft")], X, Y), "com.microsoft"),
    "custom operator in a branch": (model_of([branch(relu("evil"))], X, Y), "evil"),
    "external data": (model_of([relu()], X, Y, [external()]), "external"),
    "external data in an attribute": (
        model_of([helper.make_node("Constant", [], ["y"], value=external())], X, Y),
        "external",
    ),
    "deep nesting": (nested(7, nested(1, NESTED)), "deep"),
    "functions": (
        model_of([relu()], X, Y, functions=[helper.make_function("d", "f", ["x"], ["y"], [relu()], [])]),
        "functions",
    ),
    "ort format": (b"\x00\x00\x00\x00ORTM" + bytes(100), "own format"),
    "empty": (b"", "no graph"),
    "noise": (b"\xff" * 50, "no ONNX model"),
    "truncated": (model_of([relu()], X, Y)[:-3], "no ONNX model"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_refuses_graphs_that_ask_for_more_than_an_agent_gives(name: str) -> None:
    graph, reason = UNFIT[name]
    with pytest.raises(UnfitGraphError, match=reason):
        check_graph(graph)
    recipe = Recipe(graph)
    with pytest.raises(BadProgramError):
        Engine().load(recipe.load, stored(recipe).open)


def test_takes_ordinary_graphs() -> None:
    for recipe in (conv(W), affine(), chain(3)):
        check_graph(recipe.graph)
    check_graph(model_of([relu("ai.onnx")], X, Y))


def test_a_graph_that_onnx_runtime_refuses_is_a_bad_program() -> None:
    recipe = Recipe(model_of([helper.make_node("NoSuchOperator", ["x"], ["y"])], X, Y))
    with pytest.raises(BadProgramError, match="NoSuchOperator"):
        Engine().load(recipe.load, stored(recipe).open)


@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        ({"v": W}, "no input `v`"),
        ({"w": W.astype(np.float64)}, "`w` is float64; the graph takes f32"),
        ({"w": W[0]}, "`w` has 3 axes; the graph takes 4"),
    ],
)
def test_bindings_that_do_not_fit_are_named(bound: dict, reason: str) -> None:
    recipe = Recipe(conv(W).graph, bound)
    with pytest.raises(BadProgramError, match=reason):
        Engine().load(recipe.load, stored(recipe).open)


def test_a_blob_of_another_size_than_its_shape_is_named() -> None:
    recipe = conv(W)
    graph, blob = recipe.load.graph, recipe.load.bindings[0].blob
    bindings = (Binding("w", blob, "f32", (4, 3, 3, 2)),)
    load = Load(program_id(graph, bindings), graph, bindings)
    with pytest.raises(BadProgramError, match="`w` is 288 bytes by its shape; its blob has 432"):
        Engine().load(load, stored(recipe).open)


def test_initializers_are_built_in_and_weights_fed_give_the_same() -> None:
    engine, x = Engine(), np.random.default_rng(4).standard_normal((1, 3, 8, 8)).astype(np.float16)
    results = []
    for how in ("input", "initializer"):
        recipe = conv(W, how=how)
        program = engine.load(recipe.load, stored(recipe).open)
        assert list(program.inputs) == ["x"]
        assert len(program.session.get_inputs()) == (2 if how == "input" else 1)
        results.append(engine.run(program, {"x": x}, ["y32"], run_options())[0])
    np.testing.assert_allclose(results[0], convolved(x, W), atol=1e-4)
    np.testing.assert_allclose(results[1], results[0], atol=1e-5)


def test_terminate_is_told_apart_from_failure() -> None:
    engine, recipe = Engine(), chain(50)
    program = engine.load(recipe.load, stored(recipe).open)
    options = run_options()
    options.terminate = True
    with pytest.raises(TerminatedError):
        engine.run(program, {"x": np.ones((192, 192), np.float32)}, ["y"], options)


def test_pairs_of_outputs_are_chosen_by_type() -> None:
    outputs = (Port("y16", "f16", 4), Port("y32", "f32", 4), Port("size", "i64", 1), Port("z32", "f32", 1))
    rest = (Wanted("size", "size"), Wanted("z32", "z32"))
    assert choose(outputs, "f16") == (Wanted("y", "y16", "y32"), *rest)
    assert choose(outputs, "f32") == (Wanted("y", "y32"), *rest)
    assert [wanted.name for wanted in choose(outputs, None)] == ["y16", "y32", "size", "z32"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, -2.0], True),
        ([2.0**-6], True),
        ([-(2.0**-6), 0.0], True),
        ([np.nextafter(np.float16(2.0**-6), np.float16(0))], False),
        ([0.0, -0.0], False),
        ([65504.0, -65504.0], True),
        ([1.0, np.inf], False),
        ([1.0, -np.inf], False),
        ([1.0, np.nan], False),
        ([-1e-7, -1e-3], False),
        ([], True),
    ],
)
def test_whether_float16_held_the_result(values: list, expected: bool) -> None:
    array = np.array(values, np.float16)
    assert holds(array) is expected
    top = float(np.abs(array).max()) if array.size else 1.0
    assert (np.isfinite(top) and top >= 2.0**-6) == expected  # the slow twin


def test_protobuf_fields_round_trip_and_end_where_the_bytes_do() -> None:
    data = varint(1, 300) + nested(2, b"abc") + varint(3, 2**63)
    assert [(n, v if isinstance(v, int) else bytes(v)) for n, v in fields(memoryview(data))] == [
        (1, 300), (2, b"abc"), (3, 2**63),
    ]  # fmt: skip
    for cut in (1, 2, 4, 6, len(data) - 1):
        with pytest.raises(BadBytesError):
            list(fields(memoryview(data[:cut])))


MANY_SESSIONS = """
import numpy as np
from cocoi_agent.engine import new_session
from tests.agent.programs import conv_chain

def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS:"))

x = np.ones((1, 16, 256, 256), np.float32)
sessions, taken = [], []
for _ in range(7):
    sessions.append(new_session(conv_chain(16)))
    sessions[-1].run(None, {"x": x})
    taken.append(resident())
print(taken[-1] - taken[1], x.nbytes // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads memory from procfs")
def test_sessions_share_the_memory_of_their_runs() -> None:
    """Each keeps its weights only; with an arena of their own each would keep several times `x`."""
    found = subprocess.run([sys.executable, "-c", MANY_SESSIONS], capture_output=True, text=True, check=True)
    grown, one = map(int, found.stdout.split())
    assert grown < 3 * one
