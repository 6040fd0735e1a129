from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cocoi_cli.model.images import HugeImageError, NotAnImageError, TruncatedImageError, read_image
from cocoi_cli.model.inputs import EmptyDirectoryError, NoSuchFileError, UnreadableFileError, expand, is_array

# Top row red and green, bottom row blue and white.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def read(tmp_path, data: bytes, name="picture"):
    (tmp_path / name).write_bytes(data)
    return read_image(str(tmp_path / name))


def turned(rows, orientation):
    """What EXIF means by each of its eight orientations, with rows and columns of a list."""
    transpose = [list(column) for column in zip(*rows, strict=True)]
    match orientation:
        case 1:
            return rows
        case 2:
            return [row[::-1] for row in rows]
        case 3:
            return [row[::-1] for row in rows[::-1]]
        case 4:
            return rows[::-1]
        case 5:
            return transpose
        case 6:
            return [row[::-1] for row in transpose]
        case 7:
            return [row[::-1] for row in transpose[::-1]]
        case _:
            return transpose[::-1]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_in_any_way_gives_an_upright_picture(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read(tmp_path, encoded(Image.fromarray(CORNERS), "PNG", exif=exif))
    assert np.asarray(picture).tolist() == turned(CORNERS.tolist(), orientation)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "PPM", "WEBP"])
def test_reads_common_formats(tmp_path, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = read(tmp_path, encoded(Image.fromarray(CORNERS), kind, **options), "named.anything")
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), CORNERS)


def test_grey_becomes_three_equal_channels(tmp_path):
    picture = read(tmp_path, encoded(Image.fromarray(np.array([[0, 200]], np.uint8)), "PNG"))
    assert np.asarray(picture).tolist() == [[[0, 0, 0], [200, 200, 200]]]


def test_sixteen_bit_grey_is_brought_down_to_eight(tmp_path):
    picture = read(tmp_path, encoded(Image.fromarray(np.array([[0, 256, 65535]], np.uint16)), "PNG"))
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 1, 255]


def test_black_and_white_becomes_rgb(tmp_path):
    picture = read(tmp_path, encoded(Image.new("1", (2, 1), 1), "PNG"))
    assert np.asarray(picture).tolist() == [[[255] * 3, [255] * 3]]


def test_palette_becomes_rgb(tmp_path):
    palette = Image.fromarray(CORNERS).quantize(4)
    picture = read(tmp_path, encoded(palette, "PNG"))
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(palette.convert("RGB")))


def test_transparency_is_laid_over_white(tmp_path):
    pixels = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 0, 0, 128]]], np.uint8)
    picture = read(tmp_path, encoded(Image.fromarray(pixels), "PNG"))
    assert np.asarray(picture).tolist() == [[[255, 0, 0], [255, 255, 255], [127, 127, 127]]]


def test_transparent_palette_entries_are_laid_over_white(tmp_path):
    picture = Image.frombytes("P", (2, 1), b"\x00\x01")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    read_back = read(tmp_path, encoded(picture, "PNG", transparency=1))
    assert np.asarray(read_back).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_print_colours_become_rgb(tmp_path):
    assert read(tmp_path, encoded(Image.new("CMYK", (4, 4), (0, 0, 0, 0)), "JPEG")).getpixel((0, 0)) == (255, 255, 255)


def test_of_several_frames_the_first_is_read(tmp_path):
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read(tmp_path, data).getpixel((0, 0)) == (255, 0, 0)


def noise(kind: str) -> bytes:
    pixels = np.random.default_rng(seed=3).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_a_file_cut_off_anywhere_is_refused_or_whole(tmp_path, kind):
    """Wherever the cut is, there is one of our errors, or (cut inside a trailer) exactly the whole picture."""
    data = noise(kind)
    whole = np.asarray(read(tmp_path, data))
    refused = 0
    for length in [*range(1, min(80, len(data))), *range(80, len(data), 7)]:
        try:
            picture = read(tmp_path, data[:length])
        except (TruncatedImageError, NotAnImageError):
            refused += 1
        else:
            np.testing.assert_array_equal(np.asarray(picture), whole)
    assert refused > 60


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_half_a_picture_is_called_truncated(tmp_path, kind):
    data = noise(kind)
    with pytest.raises(TruncatedImageError, match=rf"is truncated or damaged: .* \({len(data) // 2} bytes read\)"):
        read(tmp_path, data[: len(data) // 2])


def test_no_picture_is_called_so(tmp_path):
    with pytest.raises(NotAnImageError, match="7 bytes of an unknown format"):
        read(tmp_path, b"no jpeg")
    with pytest.raises(NotAnImageError, match="the file is empty"):
        read(tmp_path, b"")


def test_a_bomb_is_refused_and_a_large_photograph_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    data = encoded(Image.new("RGB", (15, 10)), "PNG")
    assert read(tmp_path, data).size == (15, 10)
    with pytest.raises(HugeImageError, match="too large to unpack"):
        read(tmp_path, encoded(Image.new("RGB", (21, 10)), "PNG"))


def test_absent_and_unreadable_files(tmp_path):
    with pytest.raises(NoSuchFileError, match=r"no such file: `.*nowhere`"):
        read_image(str(tmp_path / "nowhere"))
    with pytest.raises(UnreadableFileError, match="is a directory"):
        read_image(str(tmp_path))


def test_directories_are_expanded_in_place(tmp_path):
    (tmp_path / "d" / "inner.png").mkdir(parents=True)
    for name in ("d/2.JPG", "d/1.png", "d/.3.png", "d/notes.md", "a.bin"):
        (tmp_path / name).write_bytes(b"")
    found = expand([str(tmp_path / "a.bin"), str(tmp_path / "d")])
    assert found == [str(tmp_path / name) for name in ("a.bin", "d/1.png", "d/2.JPG")]


def test_a_directory_without_pictures_says_what_it_has(tmp_path):
    with pytest.raises(EmptyDirectoryError, match="it is empty"):
        expand([str(tmp_path)])
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(EmptyDirectoryError, match="none of its 1 files is one"):
        expand([str(tmp_path)])


def test_arrays_are_told_by_their_ending():
    assert [is_array(name) for name in ("a.npy", "a.NPZ", "npy", "a.npy.png")] == [True, True, False, False]
