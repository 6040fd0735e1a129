"""Kernels in this process and in a child give the same bits; a child that ends is an error, never a hang."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from cocoi_cli.model.layers import find_layers
from cocoi_cli.model.network import ConvSpec, ConvStage, LoadedModel, LocalStage
from cocoi_cli.model.onnxruntime_session import RefusedModelError
from cocoi_cli.model.slices import slice_program
from cocoi_cli.model.stages import cut
from cocoi_cli.runtime import host
from cocoi_cli.runtime.host import (
    BASELINE_RUNS,
    HostKernels,
    Kernels,
    LocalStageError,
    ModelRunError,
    ProgramError,
    slice_of,
)
from cocoi_cli.runtime.kernel_process import KernelProcess, KernelsLostError
from tests.runtime.small_network import picture, small_network


class CountingSession:
    """An ONNX Runtime session that only counts."""

    def __init__(self) -> None:
        self.runs = 0

    def run(self, names: list[str], feeds: object) -> list[np.ndarray]:
        self.runs += 1
        return [np.zeros((1, 5), np.float32) for _ in names]


SPEC = ConvSpec((3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 1, 4, 5)
RNG = np.random.default_rng(4)
WEIGHT = RNG.standard_normal((5, 4, 3, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def here() -> HostKernels:
    return HostKernels(threads=1)


@pytest.fixture(scope="module")
def child() -> Iterator[KernelProcess]:
    with KernelProcess(threads=1) as process:
        yield process


@pytest.fixture(params=["here", "child"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return small_network(tmp_path_factory.mktemp("model"))


def stages(model: LoadedModel) -> tuple[LocalStage | ConvStage, ...]:
    prepared = find_layers(model, {"image": (1, 3, 40, 40)})
    return cut(prepared, ["conv2"]).stages


def program(*nodes: object, inputs: dict[str, int], outputs: dict[str, int], extra: tuple = ()) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(name, kind, None) for name, kind in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        list(extra),
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 2)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def conv_stage(model: bytes, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> LocalStage:
    """One that counts as holding a convolution, so that a child computes it."""
    return LocalStage("local 7", inputs, outputs, model, ("some conv",), 1)


def test_both_convolve_alike(here, child) -> None:
    for rows in (3, 7, 40):
        x = RNG.standard_normal((1, 4, rows, 9)).astype(np.float32)
        a, b = (kernels.convolve(SPEC, 2, x, WEIGHT) for kernels in (here, child))
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("enough_s", "runs"), [(0.0, [2, 1]), (1e9, [1 + BASELINE_RUNS, 1 + BASELINE_RUNS])])
def test_the_first_run_of_a_model_is_no_baseline_however_long_it_takes(model, monkeypatch, enough_s, runs) -> None:
    monkeypatch.setattr(host, "ENOUGH_S", enough_s)
    opened: list[CountingSession] = []
    monkeypatch.setattr(host, "open_session", lambda *_, **__: opened.append(CountingSession()) or opened[-1])
    kernels = HostKernels(threads=1)
    for expected in runs:
        before = opened[-1].runs if opened else 0
        kernels.baseline(model, picture())
        assert opened[-1].runs - before == expected
    kernels.baseline(replace(model, sha256="another"), picture())
    assert opened[-1].runs == runs[0]
    kernels.baseline(replace(model, sha256="a third"), picture(), repeat=False)
    assert [each.runs for each in opened] == [sum(runs), runs[0], 1]


def test_both_run_stages_and_models_alike(here, child, model) -> None:
    for repeat in (True, False):
        a, b = (kernels.baseline(model, picture(), repeat=repeat) for kernels in (here, child))
        np.testing.assert_array_equal(a.outputs["logits"], b.outputs["logits"])
        assert b.seconds > 0
    tensors: dict[str, np.ndarray] = dict(picture())
    for stage in stages(model):
        if isinstance(stage, ConvStage):
            tensors[stage.output] = RNG.standard_normal(stage.output_shape).astype(np.float32)
            continue
        for kernels in (here, child):
            kernels.open_stage(stage)
        a, b = (kernels.run_stage(stage, tensors) for kernels in (here, child))
        assert a.keys() == b.keys() == set(stage.outputs)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name])
        tensors.update(a)


@pytest.mark.parametrize(
    "x",
    [
        np.arange(12, dtype=np.int64).reshape(3, 4),
        np.array(2.5),
        np.zeros((0, 3), np.float32),
        np.array([True, False]),
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1),
        np.array(["a", "longer"], object),
        np.array([["é", ""]]),
    ],
    ids=lambda x: f"{x.dtype}-{x.shape}",
)
def test_arrays_of_every_kind_come_back_as_they_went(kernels, x) -> None:
    kind = TensorProto.STRING if x.dtype.kind in "OU" else helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = program(helper.make_node("Identity", ["x"], ["y"]), inputs={"x": kind}, outputs={"y": kind})
    (y,) = kernels.run_program(graph, {"x": x}, ["y"])
    assert y.shape == x.shape
    assert y.tolist() == x.tolist()
    found = kernels.run_stage(conv_stage(graph, ("x",), ("y",)), {"x": x, "unused": np.zeros(3)})
    assert found["y"].tolist() == x.tolist()


def test_sequences_and_maps_pass_through_stages(here, child) -> None:
    zipmap = helper.make_node("ZipMap", ["p"], ["m"], domain="ai.onnx.ml", classlabels_strings=["cat", "dog"])
    value = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(1, ()))
    )
    graph = helper.make_graph(
        [zipmap],
        "z",
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])],
        [helper.make_value_info("m", value)],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 2)]
    data = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    p = {"p": np.array([[0.25, 0.75], [1.0, 0.0]], np.float32)}
    a, b = (kernels.run_stage(conv_stage(data, ("p",), ("m",)), p) for kernels in (here, child))
    assert a == b == {"m": [{"cat": 0.25, "dog": 0.75}, {"cat": 1.0, "dog": 0.0}]}


def test_programs_take_weights_and_give_the_outputs_asked_for(kernels) -> None:
    graph = slice_program(SPEC, 2, "f16")
    x = RNG.standard_normal((1, 4, 6, 5)).astype(np.float16)
    for _ in range(2):
        wide, half = kernels.run_program(graph, {"x": x}, ["y32", "y16"], {"w": WEIGHT})
        np.testing.assert_array_equal(wide.astype(np.float16), half)
        np.testing.assert_array_equal(wide, kernels.convolve(SPEC, 2, x.astype(np.float32), WEIGHT))
    (alone,) = kernels.run_program(graph, {"x": x, "w": WEIGHT}, ["y32"])
    np.testing.assert_array_equal(alone, wide)


def test_weights_that_are_gone_are_not_mistaken_for_others(child) -> None:
    """New arrays take the place of old ones in memory; the child must never compute with the old."""
    x = np.ones((1, 4, 3, 3), np.float32)
    for value in range(30):
        weight = np.full((5, 4, 3, 3), value, np.float32)
        assert child.convolve(SPEC, 2, x, weight).max() == value * 4 * 9
        del weight


def test_results_belong_to_the_caller(kernels) -> None:
    x = RNG.standard_normal((1, 4, 6, 5)).astype(np.float32)
    first = kernels.convolve(SPEC, 2, x, WEIGHT)
    kept = first.copy()
    kernels.convolve(SPEC, 2, -x, WEIGHT)
    np.testing.assert_array_equal(first, kept)
    first[...] = 0


def test_errors_are_the_same_exceptions(kernels, model) -> None:
    wrong = {"x": np.zeros((1, 3, 6, 5), np.float32)}
    with pytest.raises(ProgramError, match="on the host"):
        kernels.run_program(slice_of(SPEC, 2), wrong, ["y32"], {"w": WEIGHT})
    with pytest.raises(RefusedModelError):
        kernels.run_program(b"no graph", {}, ["y"])
    with pytest.raises(RefusedModelError):
        kernels.open_stage(conv_stage(b"none either", (), ()))
    bad = conv_stage(slice_of(SPEC, 2), ("x", "w"), ("y32",))
    with pytest.raises(LocalStageError, match="`local 7`") as caught:
        kernels.run_stage(bad, {**wrong, "w": WEIGHT})
    assert caught.value.details["stage"] == "local 7"
    with pytest.raises(ModelRunError, match=model.name):
        kernels.baseline(model, {"image": np.zeros((1, 3, 40), np.float32)})
    with pytest.raises(LocalStageError, match="'w'"):
        kernels.run_stage(bad, wrong)
    assert kernels.convolve(SPEC, 2, np.zeros((1, 4, 3, 3), np.float32), WEIGHT).shape == (1, 5, 1, 3)


def test_fifty_megabytes_go_and_come(kernels) -> None:
    x = np.arange(50 << 18, dtype=np.float32).reshape(50, 1 << 18)
    graph = program(helper.make_node("Neg", ["x"], ["y"]), inputs={"x": 1}, outputs={"y": 1})
    (y,) = kernels.run_program(graph, {"x": x}, ["y"])
    np.testing.assert_array_equal(y, -x)


def test_many_small_requests_from_several_threads(here, child) -> None:
    inputs = [RNG.standard_normal((1, 4, 3 + index % 5, 9)).astype(np.float32) for index in range(120)]
    found: dict[int, np.ndarray] = {}

    def work(part: range) -> None:
        for index in part:
            found[index] = child.convolve(SPEC, 2, inputs[index], WEIGHT)

    threads = [threading.Thread(target=work, args=(range(first, 120, 4),)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, x in enumerate(inputs):
        np.testing.assert_array_equal(found[index], here.convolve(SPEC, 2, x, WEIGHT))


def test_a_forgotten_model_can_be_run_again(kernels, model) -> None:
    graph = slice_of(SPEC, 2)
    x = np.ones((1, 4, 3, 3), np.float32)
    for _ in range(2):
        for stage in stages(model):
            if isinstance(stage, LocalStage):
                kernels.open_stage(stage)
        assert kernels.run_program(graph, {"x": x}, ["y32"], {"w": WEIGHT})[0].shape == (1, 5, 1, 3)
        kernels.forget_stages()


def test_a_forgotten_stage_can_be_run_again_and_the_others_go_on(kernels, model) -> None:
    prepared = find_layers(model, {"image": (1, 3, 40, 40)})
    everything = cut(prepared, [layer.name for layer in prepared.layers])
    local = [stage for stage in (*stages(model), *everything.stages) if isinstance(stage, LocalStage)]
    assert {bool(stage.layers) for stage in local} == {True, False}  # which are computed elsewhere, and here
    for stage in local:
        kernels.open_stage(stage)
    for stage in local:
        kernels.forget_stage(stage)
        kernels.forget_stage(stage)  # nothing is left to forget
        kernels.open_stage(stage)


def test_the_session_of_a_forgotten_stage_is_closed(model) -> None:
    local = [stage for stage in stages(model) if isinstance(stage, LocalStage)]
    kernels = HostKernels(threads=1)
    for stage in local:
        kernels.open_stage(stage)
    sessions = [weakref.ref(session) for session in kernels._local.values()]
    kernels.forget_stage(local[0])
    assert [session() is None for session in sessions] == [True, *[False] * (len(local) - 1)]


def endless() -> bytes:
    """A program that computes for hours."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["c"], ["c2"]),
            helper.make_node("Sin", ["v"], ["v2"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, None),
        ],
    )
    count, go = np.array(1 << 40, np.int64), np.array(True)
    return program(
        helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body),
        inputs={"x": 1},
        outputs={"y": 1},
        extra=(numpy_helper.from_array(count, "n"), numpy_helper.from_array(go, "go")),
    )


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "close"])
def test_a_child_that_ends_in_the_middle_is_an_error(end) -> None:
    process = KernelProcess(threads=1)
    process.wait_ready()
    caught: list[BaseException] = []

    def work() -> None:
        try:
            process.run_program(endless(), {"x": np.ones(1000, np.float32)}, ["y"])
        except KernelsLostError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    if end == "kill":
        os.kill(process.pid, signal.SIGKILL)
    else:
        process.close()
    thread.join(60)
    assert not thread.is_alive()
    (error,) = caught
    assert isinstance(error, KernelsLostError)
    assert ("signal 9 (SIGKILL)" if end == "kill" else "it was closed") in error.message
    with pytest.raises(KernelsLostError):
        process.convolve(SPEC, 2, np.zeros((1, 4, 3, 3), np.float32), WEIGHT)
    process.close()
    process.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.slow
