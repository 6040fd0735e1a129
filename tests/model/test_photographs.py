"""Each development model with its described preprocessing sees in the photographs what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from cocoi_cli.model.classes import classify
from cocoi_cli.model.drawing import areas, class_map, draw
from cocoi_cli.model.images import read_image
from cocoi_cli.model.labels import parse
from cocoi_cli.model.load import load_model
from cocoi_cli.model.pictures import image_input, prepare
from cocoi_cli.model.preprocess import from_json

pytestmark = pytest.mark.shared

DESCRIPTIONS = Path(__file__).parent.parent / "data" / "preprocess"
CLASSIFIERS = {
    "squeezenet1.1_fp16": "imagenet_1000_synset",
    "squeezenet1.1_fp32": "imagenet_1000_synset",
    "mobilenetv1_1.0_224_fp32": "imagenet_1001_labels",
    "mobilenetv1_0.5_160_fp32": "imagenet_1001_labels",
    "mobilenetv1_0.25_128_qdq_uint8": "imagenet_1001_labels",
    "resnet20_cifar10": "cifar10_labels",
    "resnet8_cifar10": "cifar10_labels",
    "resnet8_cifar10_qdq_int8": "cifar10_labels",
    "cifar10_imageclassifier": "cifar10_labels",
    "mnist_cntk": None,
}
MAPS = {"deeplabv3_mnv2_dm05_voc_fp32": "voc_21_labels", "espnet_p2q3_cityscapes": "cityscapes_20_labels"}


@pytest.fixture(scope="module")
def recorded(shared):
    return json.loads((shared / "data" / "expected.json").read_text())


class Eye:
    """A model, its description and ONNX Runtime."""

    def __init__(self, shared, name):
        self._images = shared / "data" / "images"
        path = shared / "data" / "models" / f"{name}.onnx"
        text = (DESCRIPTIONS / f"{name}.json").read_text()
        self.how = from_json(text, name)
        self._target = image_input(load_model(path), self.how.layout)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def sees(self, image):
        ready = prepare(read_image(str(self._images / image)), self.how, self._target, "x")
        names = [output.name for output in self._session.get_outputs()]
        return ready, dict(zip(names, self._session.run(names, {self._target.name: ready.tensor}), strict=True))


def labels(shared, name):
    text = (shared / "data" / "labels" / f"{name}.txt").read_text()
    return [label.split(",")[0] for label in parse(text, name)]


def test_every_model_with_photographs_has_a_description(recorded):
    described = {path.stem for path in DESCRIPTIONS.glob("*.json")}
    assert described == {name.removesuffix(".onnx") for name, entry in recorded.items() if entry["images"]}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_name_what_is_in_the_picture(shared, recorded, name):
    eye = Eye(shared, name)
    names = labels(shared, CLASSIFIERS[name]) if CLASSIFIERS[name] else [str(digit) for digit in range(10)]
    for image, expected in recorded[f"{name}.onnx"]["images"].items():
        _, outputs = eye.sees(image)
        best = classify(next(iter(outputs.values())), names, 1)[0][0]
        # Quantised models may differ by one or two steps on another processor.
        close = 2 if "qdq" in name else 2e-3 * max(1.0, abs(expected[0][1]))
        assert best.value == pytest.approx(expected[0][1], abs=close), image
        assert best.label == expected[0][0], image


@pytest.mark.parametrize("name", MAPS)
def test_maps_cover_what_was_recorded(shared, recorded, name):
    eye, names = Eye(shared, name), labels(shared, MAPS[name])
    for image, expected in recorded[f"{name}.onnx"]["images"].items():
        _, outputs = eye.sees(image)
        covered = {area.label: area.share for area in areas(class_map(next(iter(outputs.values())), names), names)}
        assert {label: pytest.approx(covered[label], abs=2e-3) for label, _ in expected} == dict(expected)


def test_super_resolution_keeps_the_colours_of_the_picture(shared, recorded):
    eye = Eye(shared, "super_resolution_espcn_x3_224")
    ready, outputs = eye.sees("parrot.jpg")
    assert float(outputs["output"].mean()) == pytest.approx(0.5278, abs=1e-3)
    drawn = draw(outputs, eye.how, ready.picture, None)
    large = ready.picture.resize((672, 672), 3)
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(large)).mean() < 6


def test_style_transfer_stays_in_the_units_of_its_input(shared, recorded):
    eye = Eye(shared, "style_candy_std_dynamic")
    _, outputs = eye.sees("parrot.jpg")
    output = outputs["outputImage"]
    assert (float(output.mean()), float(output.std())) == pytest.approx((140.193, 75.098), abs=0.05)


def test_faces_and_poses_are_where_they_were(shared, recorded):
    _, faces = Eye(shared, "ultraface_slim_320").sees("face.jpg")
    best = int(faces["scores"][0, :, 1].argmax())
    corners = faces["boxes"][0, best].reshape(2, 2)
    with_size = read_image(str(shared / "data" / "images" / "face.jpg")).size
    expected = np.array(recorded["ultraface_slim_320.onnx"]["images"]["face.jpg"][0][1:]).reshape(2, 2)
    np.testing.assert_allclose(corners * with_size, expected, atol=1.0)
    _, poses = Eye(shared, "posenet_mbv1_0.75_353x481").sees("grace_hopper.bmp")
    assert int((poses["heatmaps"][0].reshape(17, -1).max(axis=1) > 0).sum()) == 10
