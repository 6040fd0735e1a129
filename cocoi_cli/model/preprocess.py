"""How a picture becomes a model's input: a small record that JSON can express.

The steps run in this order: resize, centre crop, colour, `(value * scale - mean) / std`,
channel order and layout, the input's dtype (rounded and clipped for integers), batch axis.

```json
{"layout": "NCHW", "color": "RGB", "scale": 0.00392156862745098,
 "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
 "resize": {"mode": "short-side", "size": 256, "filter": "bilinear"},
 "crop": {"mode": "center", "size": [224, 224]}}
```

Every key may be left out. Sizes are `[height, width]`, or one number for both (for
`short-side`: the length of the shorter side); a size that is left out is the model's own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from cocoi_cli.errors import ConfigurationError

LAYOUTS = ("NCHW", "NHWC")
COLORS = ("RGB", "BGR", "Y", "GREY")
MODES = ("short-side", "exact", "square-crop", "none")
FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
DTYPES = ("float32", "float16", "float64", "uint8", "int8")
_KEYS = frozenset({"layout", "color", "resize", "crop", "scale", "mean", "std", "dtype"})


class BadPreprocessError(ConfigurationError):
    """A description of preprocessing is unreadable, or does not fit the model."""

    code: ClassVar[str] = "bad-preprocess"

    def __init__(self, source: str, found: str) -> None:
        super().__init__(f"preprocessing of {source}: {found}", source=source, found=found)


@dataclass(frozen=True, slots=True)
class Resize:
    """How the size changes before the crop.

    Attributes:
        mode: `short-side` keeps the proportions, `exact` does not, `square-crop` takes the
            centre square first, `none` leaves the picture as it is.
        size: `(height, width)`; both equal for one number in the file; None is the model's own.
        filter: Resampling filter.
    """

    mode: str = "none"
    size: tuple[int, int] | None = None
    filter: str = "bilinear"


@dataclass(frozen=True, slots=True)
class Crop:
    """A centre crop to `size` `(height, width)`; None is the model's own."""

    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What is done to a picture; the module's docstring gives the order of the steps.

    Attributes:
        layout: `NCHW` or `NHWC`; None where the model's shape tells.
        color: `RGB`, `BGR`, `Y` (luma; colour is put back on a one-channel output picture) or `GREY`.
        resize, crop: Sizes.
        scale: Factor of the 8-bit values, before `mean` and `std`.
        mean, std: One number, or one per channel in the order of `color`.
        dtype: numpy dtype name, which must be the model's; None takes the model's.
    """

    layout: str | None = None
    color: str = "RGB"
    resize: Resize = field(default_factory=Resize)
    crop: Crop | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    dtype: str | None = None

    @property
    def channels(self) -> int:
        """Channels of the tensor that it makes."""
        return 3 if self.color in {"RGB", "BGR"} else 1

    def document(self) -> dict[str, Any]:
        """The JSON form; `parse` gives the same record back."""
        full = asdict(self)
        full["crop"] = None if self.crop is None else {"mode": "center", "size": self.crop.size}
        full["resize"] = {key: value for key, value in full["resize"].items() if value is not None}
        return {key: value for key, value in full.items() if value is not None}


def from_json(text: str, source: str) -> Preprocess:
    """Parse the JSON text of a description.

    Args:
        text: JSON.
        source: Where it came from, for messages.

    Raises:
        BadPreprocessError: With the line of a syntax error, or the key that is wrong.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadPreprocessError(source, f"line {error.lineno} is not JSON: {error.msg.lower()}") from error
    return parse(value, source)


def parse(value: object, source: str) -> Preprocess:
    """Check a decoded JSON value and make the record of it.

    Raises:
        BadPreprocessError: Naming the key, what was found and what may stand there.
    """
    reader = _Reader(source)
    table = reader.table("it", value)
    reader.only(table, _KEYS)
    result = Preprocess(
        layout=reader.choice("layout", table.get("layout"), LAYOUTS),
        color=reader.color(table.get("color", "RGB")),
        resize=reader.resize(table.get("resize")),
        crop=reader.crop(table.get("crop")),
        scale=reader.number("scale", table.get("scale", 1.0)),
        mean=reader.numbers("mean", table.get("mean", 0.0)),
        std=reader.numbers("std", table.get("std", 1.0)),
        dtype=reader.choice("dtype", table.get("dtype"), DTYPES),
    )
    for key, values in (("mean", result.mean), ("std", result.std)):
        if len(values) not in {1, result.channels}:
            raise reader.error(f"`{key}` has {len(values)} numbers; `{result.color}` has {result.channels} channels")
    if result.scale == 0 or 0 in result.std:
        raise reader.error("`scale` and `std` must not be 0")
    return result


@dataclass(frozen=True, slots=True)
class _Reader:
    """Checks single values; every complaint names the source and the key."""

    source: str

    def error(self, found: str) -> BadPreprocessError:
        return BadPreprocessError(self.source, found)

    def table(self, key: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self.error(f"{key} is {_kind(value)}, expected an object")
        return value

    def only(self, table: Mapping[str, Any], known: frozenset[str]) -> None:
        for key in table:
            if key not in known:
                raise self.error(f"unknown key `{key}`; known are {_list(sorted(known))}")

    def choice(self, key: str, value: object, known: tuple[str, ...]) -> str | None:
        if value is not None and value not in known:
            raise self.error(f"`{key}` is {json.dumps(value)}; it may be {_list(known)}")
        return None if value is None else str(value)

    def color(self, value: object) -> str:
        name = value.upper().replace("GRAY", "GREY") if isinstance(value, str) else value
        return self.choice("color", name if name in COLORS else value, COLORS) or "RGB"

    def number(self, key: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(f"`{key}` is {json.dumps(value)}, expected a number")
        return float(value)

    def numbers(self, key: str, value: object) -> tuple[float, ...]:
        values = value if isinstance(value, list | tuple) else [value]
        return tuple(self.number(key, each) for each in values)

    def size(self, key: str, value: object) -> tuple[int, int] | None:
        if value is None:
            return None
        pair = list(value) if isinstance(value, list | tuple) else [value, value]
        whole = [each for each in pair if isinstance(each, int) and not isinstance(each, bool) and each > 0]
        if len(pair) != 2 or len(whole) != 2:
            raise self.error(f"`{key}` is {json.dumps(value)}, expected a number or [height, width]")
        return whole[0], whole[1]

    def resize(self, value: object) -> Resize:
        if value is None:
            return Resize()
        table = self.table("`resize`", value)
        self.only(table, frozenset({"mode", "size", "filter"}))
        size = self.size("resize.size", table.get("size"))
        mode = self.choice("resize.mode", table.get("mode"), MODES) or "exact"
        if mode == "short-side" and size is not None and size[0] != size[1]:
            raise self.error("`resize.size` is a pair; `short-side` takes one number")
        return Resize(mode, size, self.choice("resize.filter", table.get("filter"), FILTERS) or "bilinear")

    def crop(self, value: object) -> Crop | None:
        if value is None:
            return None
        table = self.table("`crop`", value)
        self.only(table, frozenset({"mode", "size"}))
        self.choice("crop.mode", table.get("mode"), ("center",))
        return Crop(self.size("crop.size", table.get("size")))


def _list(words: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _kind(value: object) -> str:
    names = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}
    return names.get(type(value), "nothing")
