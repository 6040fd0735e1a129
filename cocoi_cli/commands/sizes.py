"""`--size`: at which sizes a model is looked at when there is no input yet."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cocoi_cli.commands.model_sizes import KnownSizes, usual_sizes
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.runtime.options import BadOptionError

if TYPE_CHECKING:
    from cocoi_cli.model.network import LoadedModel, Shape

_LARGEST = 1 << 16  # rows or columns
_IMAGE_CHANNELS = (1, 3)


def chosen_sizes(model: LoadedModel, size: str | None) -> KnownSizes:
    """The shape of every input.

    Args:
        model: The model.
        size: Rows and columns of the picture, `HxW`; None for the usual ones.

    Raises:
        BadOptionError: If `size` is no such pair, or the model takes no picture.
        InputShapeError: If `size` is not what the file fixes.
        ModelError: The rank of an input is unknown.
    """
    if size is None:
        return usual_sizes(model)
    found = _picture(model, _pair(size))
    if found is None:
        raise BadOptionError("--size", size, f"model `{model.name}` takes no picture")
    shapes = {
        info.name: tuple(axis if isinstance(axis, int) else 1 for axis in info.shape)
        for info in model.inputs
        if info.shape is not None
    }
    return KnownSizes(resolve_input_shapes(model, shapes | dict([found])), "")


def _picture(model: LoadedModel, pair: tuple[int, int]) -> tuple[str, Shape] | None:
    """The first input of rank four with these rows and columns, channels first or last as the file has them."""
    for info in model.inputs:
        if info.shape is not None and len(info.shape) == 4:
            batch, first, _, last = (axis if isinstance(axis, int) else None for axis in info.shape)
            if last in _IMAGE_CHANNELS and first not in _IMAGE_CHANNELS:
                return info.name, (batch or 1, *pair, last)
            return info.name, (batch or 1, first or 3, *pair)
    return None


def _pair(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", size)
    if found is None or not all(1 <= int(each) <= _LARGEST for each in found.groups()):
        raise BadOptionError("--size", size, "rows and columns are written `224x224`")
    return int(found.group(1)), int(found.group(2))
