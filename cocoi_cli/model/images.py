"""Picture files in: any common format becomes an upright RGB picture.

Rotation recorded by a camera (EXIF) is applied, transparency is laid over white,
16-bit grey is brought down to 8 bits. A file that is cut off is refused: half a
picture would give a confident answer about the other half.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import ClassVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cocoi_cli.errors import UsageError
from cocoi_cli.model.inputs import in_sentence, read_bytes

# First bytes of the formats people have: tells a damaged picture from no picture at all.
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
# What Pillow's decoders raise on damaged data, found by cutting files at every length.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)


class NotAnImageError(UsageError):
    """The file is no picture that can be read."""

    code: ClassVar[str] = "not-an-image"

    def __init__(self, path: str, found: str) -> None:
        super().__init__(f"`{path}` is not a picture: {found}", path=path, found=found)


class TruncatedImageError(UsageError):
    """The file begins as a picture and ends too early, or is damaged."""

    code: ClassVar[str] = "truncated-image"

    def __init__(self, path: str, size: int, cause: str) -> None:
        super().__init__(
            f"picture `{path}` is truncated or damaged: {cause} ({size} bytes read)",
            path=path,
            bytes=size,
            cause=cause,
        )


class HugeImageError(UsageError):
    """The picture would need an unreasonable amount of memory once unpacked."""

    code: ClassVar[str] = "huge-image"

    def __init__(self, path: str, cause: str) -> None:
        super().__init__(f"picture `{path}` is too large to unpack: {cause}", path=path, cause=cause)


def read_image(path: str) -> Image.Image:
    """Read a picture upright and in RGB, 8 bits per channel; of several frames, the first.

    Raises:
        NoSuchFileError, UnreadableFileError: If the file cannot be read.
        NotAnImageError: If it is empty or of no known format.
        TruncatedImageError: If the data ends early or is damaged.
        HugeImageError: If it has more than twice Pillow's `MAX_IMAGE_PIXELS`.
    """
    data = read_bytes(path)
    if not data:
        raise NotAnImageError(path, "the file is empty")
    with warnings.catch_warnings():
        # Pillow warns of large photographs, which are no attack (where it refuses stays in force), and of
        # odd metadata, which do not change the pixels.
        warnings.simplefilter("ignore")
        try:
            return _upright_rgb(data)
        except Image.DecompressionBombError as error:
            raise HugeImageError(path, _lower(error)) from error
        except UnidentifiedImageError as error:
            if _looks_like_picture(data):
                raise TruncatedImageError(path, len(data), "its header is incomplete") from error
            raise NotAnImageError(path, f"{len(data)} bytes of an unknown format") from error
        except _DAMAGE as error:
            raise TruncatedImageError(path, len(data), _lower(error)) from error


def _upright_rgb(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        picture: Image.Image = ImageOps.exif_transpose(opened)
        if picture.mode in {"I;16", "I;16B", "I;16L", "I"}:
            picture = _eight_bits(picture)
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            paper = Image.new("RGBA", picture.size, "white")
            picture = Image.alpha_composite(paper, picture)
        return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    values = np.asarray(picture).astype(np.int64)
    shift = 8 if values.max(initial=0) > 255 else 0
    return Image.fromarray(np.clip(values >> shift, 0, 255).astype(np.uint8))


def _looks_like_picture(data: bytes) -> bool:
    return data.startswith(_SIGNATURES) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _lower(error: BaseException) -> str:
    return in_sentence(str(error) or type(error).__name__)
