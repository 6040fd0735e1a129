"""Classifiers of the development data, the pictures that each has answers recorded for, and their logits."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import helper, shape_inference

from cocoi_cli.model.images import read_image
from cocoi_cli.model.load import load_model
from cocoi_cli.model.pictures import image_input, prepare
from cocoi_cli.model.preprocess import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.runtime.report import AnyArray

ROOT: Final = Path(__file__).resolve().parent.parent
DESCRIPTIONS: Final = ROOT / "tests" / "data" / "preprocess"
KEEPS_ORDER: Final = frozenset({"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast"})

# A model whose pictures come out of a data set: its test pictures, how many, and their mean and deviation.
DATA_SET: Final = "fmnist_vgg"
DATA_FILE: Final = "datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
DATA_HEADER, DATA_SIDE, DATA_COUNT = 16, 28, 10
DATA_MEAN, DATA_STD = 0.2860, 0.3530


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model and what it is shown.

    Attributes:
        name: Of the file, without its ending.
        path: The model as it was published.
        pictures: Name to the model's tensors.
    """

    name: str
    path: Path
    pictures: Mapping[str, Mapping[str, AnyArray]]


def data_folder(named: Path | None) -> Path:
    """The folder with `models`, `images` and `expected.json`: the one that is named, or that of COCOI_SHARED.

    Raises:
        SystemExit: If there is none.
    """
    folder = named or Path(os.environ.get("COCOI_SHARED") or ROOT.parent / "shared") / "data"
    if not (folder / "expected.json").is_file():
        message = f"`{folder}` has no expected.json; --data or COCOI_SHARED names the development data"
        raise SystemExit(message)
    return folder


def classifiers(folder: Path) -> list[Classifier]:
    """Every classifier with pictures, by name."""
    recorded = json.loads((folder / "expected.json").read_text())
    found = []
    for file, entry in sorted(recorded.items()):
        path = folder / "models" / file
        if is_classifier(entry) and entry["images"]:
            images = {name: folder / "images" / name for name in entry["images"]}
            found.append(Classifier(path.stem, path, _photographs(path, images)))
        elif path.stem == DATA_SET and (folder / DATA_FILE).is_file():
            found.append(Classifier(path.stem, path, _test_pictures(path, folder / DATA_FILE)))
    return found


def is_classifier(entry: Mapping[str, Any]) -> bool:
    """Whether what is recorded of a model has one output with a value for each class."""
    shapes = [output["shape"] for output in entry["outputs"].values()]
    return len(shapes) == 1 and len(shapes[0]) > 1 and shapes[0][1] > 1 and all(size == 1 for size in shapes[0][2:])


def _photographs(model_path: Path, images: Mapping[str, Path]) -> dict[str, dict[str, AnyArray]]:
    how = from_json((DESCRIPTIONS / f"{model_path.stem}.json").read_text(), model_path.stem)
    target = image_input(load_model(model_path), how.layout)
    return {
        name: {target.name: prepare(read_image(str(path)), how, target, name).tensor} for name, path in images.items()
    }


def _test_pictures(model_path: Path, archive: Path) -> dict[str, dict[str, AnyArray]]:
    size = DATA_SIDE * DATA_SIDE
    with gzip.open(archive) as file:
        values = np.frombuffer(file.read(DATA_HEADER + DATA_COUNT * size), np.uint8, offset=DATA_HEADER)
    pictures = (values.reshape(-1, 1, 1, DATA_SIDE, DATA_SIDE) / np.float32(255) - DATA_MEAN) / DATA_STD
    (info,) = load_model(model_path).inputs
    return {f"test {number}": {info.name: each.astype(np.float32)} for number, each in enumerate(pictures)}


# --- logits ----------------------------------------------------------------------------


def with_logits(model: LoadedModel, folder: Path) -> tuple[LoadedModel, str]:
    """The model with its logits as one more output, where its own output is a softmax of them.

    Args:
        model: As published.
        folder: Where the file of the other model is put.

    Returns:
        The model, and the output that has the logits: of a model without a softmax its own.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    output = proto.graph.output[0].name
    logits = before_softmax(proto, output)
    if logits == output:
        return model, output
    inferred = {value.name: value for value in shape_inference.infer_shapes(proto).graph.value_info}
    value = inferred.get(logits) or helper.make_tensor_value_info(logits, onnx.TensorProto.FLOAT, None)
    proto.graph.output.append(value)
    path = folder / f"{model.name}.onnx"
    path.write_bytes(proto.SerializeToString())
    return load_model(path), logits


def before_softmax(proto: Any, output: str) -> str:  # noqa: ANN401 - onnx's stubs are not usable
    """The value that a softmax makes an output of, with nothing behind it that changes numbers; else the output."""
    makers = {name: node for node in proto.graph.node for name in node.output}
    node = makers.get(output)
    while node is not None and node.op_type in KEEPS_ORDER:
        node = makers.get(node.input[0])
    return str(node.input[0]) if node is not None and node.op_type == "Softmax" else output
