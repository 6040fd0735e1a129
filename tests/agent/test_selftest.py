"""The self-test: its stored result against a slow twin, and what its failing does to a start."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cocoi_agent import __version__
from cocoi_agent.graphs import check_graph, conv_model, float16_cast_model
from cocoi_agent.selftest import SelfTestFailedError, compare, expected, inputs, self_test
from tests.agent.processes import AGENT, SERVICE, WAIT_S, Manager, Start

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16


def test_the_stored_result_is_that_of_the_slow_twin() -> None:
    x, w = (array.astype(np.float64) for array in inputs())
    slow = np.zeros((1, 16, 4, 4))
    for a in range(3):
        for b in range(3):
            slow += np.einsum("nchw,oc->nohw", x[:, :, a : a + 4, b : b + 4], w[:, :, a, b])
    np.testing.assert_array_equal(expected(), slow)
    assert len(np.unique(slow)) > 100
    assert (slow.astype(np.float16) != slow).any()  # the cast has something to round


def test_onnx_itself_builds_the_same_models() -> None:
    value = helper.make_tensor_value_info
    cast = helper.make_node("Cast", ["x"], ["y"], to=F16)
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=F32),
        helper.make_node("Conv", ["wide", "w"], ["y32"]),
        helper.make_node("Cast", ["y32"], ["y16"], to=F16),
    ]
    taken, given = [value("x", F16, None), value("w", F32, None)], [value("y16", F16, None), value("y32", F32, None)]
    conv = helper.make_graph(nodes, "cocoi", taken, given)
    narrow = helper.make_graph([cast], "cocoi", [value("x", F32, None)], [value("y", F16, None)])
    for ours, graph in ((conv_model(), conv), (float16_cast_model(), narrow)):
        theirs = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        assert onnx.load_model_from_string(ours) == theirs
        check_graph(ours)


@pytest.mark.parametrize("threads", [1, 2])
def test_passes_here(threads: int) -> None:
    passed = self_test(threads)
    assert (passed.ok, passed.version, passed.onnxruntime) == (True, __version__, onnxruntime.__version__)


def test_what_is_near_passes_and_what_is_wrong_does_not() -> None:
    right = expected()
    compare(right.astype(np.float16), right + np.float32(3e-5))
    for narrow, wide in (
        (right.astype(np.float16), right + np.float32(0.01)),
        (right.astype(np.float16) * np.float16(1.01), right),
        (right.astype(np.float16), np.where(right == right.max(), np.nan, right).astype(np.float32)),
        (right.astype(np.float32), right),
        (right.astype(np.float16), right[:, :8]),
    ):
        with pytest.raises(SelfTestFailedError, match=r"the self-test failed: the f(16|32) result"):
            compare(narrow, wide)


def test_alone_it_prints_one_line_and_needs_no_certificates(start: Start) -> None:
    process = start([*AGENT, "--self-test"])
    output, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (0, b"")
    found = json.loads(output)
    assert set(found) == {"ok", "version", "onnxruntime", "numpy", "python", "seconds"}
    assert found["ok"] is True


WRONG = """
import sys
from cocoi_agent import selftest
from cocoi_agent.__main__ import start
from cocoi_agent.options import parse
right = selftest.expected()
selftest.expected = lambda: right + 1  # as if the kernels computed something else
sys.exit(start(parse(sys.argv[1:])))
"""


@pytest.mark.parametrize(("options", "status"), [(["--self-test"], 1), ([*SERVICE[3:], "--security", "none"], 4)])
def test_one_that_is_not_passed_ends_the_process_and_it_is_never_ready(
    start: Start, manager: Manager, options: list[str], status: int
) -> None:
    process = start([sys.executable, "-c", WRONG, *options], environment=manager.environment())
    output, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, output) == (status, b"")
    assert errors.decode() == "error: the self-test failed: the f32 result differs by up to 1\n"
    assert manager.is_silent()


@pytest.mark.parametrize(("options", "status"), [(["--self-test"], 1), (["--security", "none"], 4)])
def test_a_runtime_that_cannot_be_imported_is_a_sentence(
    start: Start, tmp_path: Path, repository: Path, options: list[str], status: int
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libfoo.so.1: no such file')\n")
    process = start([*AGENT, *options], environment={"PYTHONPATH": f"{tmp_path}:{repository / 'agent'}"})
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == status
    assert errors.decode() == "error: the libraries cannot be imported: ImportError: libfoo.so.1: no such file\n"


def test_a_start_shows_no_remarks_of_the_runtime_and_a_test_shows_them(
    start: Start, tmp_path: Path, repository: Path
) -> None:
    """Some releases of ONNX Runtime warn at import, from C++, that there is no graphics processor."""
    (tmp_path / "onnxruntime.py").write_text(
        textwrap.dedent("""
        import os
        os.write(2, b"no graphics processor\\n")
        def set_default_logger_severity(level):
            os.write(2, f"silenced {level}\\n".encode())
        """)
    )
    shown = {}
    for silent in (True, False):
        code = f"from cocoi_agent.quiet import load_runtime; load_runtime(silent={silent})"
        process = start([sys.executable, "-c", code], environment={"PYTHONPATH": f"{tmp_path}:{repository / 'agent'}"})
        shown[silent] = process.communicate(timeout=WAIT_S)[1].decode().splitlines()
    assert shown == {True: ["silenced 4"], False: ["no graphics processor", "silenced 4"]}


@pytest.mark.parametrize(
    ("options", "status"), [(["--self-test"], 0), (["--security", "none", "--store", "/proc/x"], 3)]
)
def test_an_agent_without_stderr_does_as_any_other(repository: Path, options: list[str], status: int) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *AGENT, *options],
        env={"PYTHONPATH": str(repository / "agent")},
        stdout=subprocess.PIPE,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == status
