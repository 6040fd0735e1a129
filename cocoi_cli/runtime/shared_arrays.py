"""Values that hold arrays, handed to another process through memory that both of them see.

A `Region` is memory without a name behind a file descriptor: it is gone with the last process that
holds it, however that ends. The arrays of a value are copied into it once; what remains of the value is a
short description that any pipe can carry. The region is used again for the next value.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from cocoi_cli.runtime.report import AnyArray

ALIGNMENT: Final = 64  # bytes: a cache line, and what vector instructions like
SMALLEST: Final = 1 << 20
_ZEROS: Final = bytes(1 << 20)

Described: TypeAlias = list[Any]
"""Kind and content: `a` array, `o` array of strings, `l` list, `d` dictionary, `s` anything small."""


class Region:
    """Shared memory that grows; one process writes it while the other waits."""

    def __init__(self, descriptor: int) -> None:
        """Use the open file behind `descriptor`, which belongs to the region from here on."""
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    @classmethod
    def make(cls) -> Region:
        """New memory, empty so far."""
        if hasattr(os, "memfd_create"):  # Linux
            return cls(os.memfd_create("cocoi", 0))
        with tempfile.TemporaryFile(prefix="cocoi-") as file:
            return cls(os.dup(file.fileno()))

    def hold(self, size: int) -> None:
        """Have room for `size` bytes.

        Raises:
            MemoryError: If there is none.
        """
        if size > self.size:
            target = max(SMALLEST, size + size // 4)  # sizes creep up; each growth costs fresh pages
            try:
                _extend(self.descriptor, target)
                self.follow(target)
            except OSError as error:
                raise MemoryError(f"{target} bytes to share with a process: {error}") from error

    def follow(self, size: int) -> None:
        """See at least `size` bytes, which the other process has made."""
        if size > self.size:
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)  # views keep the old one alive

    @property
    def size(self) -> int:
        """Bytes that can be seen."""
        return 0 if self._map is None else len(self._map)

    def array(self, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> AnyArray:
        """A view of an array inside."""
        if self._map is None:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, self._map, offset)

    def close(self) -> None:
        """Let go of the memory; views stay valid. Idempotent."""
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class Layout:
    """Where the arrays of values will lie; copies them when all are known."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._placed: list[tuple[int, AnyArray]] = []
        self.size = 0

    def describe(self, value: object) -> Described:
        """Find room for the arrays of a value; lists and dictionaries may hold further values.

        Raises:
            TypeError: If an array holds objects other than strings.
        """
        match value:
            case np.ndarray():
                return self._array(value)
            case list() | tuple():
                return ["l", [self.describe(item) for item in value]]
            case dict():
                return ["d", [[key, self.describe(item)] for key, item in value.items()]]
            case np.generic():
                return ["s", value.item()]
            case _:
                return ["s", value]

    def copy_to(self, region: Region) -> None:
        """Write every array into the region, which grows to hold them.

        Raises:
            MemoryError: If there is no room.
        """
        region.hold(self.size)
        for offset, array in self._placed:
            region.array(offset, array.dtype, array.shape)[...] = array

    def _array(self, array: AnyArray) -> Described:
        if array.dtype == object:
            texts = array.reshape(-1).tolist()
            if not all(isinstance(text, str | bytes) for text in texts):
                raise TypeError("an array of objects cannot be shared")
            return ["o", list(array.shape), texts]
        offset = self.size
        self._placed.append((offset, array))
        self.size += math.ceil(array.nbytes / ALIGNMENT) * ALIGNMENT
        return ["a", offset, array.dtype.str, list(array.shape)]


def restore(described: Described, region: Region, *, copy: bool) -> Any:  # noqa: ANN401 - whatever was described
    """The value again.

    Args:
        described: By `Layout.describe` in the other process.
        region: Where its arrays lie.
        copy: Whether arrays are the caller's own; otherwise they are views, good until the next value.
    """
    match described:
        case ["a", int(offset), str(dtype), list(shape)]:
            view = region.array(offset, np.dtype(dtype), tuple(shape))
            return view.copy() if copy else view
        case ["o", list(shape), list(texts)]:
            array = np.empty(len(texts), object)
            array[:] = texts
            return array.reshape(shape)
        case ["l", list(items)]:
            return [restore(item, region, copy=copy) for item in items]
        case ["d", list(items)]:
            return {key: restore(item, region, copy=copy) for key, item in items}
        case ["s", value]:
            return value
        case _:
            raise ValueError("this describes no value")


def _extend(descriptor: int, size: int) -> None:
    """Make a file longer with pages that really exist: a hole without room would end the process on first use."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    position = os.fstat(descriptor).st_size
    while position < size:
        position += os.pwrite(descriptor, _ZEROS[: size - position], position)
