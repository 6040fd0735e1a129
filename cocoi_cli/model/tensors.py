"""Whether arrays are what a model's inputs ask for, before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cocoi_cli.model.arrays import WrongDtypeError, WrongInputsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cocoi_cli.model.network import LoadedModel


def check_tensors(model: LoadedModel, tensors: Mapping[str, NDArray[Any]], source: str) -> None:
    """Check names and element types; shapes are checked with the graph.

    Args:
        model: What the arrays are for.
        tensors: By ONNX input name.
        source: What messages call them.

    Raises:
        WrongInputsError: An input has no array.
        WrongDtypeError: An array has another type.
    """
    for info in model.inputs:
        array = tensors.get(info.name)
        if array is None:
            given = ", ".join(f"`{name}`" for name in tensors) or "no array"
            raise WrongInputsError(source, f"no array for input `{info.name}` of model `{model.name}`; given: {given}")
        if not isinstance(array, np.ndarray):
            raise WrongDtypeError(source, info, f"a {type(array).__name__}")
        is_text = info.dtype == "object" and array.dtype.kind == "U"
        if array.dtype.name != info.dtype and not is_text:
            raise WrongDtypeError(source, info, array.dtype.name)
