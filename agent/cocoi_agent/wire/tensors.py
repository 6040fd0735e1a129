"""How an array is described in a header, and what may be described.

On the wire a tensor is its elements in C order, little endian, without padding;
its value is `stored * scale`, the scale being a power of two so that it costs no
digit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cocoi_agent.wire.errors import BadTensorError
from cocoi_agent.wire.limits import MAX_INDEX, MAX_NAME, Limits

AnyArray = NDArray[Any]
Shape = tuple[int, ...]
Allocate = Callable[[np.dtype[Any], Shape], AnyArray]

DTYPES: Final[Mapping[str, np.dtype[Any]]] = MappingProxyType(
    {
        "f64": np.dtype("<f8"),
        "f32": np.dtype("<f4"),
        "f16": np.dtype("<f2"),
        "i64": np.dtype("<i8"),
        "i32": np.dtype("<i4"),
        "i16": np.dtype("<i2"),
        "i8": np.dtype("i1"),
        "u64": np.dtype("<u8"),
        "u32": np.dtype("<u4"),
        "u16": np.dtype("<u2"),
        "u8": np.dtype("u1"),
        "bool": np.dtype("?"),
    }
)
"""Type word to numpy type: the closed list of what a tensor may hold."""

_WORDS: Final = {dtype: word for word, dtype in DTYPES.items()}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a message.

    Attributes:
        name: ONNX name of the input or output it belongs to.
        dtype: A word of `DTYPES`.
        shape: Sizes, outermost axis first; `()` for a scalar.
        scale: A power of two; the value is `stored * scale`.
        codec: How the elements are packed; `raw` is the only one so far.
    """

    name: str
    dtype: str
    shape: Shape
    scale: float = 1.0
    codec: str = "raw"

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor on the wire."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def word_of(dtype: np.dtype[Any]) -> str:
    """The type word of a numpy type.

    Raises:
        BadTensorError: If the type has none. A local mistake: the caller chose the array.
    """
    word = _WORDS.get(dtype)
    if word is None:
        raise BadTensorError("", f"elements of type `{dtype}` cannot be sent")
    return word


def describe(name: str, array: AnyArray, scale: float = 1.0) -> TensorSpec:
    """Describe `array` for a message; it is sent under `name` and stands for `array * scale`."""
    return TensorSpec(name, word_of(array.dtype), tuple(array.shape), scale)


def read_specs(found: object, limits: Limits) -> tuple[TensorSpec, ...]:
    """Check the list of tensors of a header.

    Raises:
        BadTensorError: If one is unfit.
    """
    if not isinstance(found, list):
        raise BadTensorError("", "the list of tensors is no list")
    if len(found) > limits.max_tensors:
        raise BadTensorError("", f"{len(found)} tensors; the limit is {limits.max_tensors}")
    return tuple([_read_spec(entry, limits) for entry in found])


def _read_spec(entry: object, limits: Limits) -> TensorSpec:
    if not isinstance(entry, dict):
        raise BadTensorError("", "the description is no map")
    name = entry.get("name")
    if not isinstance(name, str) or len(name) > MAX_NAME:
        raise BadTensorError("", f"the name is no text of at most {MAX_NAME} characters")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise BadTensorError(name, "the type word is unknown")
    codec = entry.get("codec", "raw")
    if codec != "raw":
        raise BadTensorError(name, "the codec is unknown")
    return TensorSpec(name, dtype, read_shape(name, entry.get("shape"), limits), _read_scale(name, entry), "raw")


def read_shape(name: str, found: object, limits: Limits) -> Shape:
    """Check a shape: rank and every size within bounds, also where another size is 0."""
    if not isinstance(found, list) or len(found) > limits.max_rank:
        raise BadTensorError(name, f"the shape is no list of at most {limits.max_rank} sizes")
    for size in found:
        if type(size) is not int or not 0 <= size <= MAX_INDEX:
            raise BadTensorError(name, "a size is no integer between 0 and 2^31 - 1")
    # Also bounds shapes with a 0, whose other strides numpy would still compute.
    if (math.prod(found) or math.prod([size for size in found if size])) > 1 << 48:
        raise BadTensorError(name, "the product of the sizes is above 2^48")
    return tuple(found)


def _read_scale(name: str, entry: Mapping[str, object]) -> float:
    scale = entry.get("scale", 1.0)
    if type(scale) is float and scale == 1.0:
        return 1.0
    if type(scale) is not float and type(scale) is not int:
        raise BadTensorError(name, "the scale is no number")
    if not is_power_of_two(float(scale) if abs(scale) < 1 << 1000 else math.inf):
        raise BadTensorError(name, "the scale is no power of two")
    return float(scale)


def is_power_of_two(scale: float) -> bool:
    """Whether `scale` is finite, positive and a power of two, so that multiplying is exact."""
    return math.isfinite(scale) and scale > 0 and math.frexp(scale)[0] == 0.5


def allocate_empty(dtype: np.dtype[Any], shape: Shape) -> AnyArray:
    """Memory for one arriving tensor, owned by whoever receives it."""
    return np.empty(shape, dtype)


def bytes_of(array: AnyArray) -> memoryview:
    """The elements of a C-contiguous array as a flat view of bytes, without copying."""
    return array.reshape(-1).view(np.uint8).data


def total_bytes(specs: Sequence[TensorSpec]) -> int:
    """Bytes of all tensors together."""
    return sum(spec.nbytes for spec in specs)
