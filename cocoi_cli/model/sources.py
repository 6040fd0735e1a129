"""Where labels and preprocessing of a model come from.

Both are looked for in one order: the file named on the command line, the model's own
`metadata_props`, a file beside the model, ImageNet's custom with a warning.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from cocoi_cli.model import labels as labels_form
from cocoi_cli.model import preprocess as preprocess_form
from cocoi_cli.model.classes import class_width, label_width
from cocoi_cli.model.inputs import read_bytes
from cocoi_cli.model.labels import KEYS, BadLabelsError
from cocoi_cli.model.preprocess import BadPreprocessError, Crop, Preprocess, Resize

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cocoi_cli.model.network import LoadedModel, Shape
    from cocoi_cli.model.pictures import ImageInput

LABELS_KEY = "labels"
PREPROCESS_KEY = "preprocess"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# ONNX's own image metadata (docs/MetadataProps.md of onnx/onnx), as written by WinML tools.
_PIXELS = {"Gray8": "GREY", "Rgb8": "RGB", "Bgr8": "BGR", "Rgba8": "RGB", "Bgra8": "BGR"}
_RANGES = {"NominalRange_0_255": (1.0, 0.0), "Normalized_0_1": (1 / 255, 0.0), "Normalized_1_1": (2 / 255, 1.0)}


@dataclass(frozen=True, slots=True)
class Labels:
    """Names of classes and where they were found.

    Attributes:
        names: One per class.
        source: In words that fit after "labels:".
        warning: What the user should know about a guess, or None.
    """

    names: tuple[str, ...]
    source: str
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPreprocess:
    """Preprocessing and where it was found; fields as in `Labels`."""

    how: Preprocess
    source: str
    warning: str | None = None


def find_labels(model: LoadedModel, given: str | None = None) -> Labels | None:
    """Find the labels of a model; None where there are none to be found.

    Args:
        model: The model.
        given: A file named by the user, which then decides.

    Raises:
        NoSuchFileError, UnreadableFileError: If the named file cannot be read.
        BadLabelsError: If labels are unreadable or do not number the output's width.
    """
    width = label_width(model)
    found = _given_labels(given) if given is not None else _own_labels(model) or _labels_beside(model, width)
    if found is not None:
        if width is not None and len(found.names) != width:
            text = f"there are {len(found.names)}, and model `{model.name}` has {width} classes"
            raise BadLabelsError(found.source, text, labels=len(found.names), classes=width)
        return found
    if width in {1000, 1001}:
        names = _imagenet() if width == 1000 else ("background", *_imagenet())
        return Labels(names, "built-in ImageNet names", "no labels found: ImageNet's names are assumed")
    return None


def check_labels(labels: Labels | None, shapes: Mapping[str, Shape]) -> None:
    """Refuse labels that number no output's classes, once a run has told sizes that the file left open.

    Raises:
        BadLabelsError: If there are outputs with classes, and none with this many.
    """
    widths = {name: width for name, shape in shapes.items() if (width := class_width(shape)) is not None}
    if labels is not None and widths and len(labels.names) not in widths.values():
        name, width = next(iter(widths.items()))
        text = f"there are {len(labels.names)}, and output `{name}` has {width} classes"
        raise BadLabelsError(labels.source, text, labels=len(labels.names), classes=width)


def find_preprocess(model: LoadedModel, target: ImageInput | None = None, given: str | None = None) -> FoundPreprocess:
    """Find out how pictures are prepared for a model.

    Args:
        model: The model.
        target: Its picture input, to which ImageNet's custom is fitted where nothing is found.
        given: A file named by the user, which then decides.

    Raises:
        NoSuchFileError, UnreadableFileError: If the named file cannot be read.
        BadPreprocessError: If a description is unreadable.
    """
    if given is not None:
        return _preprocess_file(given)
    found = _own_preprocess(model) or _preprocess_beside(model)
    if found is not None:
        return found
    return FoundPreprocess(
        imagenet_default(target),
        "built-in ImageNet default",
        "no preprocessing found: ImageNet's custom is assumed, which may not be what the model was trained with",
    )


def imagenet_default(target: ImageInput | None) -> Preprocess:
    """ImageNet's custom fitted to an input: short side 256/224 of the size, centre crop.

    Float inputs get values / 255 less ImageNet's mean over its deviation (grey: values /
    255); `uint8` inputs raw values and `int8` values less 128, as quantised models have it.
    """
    grey = target is not None and target.channels == 1
    integer = target is not None and target.dtype in {"uint8", "int8"}
    fixed = target is not None and target.height is not None and target.width is not None
    size = None if fixed else (224, 224)
    scale = 1.0 if integer else 1 / 255
    mean: tuple[float, ...] = _MEAN
    std: tuple[float, ...] = _STD
    if integer or grey:
        mean, std = (128.0 if target is not None and target.dtype == "int8" else 0.0,), (1.0,)
    return Preprocess(
        color="GREY" if grey else "RGB",
        resize=Resize("short-side", None if fixed else (256, 256), "bilinear"),
        crop=Crop(size),
        scale=scale,
        mean=mean,
        std=std,
    )


def _given_labels(given: str) -> Labels:
    source = f"`{given}`"
    return Labels(labels_form.parse(_text(given, BadLabelsError), source), source)


def _own_labels(model: LoadedModel) -> Labels | None:
    for key in KEYS:
        text = model.metadata.get(key, "").strip()
        if text:
            source = f"the model's metadata (`{key}`)"
            separated = text if text[0] in "[{" or "\n" in text else "\n".join(text.split(","))
            return Labels(labels_form.parse(separated, source), source)
    return None


def _labels_beside(model: LoadedModel, width: int | None) -> Labels | None:
    stem = model.path.stem
    for name in (f"{stem}.labels.txt", f"{stem}.labels.json", f"{stem}_labels.txt", f"{stem}_labels.json"):
        path = model.path.with_name(name)
        if path.is_file():
            return _given_labels(str(path))
    table = _table_beside(model)
    if table is not None and any(key in table[1] for key in KEYS):
        source = f"`{table[0]}`"
        return Labels(labels_form.from_value(table[1], source), source)
    for name in ("labels.txt", "labels.json"):
        path = model.path.with_name(name)
        # A list for the whole folder may belong to another model in it: the count decides.
        if path.is_file() and width == len((found := _given_labels(str(path))).names):
            return found
    return None


def _own_preprocess(model: LoadedModel) -> FoundPreprocess | None:
    text = model.metadata.get(PREPROCESS_KEY, "").strip()
    if text:
        source = f"the model's metadata (`{PREPROCESS_KEY}`)"
        return FoundPreprocess(preprocess_form.from_json(text, source), source)
    return _onnx_image_metadata(model.metadata)


def _onnx_image_metadata(metadata: Mapping[str, str]) -> FoundPreprocess | None:
    color = _PIXELS.get(metadata.get("Image.BitmapPixelFormat", ""))
    values = _RANGES.get(metadata.get("Image.NominalPixelRange", ""))
    if color is None or values is None:
        return None
    how = Preprocess(color=color, resize=Resize("square-crop", None, "bilinear"), scale=values[0], mean=(values[1],))
    return FoundPreprocess(how, "the model's metadata (`Image.BitmapPixelFormat`, `Image.NominalPixelRange`)")


def _preprocess_beside(model: LoadedModel) -> FoundPreprocess | None:
    stem = model.path.stem
    for name in (f"{stem}.preprocess.json", f"{stem}_preprocess.json"):
        path = model.path.with_name(name)
        if path.is_file():
            return _preprocess_file(str(path))
    table = _table_beside(model)
    if table is not None and PREPROCESS_KEY in table[1]:
        source = f"`{table[0]}`"
        return FoundPreprocess(preprocess_form.parse(table[1][PREPROCESS_KEY], source), source)
    path = model.path.with_name("preprocess.json")
    if path.is_file():
        return _preprocess_file(str(path))
    return None


def _table_beside(model: LoadedModel) -> tuple[Path, dict[str, object]] | None:
    """`MODEL.json` beside `MODEL.onnx`, if it is an object; any other JSON is somebody else's."""
    path = model.path.with_suffix(".json")
    if not path.is_file():
        return None
    try:
        value = json.loads(read_bytes(str(path)))
    except ValueError:
        return None
    return (path, value) if isinstance(value, dict) else None


def _text(path: str, unfit: type[BadLabelsError] | type[BadPreprocessError]) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unfit(f"`{path}`", f"byte {error.start} is not UTF-8") from error


def _preprocess_file(path: str) -> FoundPreprocess:
    source = f"`{path}`"
    return FoundPreprocess(preprocess_form.from_json(_text(path, BadPreprocessError), source), source)


def _imagenet() -> tuple[str, ...]:
    names = resources.files("cocoi_cli").joinpath("data", "labels", "imagenet.txt").read_text("utf-8")
    return tuple(names.splitlines())
