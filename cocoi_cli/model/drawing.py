"""Pictures out of models that make them: enhanced or repainted pictures, and maps of classes."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cocoi_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cocoi_cli.model.preprocess import Preprocess

AnyArray = NDArray[Any]


class NoPictureOutputError(UsageError):
    """A picture was asked for, and no output of the model is one."""

    code: ClassVar[str] = "no-picture-output"

    def __init__(self, model: str, outputs: Mapping[str, str]) -> None:
        listed = ", ".join(f"`{name}` {shape}" for name, shape in outputs.items())
        super().__init__(
            f"model `{model}` makes no picture; its outputs are {listed}", model=model, outputs=dict(outputs)
        )


@dataclass(frozen=True, slots=True)
class Area:
    """How much of a map of classes one class covers: `share` is 0 to 1, `label` None without labels."""

    index: int
    label: str | None
    share: float


def drawable(shape: Sequence[int | str | None] | None, dtype: str, labels: Sequence[str] | None) -> bool:
    """Whether an output of this declared shape may be a picture or a map of classes; open sizes may."""
    if shape is None:
        return True
    if np.dtype(dtype).kind in "iu" and len(shape) == 3:
        return True
    if len(shape) != 4:
        return False
    channels = {1, 3} | ({len(labels)} if labels else set())
    return any(not isinstance(shape[axis], int) or shape[axis] in channels for axis in (1, 3))


def class_map(output: AnyArray, labels: Sequence[str] | None) -> NDArray[np.int64] | None:
    """The class of each pixel, `(H, W)`, or None where the output is no map of classes.

    A map is `(1, H, W)` of integers, `(1, 1, H, W)` of integers wider than a byte (bytes are
    a grey picture), or one score per label and pixel, `(1, labels, H, W)`: the largest counts.
    """
    if output.ndim not in {3, 4} or output.shape[0] != 1 or output.shape[-1] == 1 or output.shape[-2] == 1:
        return None
    if output.dtype.kind in "iu" and (output.ndim == 3 or (output.shape[1] == 1 and output.dtype.itemsize > 1)):
        return output.reshape(output.shape[-2:]).astype(np.int64)
    if labels is not None and output.ndim == 4 and output.shape[1] == len(labels) > 3:
        return np.asarray(output[0].argmax(axis=0), dtype=np.int64)
    return None


def areas(classes: NDArray[np.int64], labels: Sequence[str] | None) -> list[Area]:
    """Share of the picture per class, largest first."""
    found, counts = np.unique(classes, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [
        Area(index, labels[index] if labels is not None and 0 <= index < len(labels) else None, share)
        for index, share in ((int(found[at]), float(counts[at] / classes.size)) for at in order)
    ]


def draw(
    outputs: Mapping[str, AnyArray],
    how: Preprocess | None,
    picture: Image.Image | None,
    labels: Sequence[str] | None,
) -> Image.Image | None:
    """Make a picture of the first output that is one; None where none is.

    Values are taken to be in the units of the model's input: preprocessing is undone
    (`v * std + mean`, divided by `scale`), blue-green-red turned round. Without
    preprocessing (array input), floats that stay within 0 and 1 are scaled by 255.
    Where the input was luma alone, colour comes from the input picture, enlarged.

    Args:
        outputs: Output name to array; borrowed.
        how: How the input picture was prepared, if it was one.
        picture: The input picture at the size that the model saw, RGB.
        labels: Names of classes, if the model has any.
    """
    for output in outputs.values():
        classes = class_map(output, labels)
        if classes is not None:
            return _painted(classes)
        pixels = _pixels(output)
        if pixels is not None:
            return _coloured(_bytes(pixels, how), how, picture)
    return None


def _pixels(output: AnyArray) -> AnyArray | None:
    """`(H, W, channels)` of a `(1, C, H, W)` or `(1, H, W, C)` array with 1 or 3 channels."""
    if output.ndim != 4 or output.shape[0] != 1 or output.dtype.kind not in "fu":
        return None
    if output.shape[1] in {1, 3}:
        return output[0].transpose(1, 2, 0) if min(output.shape[2:]) > 1 else None
    return output[0] if output.shape[3] in {1, 3} and min(output.shape[1:3]) > 1 else None


def _bytes(pixels: AnyArray, how: Preprocess | None) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    values = np.nan_to_num(pixels.astype(np.float32), nan=0.0)
    channels = values.shape[2]
    if how is None:
        inside = values.min() >= -0.5 and values.max() <= 1.5
        values = values * 255 if inside else values
    elif len(how.mean) in {1, channels} and len(how.std) in {1, channels}:
        values = (values * np.array(how.std, np.float32) + np.array(how.mean, np.float32)) / np.float32(how.scale)
    else:
        values = values / np.float32(how.scale)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _coloured(pixels: NDArray[np.uint8], how: Preprocess | None, picture: Image.Image | None) -> Image.Image:
    if pixels.shape[2] == 3:
        reverse = how is not None and how.color == "BGR"
        return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1] if reverse else pixels))
    grey = Image.fromarray(np.ascontiguousarray(pixels[..., 0]))
    if how is None or how.color != "Y" or picture is None:
        return grey
    _, blue, red = picture.convert("YCbCr").split()
    large = [band.resize(grey.size, Image.Resampling.BICUBIC) for band in (blue, red)]
    return Image.merge("YCbCr", (grey, *large)).convert("RGB")


def _painted(classes: NDArray[np.int64]) -> Image.Image:
    """A palette picture: class 0 black, the others in hues far apart (by the golden ratio)."""
    indices = np.clip(classes, 0, 255).astype(np.uint8)
    painted = Image.frombytes("P", (indices.shape[1], indices.shape[0]), indices.tobytes())
    palette = [0, 0, 0]
    for index in range(1, 256):
        color = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.65 + 0.35 * (index % 2), 0.95 - 0.25 * (index // 2 % 2))
        palette += [round(255 * part) for part in color]
    painted.putpalette(palette)
    return painted
