"""A picture on its way into a model and out of it: the arithmetic of `Preprocess`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cocoi_cli.errors import UsageError
from cocoi_cli.model.preprocess import BadPreprocessError, Preprocess

if TYPE_CHECKING:
    from cocoi_cli.model.network import LoadedModel, TensorInfo

AnyArray = NDArray[Any]

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
# ImageNet's habit of resizing the short side to 256 for a crop of 224, kept for other sizes.
_SHORT_SIDE = 256 / 224


class NoImageInputError(UsageError):
    """A picture was given to a model that takes none."""

    code: ClassVar[str] = "no-image-input"

    def __init__(self, model: str, found: str) -> None:
        super().__init__(f"model `{model}` cannot take a picture: {found}", model=model, found=found)


class DynamicSizeError(UsageError):
    """The model leaves a size open that the input does not fix."""

    code: ClassVar[str] = "dynamic-size"

    def __init__(self, model: str, name: str, shape: str) -> None:
        super().__init__(
            f"model `{model}` leaves the size of input `{name}` open ({shape}), and a picture does not fix it",
            model=model,
            input=name,
            shape=shape,
        )


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input of a model that takes a picture.

    Attributes:
        name: ONNX name.
        dtype: numpy dtype name.
        layout: `NCHW` or `NHWC`.
        channels: 1 or 3; None where the file leaves it open.
        height, width: None where the file leaves them open.
    """

    name: str
    dtype: str
    layout: str
    channels: int | None
    height: int | None
    width: int | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready for a model.

    Attributes:
        tensor: `(1, C, H, W)` or `(1, H, W, C)` in the input's dtype, C-contiguous; the caller's.
        picture: RGB picture of the same H and W, from which a picture output takes its colour.
        warnings: What the user should know, one sentence each.
    """

    tensor: AnyArray
    picture: Image.Image
    warnings: tuple[str, ...]


def image_input(model: LoadedModel, layout: str | None = None) -> ImageInput:
    """Find the one input that takes a picture: rank 4 with 1 or 3 channels in either layout.

    Args:
        model: The model.
        layout: Layout that the preprocessing states; decides where the shape does not.

    Raises:
        NoImageInputError: If the model has several inputs, or its input has another rank,
            number of channels or a fixed batch above 1.
        DynamicSizeError: If nothing says which axis holds the channels.
    """
    if len(model.inputs) != 1:
        names = ", ".join(f"`{each.name}`" for each in model.inputs)
        raise NoImageInputError(model.name, f"it has {len(model.inputs)} inputs ({names})")
    info = model.inputs[0]
    if info.shape is not None and len(info.shape) != 4:
        raise NoImageInputError(model.name, f"its input `{info.name}` is {shape_text(info)}")
    if info.shape is None or (layout is None and _layout(info.shape) is None):
        raise (
            DynamicSizeError(model.name, info.name, shape_text(info))
            if _open_channels(
                info.shape,
            )
            else NoImageInputError(model.name, f"its input `{info.name}` is {shape_text(info)}")
        )
    chosen = layout or _layout(info.shape) or "NCHW"
    sizes = [axis if isinstance(axis, int) else None for axis in info.shape]
    batch, channels, height, width = sizes if chosen == "NCHW" else (sizes[0], sizes[3], sizes[1], sizes[2])
    if channels not in {None, 1, 3} or batch not in {None, 1}:
        raise NoImageInputError(model.name, f"its input `{info.name}` is {shape_text(info)}, read as {chosen}")
    return ImageInput(info.name, info.dtype, chosen, channels, height, width)


def _layout(shape: tuple[int | str | None, ...]) -> str | None:
    if shape[1] in {1, 3}:
        return "NCHW"
    return "NHWC" if shape[3] in {1, 3} else None


def _open_channels(shape: tuple[int | str | None, ...] | None) -> bool:
    return shape is None or not isinstance(shape[1], int) or not isinstance(shape[3], int)


def shape_text(info: TensorInfo) -> str:
    """A declared shape and dtype as people write them: `Nx3x224x224 float32`."""
    if info.shape is None:
        return f"of unknown rank, {info.dtype}"
    axes = "x".join("?" if axis is None else str(axis) for axis in info.shape)
    return f"{axes or 'scalar'} {info.dtype}"


def prepare(picture: Image.Image, how: Preprocess, target: ImageInput, source: str) -> Prepared:
    """Turn an RGB picture into the tensor of a model's input.

    Args:
        picture: Upright RGB picture; borrowed, never written.
        how: What to do.
        target: The input it is for.
        source: Where `how` came from, for messages.

    Raises:
        BadPreprocessError: If the result cannot fit the input.
    """
    if target.channels not in {None, how.channels}:
        found = f"`{how.color}` makes {how.channels} channels; input `{target.name}` takes {target.channels}"
        raise BadPreprocessError(source, found)
    if how.dtype not in {None, target.dtype}:
        raise BadPreprocessError(source, f"`dtype` is {how.dtype}; input `{target.name}` takes {target.dtype}")
    sized = _crop(_resize(picture, how, target), how, target, source)
    for axis, wanted, made in (("height", target.height, sized.height), ("width", target.width, sized.width)):
        if wanted not in {None, made}:
            found = f"the picture becomes {made} in {axis}; input `{target.name}` takes {wanted}"
            raise BadPreprocessError(source, found)
    warnings: tuple[str, ...] = ()
    if (
        (target.height is None or target.width is None)
        and how.crop is None
        and how.resize.mode in {"none", "short-side"}
    ):
        warnings = (f"the model leaves its size open: it runs at {sized.width}x{sized.height}, the picture's own",)
    return Prepared(_tensor(sized, how, target), sized, warnings)


def _resize(picture: Image.Image, how: Preprocess, target: ImageInput) -> Image.Image:
    resample = _FILTERS[how.resize.filter]
    width, height = picture.size
    own = (target.height or height, target.width or width)
    match how.resize.mode:
        case "exact":
            rows, columns = how.resize.size or own
            return picture.resize((columns, rows), resample)
        case "square-crop":
            side = min(width, height)
            left, top = (width - side) // 2, (height - side) // 2
            rows, columns = how.resize.size or own
            return picture.crop((left, top, left + side, top + side)).resize((columns, rows), resample)
        case "short-side":
            side = how.resize.size[0] if how.resize.size else round(min(own) * _SHORT_SIDE)
            factor = side / min(width, height)
            if how.resize.size is None:  # a model may be longer one way than the picture is
                factor = max(factor, own[0] / height, own[1] / width)
            return picture.resize((max(1, round(width * factor)), max(1, round(height * factor))), resample)
        case _:
            return picture


def _crop(picture: Image.Image, how: Preprocess, target: ImageInput, source: str) -> Image.Image:
    if how.crop is None:
        return picture
    rows, columns = how.crop.size or (target.height or picture.height, target.width or picture.width)
    if rows > picture.height or columns > picture.width:
        found = f"a crop of {columns}x{rows} does not fit into the picture of {picture.width}x{picture.height}"
        raise BadPreprocessError(source, found)
    left, top = (picture.width - columns) // 2, (picture.height - rows) // 2
    return picture.crop((left, top, left + columns, top + rows))


def _tensor(picture: Image.Image, how: Preprocess, target: ImageInput) -> AnyArray:
    match how.color:
        case "Y":
            values = np.asarray(picture.convert("YCbCr"))[..., :1]
        case "GREY":
            values = np.asarray(picture.convert("L"))[..., np.newaxis]
        case "BGR":
            values = np.asarray(picture)[..., ::-1]
        case _:
            values = np.asarray(picture)
    real = values.astype(np.float32) * np.float32(how.scale)
    real = np.divide(real - np.array(how.mean, np.float32), np.array(how.std, np.float32), dtype=np.float32)
    if target.layout == "NCHW":
        real = real.transpose(2, 0, 1)
    return np.ascontiguousarray(cast(real, target.dtype)[np.newaxis])


def cast(values: NDArray[np.float32], dtype: str) -> AnyArray:
    """Convert to `dtype`; integers are rounded to the nearest and clipped to their range."""
    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        return np.clip(np.rint(values), limits.min, limits.max).astype(kind)
    return values.astype(kind)
