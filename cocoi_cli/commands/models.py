"""What `cocoi model` does."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PIL import Image

from cocoi_cli.commands.reading import is_shipped, open_model
from cocoi_cli.console import Console
from cocoi_cli.errors import UsageError
from cocoi_cli.files import write
from cocoi_cli.model.annotate import annotated
from cocoi_cli.model.pictures import DynamicSizeError, ImageInput, NoImageInputError, image_input, prepare
from cocoi_cli.model.sources import FoundPreprocess, find_labels, find_preprocess
from cocoi_cli.views.json_form import json_text
from cocoi_cli.views.models import Described, info_document, info_text, layers_table, models_table

if TYPE_CHECKING:
    from cocoi_cli.model.network import ConvLayer, LoadedModel, Shape

# A picture like any other, for finding out what sizes preprocessing makes.
_TRIAL = (640, 480)


class NothingToAnnotateError(UsageError):
    """`cocoi model annotate` was given nothing to write."""

    code: ClassVar[str] = "nothing-to-annotate"

    def __init__(self, model: str) -> None:
        super().__init__(f"neither labels nor preprocessing are given for `{model}`", model=model)


class ShippedModelError(UsageError):
    """A model that comes with cocoi would be changed in place."""

    code: ClassVar[str] = "shipped-model"

    def __init__(self, model: str) -> None:
        super().__init__(f"`{model}` comes with cocoi and is not changed in place", model=model)


def show_list(*, json: bool) -> None:
    """Print the shipped models."""
    console = Console(json=json)
    model = open_model(None)
    described = _describe(model)
    if json:
        document = info_document(described)
        console.document(
            json_text({"models": [{key: document[key] for key in ("name", "path", "bytes", "labels", "inputs")}]})
        )
        return
    console.print_result(models_table([described]))


def show_info(name: str, *, json: bool) -> None:
    """Print everything that is known about a model without running it."""
    console = Console(json=json)
    described = _describe(open_model(name))
    if json:
        console.document(json_text(info_document(described)))
        return
    console.result(info_text(described))
    if described.layers:
        console.result("")
        console.print_result(layers_table(described.layers))


def annotate_model(model: str, *, labels: str | None, preprocess: str | None, output: str | None, json: bool) -> None:
    """Write labels and preprocessing into a model, or into a copy of it.

    Raises:
        NothingToAnnotateError: If neither is given.
        ShippedModelError: If the file belongs to the installed program.
        BadLabelsError, BadPreprocessError: If they do not fit the model.
        OutputNotWritableError: If the file cannot be written; it is then as it was.
    """
    console = Console(json=json)
    if labels is None and preprocess is None:
        raise NothingToAnnotateError(model)
    if output is None and is_shipped(model):
        raise ShippedModelError(model)
    loaded = open_model(model)
    names = None if labels is None else find_labels(loaded, labels)
    how = None if preprocess is None else find_preprocess(loaded, None, preprocess)
    if how is not None:
        target = image_input(loaded, how.how.layout)
        prepare(Image.new("RGB", _TRIAL), how.how, target, how.source)
    path = str(loaded.path) if output is None else output
    write(path, annotated(loaded, None if names is None else names.names, None if how is None else how.how))
    count = None if names is None else len(names.names)
    if json:
        console.document(json_text({"model": model, "written": path, "labels": count, "preprocess": how is not None}))
        return
    parts = ([] if count is None else [f"{count} labels"]) + ([] if how is None else ["preprocessing"])
    console.result(f"written: {path} ({' and '.join(parts)})")


def _describe(model: LoadedModel) -> Described:
    target, found, no_picture = _picture_side(model)
    shapes, assumed = _shapes(model, target, found)
    return Described(
        model=model,
        size=model.path.stat().st_size,
        labels=find_labels(model),
        preprocess=found,
        no_picture=no_picture,
        layers=_layers(model, shapes),
        assumed=assumed,
    )


def _picture_side(model: LoadedModel) -> tuple[ImageInput | None, FoundPreprocess | None, str]:
    named = find_preprocess(model)
    try:
        target = image_input(model, named.how.layout if named.warning is None else None)
    except (NoImageInputError, DynamicSizeError) as error:
        return None, None, error.message
    return target, named if named.warning is None else find_preprocess(model, target), ""


def _shapes(
    model: LoadedModel, target: ImageInput | None, found: FoundPreprocess | None
) -> tuple[dict[str, Shape] | None, str]:
    """Sizes to show the layers at: the file's own; open ones as a picture would fix them, others 1."""
    shapes: dict[str, Shape] = {}
    if target is not None and found is not None:
        tensor = prepare(Image.new("RGB", _TRIAL), found.how, target, found.source).tensor
        shapes[target.name] = tensor.shape
    for info in model.inputs:
        if info.shape is None:
            return None, f"the layers are not shown: the rank of input `{info.name}` is unknown"
        shapes.setdefault(info.name, tuple(axis if isinstance(axis, int) else 1 for axis in info.shape))
    opened = [info for info in model.inputs if any(not isinstance(axis, int) for axis in info.shape or ())]
    if not opened:
        return shapes, ""
    named = ", ".join(f"`{info.name}` {'x'.join(map(str, shapes[info.name]))}" for info in opened)
    return shapes, f"the file leaves sizes open; the layers are shown for {named}"


def _layers(model: LoadedModel, shapes: dict[str, Shape] | None) -> tuple[ConvLayer, ...]:
    if shapes is None:
        return ()
    from cocoi_cli.model.stages import find_layers  # noqa: PLC0415  (ONNX Runtime, only to look at layers)

    return tuple(find_layers(model, shapes).layers)
