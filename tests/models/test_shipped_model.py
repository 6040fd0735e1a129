"""The shipped classifier is what its card says: small, large enough to be worth distributing, and right."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def path(repository: Path) -> Path:
    return repository / "models" / "roadsigns.onnx"


@pytest.fixture(scope="module")
def model(path: Path) -> onnx.ModelProto:
    return onnx.load(path)


@pytest.fixture(scope="module")
def evaluate(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("evaluate")


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def multiplications(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of all convolutions and the head, for one picture."""
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    values = [*inferred.graph.value_info, *inferred.graph.output]
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    total = 0
    for node in inferred.graph.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]][1:]) * math.prod(shapes[node.input[1]][1:])
        elif node.op_type == "Gemm":
            total += math.prod(shapes[node.input[1]])
    return total


def test_file_is_small_and_work_is_large(path: Path, model: onnx.ModelProto) -> None:
    assert path.stat().st_size <= 8 * 2**20
    assert sum(node.op_type == "Conv" for node in model.graph.node) >= 8
    assert multiplications(model) >= 1_000_000_000


def test_input_is_a_picture_of_224_with_an_open_batch(model: onnx.ModelProto) -> None:
    (image,) = model.graph.input
    batch, *rest = image.type.tensor_type.shape.dim
    assert (image.name, batch.dim_param) == ("image", "N")
    assert [d.dim_value for d in rest] == [3, 224, 224]
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)


def test_metadata_say_labels_preprocessing_and_task(
    model: onnx.ModelProto, script: Callable[[str], ModuleType]
) -> None:
    said = metadata(model)
    labels = json.loads(said["labels"])
    assert tuple(labels) == script("signs").LABELS
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == len(labels) >= 12
    assert said["task"] == "classification"
    assert said["author"] == "cocoi"
    preprocess = json.loads(said["preprocess"])
    assert preprocess["resize"] == {"mode": "short-side", "size": 224, "filter": "bilinear"}
    assert preprocess["crop"] == {"mode": "center", "size": [224, 224]}
    assert preprocess["scale"] == 1 / 255


def test_weights_are_float16_and_arithmetic_is_float32(model: onnx.ModelProto) -> None:
    weights = [tensor for tensor in model.graph.initializer if len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT16}
    casts = {node.input[0]: node.attribute[0].i for node in model.graph.node if node.op_type == "Cast"}
    assert casts == {tensor.name: onnx.TensorProto.FLOAT for tensor in weights}


def test_every_sample_is_recognised(path: Path, evaluate: ModuleType, repository: Path) -> None:
    classifier = evaluate.load(path)
    folder = repository / "models" / "samples"
    expected = json.loads((folder / "expected.json").read_text())
    assert "stop.png" in expected
    assert {file.name for file in folder.iterdir()} == {*expected, "expected.json"}
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 2**20
    got = {name: classifier.labels[classifier.classify(Image.open(folder / name))] for name in expected}
    assert got == expected


def test_a_slice_of_the_held_back_pictures_is_recognised(
    path: Path, evaluate: ModuleType, script: Callable[[str], ModuleType]
) -> None:
    classifier, signs = evaluate.load(path), script("signs")
    counts = evaluate.confusion(classifier, signs.examples(signs.HELD_BACK, 64, 224))
    assert counts.sum() == 64
    assert counts.trace() >= 0.95 * 64


def test_pictures_in_a_batch_are_answered_as_each_alone(
    path: Path, evaluate: ModuleType, script: Callable[[str], ModuleType]
) -> None:
    classifier, signs = evaluate.load(path), script("signs")
    pictures = [evaluate.prepare(signs.render(9, label), classifier.preprocess) for label in range(3)]
    (together,) = classifier.session.run(None, {"image": np.concatenate(pictures)})
    alone = np.concatenate([classifier.session.run(None, {"image": one})[0] for one in pictures])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)


def test_the_model_card_speaks_of_this_file(path: Path, repository: Path) -> None:
    card = (repository / "models" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
