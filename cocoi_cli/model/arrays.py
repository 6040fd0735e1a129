"""Arrays in: `.npy` and `.npz` files become tensors under the model's input names.

Nothing is converted silently: an array must have the type of the input. The one
exception is float64, numpy's own default, for a float32 input.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cocoi_cli.errors import UsageError
from cocoi_cli.model.inputs import in_sentence, read_bytes
from cocoi_cli.model.pictures import shape_text

if TYPE_CHECKING:
    from cocoi_cli.model.network import LoadedModel, TensorInfo

AnyArray = NDArray[Any]
_DAMAGE = (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError, MemoryError, SyntaxError)


class BadArrayFileError(UsageError):
    """A `.npy` or `.npz` file is damaged, or holds Python objects."""

    code: ClassVar[str] = "bad-array-file"

    def __init__(self, path: str, found: str) -> None:
        super().__init__(f"cannot read arrays from `{path}`: {found}", path=path, found=found)


class WrongInputsError(UsageError):
    """The names of the arrays are not those of the model's inputs."""

    code: ClassVar[str] = "wrong-inputs"

    def __init__(self, path: str, found: str) -> None:
        super().__init__(f"`{path}`: {found}", path=path, found=found)


class WrongRankError(UsageError):
    """An array has a number of axes, or a fixed size, that the input does not take."""

    code: ClassVar[str] = "wrong-rank"

    def __init__(self, path: str, info: TensorInfo, shape: tuple[int, ...], fault: str) -> None:
        found = "x".join(map(str, shape)) or "scalar"
        super().__init__(
            f"`{path}`: array for input `{info.name}` is {found}, expected {shape_text(info)}: {fault}",
            path=path,
            input=info.name,
            found=list(shape),
            expected=list(info.shape or ()),
        )


class WrongDtypeError(UsageError):
    """An array has another type than the input."""

    code: ClassVar[str] = "wrong-dtype"

    def __init__(self, path: str, info: TensorInfo, dtype: str) -> None:
        super().__init__(
            f"`{path}`: array for input `{info.name}` is {dtype}, expected {info.dtype}",
            path=path,
            input=info.name,
            found=dtype,
            expected=info.dtype,
        )


def read_arrays(path: str, model: LoadedModel) -> dict[str, AnyArray]:
    """Read the inputs of a model from a file.

    Args:
        path: `.npy` for a model with one input; `.npz` with one array per ONNX input name
            (a single array of any name serves a model with one input).
        model: The model.

    Returns:
        Input name to C-contiguous array of the declared type; the caller's.

    Raises:
        NoSuchFileError, UnreadableFileError: If the file cannot be read.
        BadArrayFileError, WrongInputsError, WrongRankError, WrongDtypeError: As they say.
    """
    data = read_bytes(path)
    found = _npz(path, data) if Path(path).suffix.lower() == ".npz" else {"": _npy(path, data)}
    named = _match(path, found, model)
    return {info.name: _fit(path, named[info.name], info) for info in model.inputs}


def _npy(path: str, data: bytes) -> AnyArray:
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
    except _DAMAGE as error:
        raise BadArrayFileError(path, _cause(error, data)) from error
    if not isinstance(array, np.ndarray):
        raise BadArrayFileError(path, "it is a `.npz` archive")
    return array


def _npz(path: str, data: bytes) -> dict[str, AnyArray]:
    try:
        archive = np.load(io.BytesIO(data), allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise BadArrayFileError(path, "it is a single `.npy` array")
        with archive:
            return {name: archive[name] for name in archive.files}
    except _DAMAGE as error:
        raise BadArrayFileError(path, _cause(error, data)) from error


def _match(path: str, found: dict[str, AnyArray], model: LoadedModel) -> dict[str, AnyArray]:
    wanted = [info.name for info in model.inputs]
    if len(wanted) == len(found) == 1:
        return {wanted[0]: next(iter(found.values()))}
    expected = ", ".join(f"`{name}`" for name in wanted)
    if "" in found:
        raise WrongInputsError(path, f"one array, and model `{model.name}` has {len(wanted)} inputs ({expected})")
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing:
        raise WrongInputsError(path, f"no array named `{missing[0]}`; model `{model.name}` takes {expected}")
    if unknown:
        raise WrongInputsError(
            path, f"array `{unknown[0]}` is no input of model `{model.name}`, which takes {expected}"
        )
    return found


def _fit(path: str, array: AnyArray, info: TensorInfo) -> AnyArray:
    if array.dtype == np.float64 and info.dtype == "float32":
        array = array.astype(np.float32)
    if array.dtype.kind == "U" and info.dtype == "object":
        array = array.astype(object)
    if array.dtype.name != info.dtype:
        raise WrongDtypeError(path, info, array.dtype.name)
    if info.shape is not None:
        if array.ndim != len(info.shape):
            raise WrongRankError(path, info, array.shape, f"{array.ndim} axes instead of {len(info.shape)}")
        for axis, (made, wanted) in enumerate(zip(array.shape, info.shape, strict=True)):
            if isinstance(wanted, int) and made != wanted:
                raise WrongRankError(path, info, array.shape, f"axis {axis} is {made} instead of {wanted}")
    if array.size == 0:
        raise WrongRankError(path, info, array.shape, "it holds no value")
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    # ascontiguousarray would make a vector of a scalar.
    return np.require(native, requirements="C")


def _cause(error: BaseException, data: bytes) -> str:
    if not data:
        return "the file is empty"
    text = str(error)
    if "allow_pickle" in text or "pickle" in text:
        return "it holds Python objects or no array at all, and objects are not loaded"
    return in_sentence(text or type(error).__name__)