def test_a_child_that_cannot_start_says_why(monkeypatch) -> None:
    monkeypatch.setattr("cocoi_cli.runtime.kernel_process.MODULE", "cocoi_cli.runtime.nowhere")
    with KernelProcess() as process, pytest.raises(KernelsLostError, match=r"status 1: .*nowhere"):
        process.wait_ready()


PARENT = """
import os, sys, threading, types
import numpy as np
from cocoi_cli.runtime import kernel_process
log = lambda **_: os.fdopen(int(sys.argv[1]), "wb")
kernel_process.tempfile = types.SimpleNamespace(TemporaryFile=log)
process = kernel_process.KernelProcess(threads=1)
process.wait_ready()
graph = sys.stdin.buffer.read()
feeds = {"x": np.ones(1000, np.float32)}
threading.Thread(target=process.run_program, args=(graph, feeds, ["y"]), daemon=True).start()
print(process.pid, flush=True)
threading.Event().wait()
"""


@pytest.mark.slow
def test_a_child_does_not_outlive_its_parent(repository) -> None:
    """Killed while the child computes: the pipe that only these two hold closes when both are gone."""
    reading, writing = os.pipe()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(writing)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(writing,),
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'agent'}"},
    )
    os.close(writing)
    assert parent.stdin is not None
    assert parent.stdout is not None
    with parent.stdin, parent.stdout:
        parent.stdin.write(endless())
        parent.stdin.close()
        child = int(parent.stdout.readline())
        assert not select.select([reading], [], [], 0)[0]
        parent.kill()
        parent.wait()
    closed = select.select([reading], [], [], 60)[0]
    assert closed, f"process {child} is still there"
    assert os.read(reading, 1) == b""
    os.close(reading)
