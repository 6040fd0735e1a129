"""The benchmark networks have the right layers, run, and follow from their seed alone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def build(script: Callable[[str], ModuleType]) -> Callable[..., onnx.ModelProto]:
    made: Callable[..., onnx.ModelProto] = script("build").build
    return made


def picture(size: tuple[int, int], batch: int = 1) -> np.ndarray:
    return np.random.default_rng(0).random((batch, 3, *size), np.float32)


def run(model: onnx.ModelProto, image: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    answers: list[np.ndarray] = session.run(None, {"image": image})
    return answers


def count(model: onnx.ModelProto, kind: str) -> int:
    return sum(node.op_type == kind for node in model.graph.node)


@pytest.mark.parametrize(
    ("name", "options", "convolutions", "norms"),
    [
        ("vgg16", {"headless": True}, 13, 0),
        ("vgg16", {"half": True}, 13, 0),
        ("resnet18", {}, 20, 20),
        ("resnet50", {}, 53, 53),
    ],
)
def test_classifiers_have_their_layers_and_run(
    build: Callable[..., onnx.ModelProto], name: str, options: dict[str, Any], convolutions: int, norms: int
) -> None:
    model = build(name, 32, **options)
    assert count(model, "Conv") == convolutions
    assert count(model, "BatchNormalization") == norms
    (logits,) = run(model, picture((32, 32)))
    assert logits.shape == (1, 1000)
    assert np.isfinite(logits).all()
    assert 0.1 < logits.std() < 10


def test_superres_enlarges_a_picture_that_can_be_recognised(build: Callable[..., onnx.ModelProto]) -> None:
    model = build("superres", 24)
    inner = [node for node in model.graph.node if node.op_type == "Conv"]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    assert sum(shapes[node.input[1]] == (64, 64, 3, 3) for node in inner) >= 8
    image = picture((24, 24))
    (enlarged,) = run(model, image)
    assert enlarged.shape == (1, 3, 48, 48)
    reduced = enlarged.reshape(1, 3, 24, 2, 24, 2).mean((3, 5))
    assert np.corrcoef(reduced.ravel(), image.ravel())[0, 1] > 0.9


def test_open_sizes_and_batches_take_what_comes(build: Callable[..., onnx.ModelProto]) -> None:
    model = build("superres", 0, batch=0)
    assert run(model, picture((16, 40)))[0].shape == (1, 3, 32, 80)
    assert run(model, picture((10, 6), batch=3))[0].shape == (3, 3, 20, 12)
    assert run(build("resnet18", 0, batch=0), picture((40, 64), batch=2))[0].shape == (2, 1000)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(build: Callable[..., onnx.ModelProto]) -> None:
    for name in ("superres", "resnet18"):
        once, again, other = (build(name, 32, seed=seed).SerializeToString() for seed in (7, 7, 8))
        assert once == again
        assert once != other


def test_half_weights_are_float16_and_answers_hardly_differ(build: Callable[..., onnx.ModelProto]) -> None:
    full, half = build("resnet18", 32), build("resnet18", 32, half=True)
    assert half.ByteSize() < 0.51 * full.ByteSize()
    large = [tensor for tensor in half.graph.initializer if len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    expected, got = run(full, picture((32, 32)))[0], run(half, picture((32, 32)))[0]
    assert np.abs(got - expected).max() < 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "superres"])
def test_activations_keep_about_unit_size(build: Callable[..., onnx.ModelProto], name: str) -> None:
    model = build(name, 64)
    inner = [node.output[0] for node in model.graph.node if node.op_type == "Relu"]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in inner)
    image = np.random.default_rng(1).standard_normal((1, 3, 64, 64), np.float32)
    for name_of_value, value in zip(inner, run(model, image)[1:], strict=True):
        assert 0.1 < np.sqrt(np.square(value).mean()) < 5, name_of_value


@pytest.mark.parametrize(
    ("name", "size", "batch"), [("vgg16", 0, 1), ("vgg16", 31, 1), ("resnet50", -1, 1), ("superres", 8, -1)]
)
def test_impossible_sizes_are_refused(build: Callable[..., onnx.ModelProto], name: str, size: int, batch: int) -> None:
    with pytest.raises(ValueError, match=name):
        build(name, size, batch=batch)


def test_the_command_writes_the_file(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    command = [sys.executable, str(repository / "models" / "build.py"), "superres", "--size", "16", "--out", str(out)]
    subprocess.run(command, check=True, timeout=60)
    assert run(onnx.load(out), picture((16, 16)))[0].shape == (1, 3, 32, 32)
