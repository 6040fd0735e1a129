"""Which models are classifiers, what they are shown, and where their logits are."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.model.onnxruntime_session import open_session
from tests.model.graphs import make, node, save, weights


@pytest.fixture(scope="module")
def bench(script):
    return script("classifiers")


def described(*shapes):
    return {"outputs": {f"y{place}": {"shape": list(shape)} for place, shape in enumerate(shapes)}}


def test_a_classifier_has_one_output_with_a_value_for_each_class(bench):
    assert all(bench.is_classifier(described(shape)) for shape in [(1, 10), (1, 1000, 1, 1)])
    others = [[(1, 20, 256, 512)], [(1, 1)], [(10,)], [(1, 10), (1, 4)], [(1, 4420, 2)]]
    assert not any(bench.is_classifier(described(*shapes)) for shapes in others)


def test_logits_are_what_the_softmax_takes(bench, tmp_path):
    nodes = [
        node("Gemm", ["x", "w"], ["scores"]),
        node("Softmax", ["scores"], ["parts"], axis=1),
        node("Reshape", ["parts", "shape"], ["y"]),
    ]
    constants = {"w": weights(6, 3), "shape": np.array([1, 3, 1, 1], np.int64)}
    model = save(tmp_path, make(nodes, {"x": (1, 6)}, ["y"], constants))
    (tmp_path / "other").mkdir()
    watched, logits = bench.with_logits(model, tmp_path / "other")
    assert (logits, [info.name for info in watched.outputs]) == ("scores", ["y", "scores"])
    x = np.random.default_rng(1).standard_normal((1, 6)).astype(np.float32)
    y, scores = open_session(watched.path).run(["y", "scores"], {"x": x})
    np.testing.assert_allclose(y.reshape(1, 3), np.exp(scores) / np.exp(scores).sum(), rtol=1e-5)


def test_a_model_without_a_softmax_at_its_end_is_left_as_it_is(bench, tmp_path):
    nodes = [node("Softmax", ["x"], ["parts"], axis=1), node("Gemm", ["parts", "w"], ["y"])]
    model = save(tmp_path, make(nodes, {"x": (1, 6)}, ["y"], {"w": weights(6, 3)}))
    assert bench.with_logits(model, tmp_path) == (model, "y")


def test_a_folder_without_the_data_is_refused(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("COCOI_SHARED", str(tmp_path))
    with pytest.raises(SystemExit, match=r"has no expected\.json"):
        bench.data_folder(None)


def test_every_classifier_is_shown_what_it_has_answers_for(bench, shared):
    found = {each.name: each.pictures for each in bench.classifiers(bench.data_folder(shared / "data"))}
    counts = {name: len(pictures) for name, pictures in found.items()}
    imagenet, cifar = 7, 4
    assert counts == {
        "cifar10_imageclassifier": cifar,
        "fmnist_vgg": bench.DATA_COUNT,
        "mnist_cntk": 1,
        "mobilenetv1_0.25_128_qdq_uint8": imagenet,
        "mobilenetv1_0.5_160_fp32": imagenet,
        "mobilenetv1_1.0_224_fp32": imagenet,
        "resnet20_cifar10": cifar,
        "resnet8_cifar10": cifar,
        "resnet8_cifar10_qdq_int8": cifar,
        "squeezenet1.1_fp16": imagenet,
        "squeezenet1.1_fp32": imagenet,
    }
