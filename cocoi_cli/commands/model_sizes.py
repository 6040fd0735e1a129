"""At which sizes a model is looked at where no input is given: the file's own; open ones as a picture fixes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.model.pictures import DynamicSizeError, NoImageInputError, image_input, prepare
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.sources import find_preprocess

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.network import LoadedModel, Shape

# A picture like any other, for finding out what sizes preprocessing makes.
_TRIAL = (640, 480)


@dataclass(frozen=True, slots=True)
class KnownSizes:
    """Input sizes of a model.

    Attributes:
        shapes: Input name to shape.
        assumed: Which sizes the file leaves open and what they are taken to be, for people; empty where none.
    """

    shapes: Mapping[str, Shape]
    assumed: str


def usual_sizes(model: LoadedModel) -> KnownSizes:
    """The shape of every input; a size that neither file nor picture fixes is 1.

    Raises:
        ModelError: The rank of an input is unknown.
    """
    shapes: dict[str, Shape] = {}
    picture = _picture(model)
    if picture is not None:
        shapes[picture[0]] = picture[1]
    for info in model.inputs:
        if info.shape is not None:
            shapes.setdefault(info.name, tuple(axis if isinstance(axis, int) else 1 for axis in info.shape))
    opened = [info for info in model.inputs if any(not isinstance(axis, int) for axis in info.shape or ())]
    named = ", ".join(f"`{info.name}` {'x'.join(map(str, shapes[info.name]))}" for info in opened)
    assumed = f"the file leaves sizes open; taken is {named}" if named else ""
    return KnownSizes(resolve_input_shapes(model, shapes), assumed)


def _picture(model: LoadedModel) -> tuple[str, Shape] | None:
    """The input that takes pictures, and the shape that preprocessing gives it."""
    named = find_preprocess(model)
    try:
        target = image_input(model, named.how.layout if named.warning is None else None)
    except (NoImageInputError, DynamicSizeError):
        return None
    found = named if named.warning is None else find_preprocess(model, target)
    try:
        shape: Shape = prepare(Image.new("RGB", _TRIAL), found.how, target, found.source).tensor.shape
    except ConfigurationError:  # a built-in description that does not fit: the file's own sizes must do
        return None
    return target.name, shape
