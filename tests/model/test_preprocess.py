"""Descriptions of preprocessing, and what they do to a picture."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from cocoi_cli.model.network import LoadedModel, TensorInfo
from cocoi_cli.model.pictures import DynamicSizeError, ImageInput, NoImageInputError, cast, image_input, prepare
from cocoi_cli.model.preprocess import BadPreprocessError, Crop, Preprocess, Resize, from_json, parse
from cocoi_cli.model.sources import imagenet_default

FULL = {
    "layout": "NHWC",
    "color": "gray",
    "resize": {"mode": "short-side", "size": 256, "filter": "lanczos"},
    "crop": {"mode": "center", "size": [224, 200]},
    "scale": 0.5,
    "mean": 128,
    "std": [2.0],
    "dtype": "float16",
}


def test_reads_every_key():
    assert parse(FULL, "x") == Preprocess(
        "NHWC", "GREY", Resize("short-side", (256, 256), "lanczos"), Crop((224, 200)), 0.5, (128.0,), (2.0,), "float16"
    )


@pytest.mark.parametrize("table", [FULL, {}, {"crop": {}}, {"resize": {}}, {"color": "BGR", "mean": [1, 2, 3]}])
def test_the_document_comes_round(table):
    once = parse(table, "x")
    assert parse(json.loads(json.dumps(once.document())), "x") == once


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "it is a list, expected an object"),
        ("{", "line 1 is not JSON"),
        ('{"colour": "RGB"}', "unknown key `colour`; known are `color`"),
        ('{"layout": "CHW"}', '`layout` is "CHW"; it may be `NCHW`, `NHWC`'),
        ('{"resize": {"mode": "fit"}}', '`resize.mode` is "fit"'),
        ('{"resize": {"size": [1]}}', r"`resize.size` is \[1\], expected a number or"),
        ('{"resize": {"size": 0}}', "`resize.size` is 0"),
        ('{"resize": {"mode": "short-side", "size": [2, 3]}}', "`short-side` takes one number"),
        ('{"resize": {"filter": "box"}}', '`resize.filter` is "box"'),
        ('{"crop": 224}', "`crop` is a number, expected an object"),
        ('{"crop": {"size": [2.5, 2]}}', "`crop.size` is"),
        ('{"scale": "1"}', '`scale` is "1", expected a number'),
        ('{"scale": true}', "`scale` is true"),
        ('{"scale": NaN}', "`scale` is NaN"),
        ('{"mean": [1, 2]}', "`mean` has 2 numbers; `RGB` has 3 channels"),
        ('{"color": "Y", "std": [1, 2, 3]}', "`std` has 3 numbers; `Y` has 1 channels"),
        ('{"std": [1, 0, 1]}', "must not be 0"),
        ('{"dtype": "int32"}', '`dtype` is "int32"'),
    ],
)
def test_refuses_with_the_key_and_what_it_may_be(text, message):
    with pytest.raises(BadPreprocessError, match="preprocessing of `p.json`: .*" + message):
        from_json(text, "`p.json`")


def picture(width, height) -> Image.Image:
    """Red counts columns, green counts rows, blue is 7."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x, y, np.full_like(x, 7)], axis=-1).astype(np.uint8))


def target(dtype="float32", layout="NCHW", channels=3, height=None, width=None) -> ImageInput:
    return ImageInput("image", dtype, layout, channels, height, width)


def test_layouts_and_channel_orders_against_a_loop():
    image = picture(5, 4)
    pixels = np.asarray(image)
    for layout in ("NCHW", "NHWC"):
        for color in ("RGB", "BGR"):
            how = Preprocess(color=color, scale=2.0, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 5.0))
            made = prepare(image, how, target(layout=layout), "x").tensor
            assert made.flags.c_contiguous
            for row in range(4):
                for column in range(5):
                    for channel in range(3):
                        value = int(pixels[row, column, channel if color == "RGB" else 2 - channel])
                        expected = (value * 2 - how.mean[channel]) / how.std[channel]
                        at = (0, channel, row, column) if layout == "NCHW" else (0, row, column, channel)
                        assert made[at] == pytest.approx(expected)


def test_grey_and_luma_have_one_channel():
    for color in ("GREY", "Y"):
        made = prepare(Image.new("RGB", (3, 2), (255, 0, 0)), Preprocess(color=color), target(channels=1), "x").tensor
        assert made.shape == (1, 1, 2, 3)
        assert abs(made[0, 0, 0, 0] - 0.299 * 255) <= 1


@pytest.mark.parametrize(
    ("resize", "crop", "fixed", "size"),
    [
        (Resize("none"), None, (None, None), (30, 50)),
        (Resize("exact", (20, 40)), None, (None, None), (20, 40)),
        (Resize("exact"), None, (12, 16), (12, 16)),
        (Resize("short-side", (15, 15)), None, (None, None), (15, 25)),
        (Resize("short-side"), Crop(), (7, 7), (7, 7)),
        (Resize("short-side"), Crop(), (49, 10), (49, 10)),
        (Resize("short-side"), Crop(), (6, 40), (6, 40)),
        (Resize("square-crop", (9, 9)), None, (None, None), (9, 9)),
        (Resize("square-crop"), None, (8, 6), (8, 6)),
        (Resize("none"), Crop((10, 20)), (None, None), (10, 20)),
    ],
)
def test_sizes_come_from_the_description_else_from_the_model(resize, crop, fixed, size):
    how = Preprocess(resize=resize, crop=crop)
    ready = prepare(picture(50, 30), how, target(height=fixed[0], width=fixed[1]), "x")
    assert ready.tensor.shape[2:] == size
    assert ready.picture.size == (size[1], size[0])


def test_crops_are_taken_from_the_centre():
    made = prepare(picture(50, 30), Preprocess(crop=Crop((10, 20))), target(), "x").tensor
    assert (made[0, 0, 0, 0], made[0, 1, 0, 0]) == (15, 10)
    square = prepare(
        picture(50, 30), Preprocess(resize=Resize("square-crop", (30, 30), "nearest")), target(), "x"
    ).tensor
    assert (square[0, 0, 0, 0], square[0, 1, 0, 0]) == (10, 0)


def test_an_open_size_is_the_pictures_own_with_a_warning():
    ready = prepare(picture(50, 30), Preprocess(), target(), "x")
    assert ready.warnings == ("the model leaves its size open: it runs at 50x30, the picture's own",)
    assert prepare(picture(50, 30), Preprocess(resize=Resize("exact", (8, 8))), target(), "x").warnings == ()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Preprocess(), "the picture becomes 30 in height; input `image` takes 8"),
        (Preprocess(resize=Resize("exact", (8, 9))), "becomes 9 in width; input `image` takes 8"),
        (Preprocess(crop=Crop((31, 8))), "a crop of 8x31 does not fit into the picture of 50x30"),
        (Preprocess(color="Y"), "`Y` makes 1 channels; input `image` takes 3"),
        (Preprocess(dtype="uint8"), "`dtype` is uint8; input `image` takes float32"),
    ],
)
def test_refuses_what_does_not_fit_the_model(how, message):
    with pytest.raises(BadPreprocessError, match=message):
        prepare(picture(50, 30), how, target(height=8, width=8), "x")


def test_integers_are_rounded_and_clipped():
    values = np.array([-200.0, -0.5, 0.4, 0.6, 1.5, 127.4, 300.0], np.float32)
    assert cast(values, "int8").tolist() == [-128, 0, 0, 1, 2, 127, 127]
    assert cast(values, "uint8").tolist() == [0, 0, 0, 1, 2, 127, 255]
    assert cast(values, "float16").dtype == np.float16


def model(*infos: TensorInfo) -> LoadedModel:
    return LoadedModel(None, "net", "", None, infos, (), {}, 17)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((1, 3, 224, 200), ("NCHW", 3, 224, 200)),
        (("N", 1, None, "W"), ("NCHW", 1, None, None)),
        ((None, 224, 200, 3), ("NHWC", 3, 224, 200)),
        ((1, 3, 8, 3), ("NCHW", 3, 8, 3)),
    ],
)
def test_finds_the_picture_input_in_either_layout(shape, expected):
    found = image_input(model(TensorInfo("x", "uint8", shape)))
    assert (found.layout, found.channels, found.height, found.width) == expected


def test_a_stated_layout_decides_where_the_shape_does_not():
    opened = model(TensorInfo("x", "float32", ("N", "C", "H", "W")))
    with pytest.raises(DynamicSizeError, match=r"input `x` open \(NxCxHxW float32\)"):
        image_input(opened)
    assert image_input(opened, "NHWC").layout == "NHWC"
    assert image_input(model(TensorInfo("x", "float32", (1, 3, 8, 3))), "NHWC").height == 3


@pytest.mark.parametrize(
    ("infos", "message"),
    [
        ((TensorInfo("a", "float32", (1, 3, 8, 8)), TensorInfo("b", "float32", (1,))), r"it has 2 inputs \(`a`, `b`\)"),
        ((TensorInfo("a", "float32", (1, 10)),), "its input `a` is 1x10 float32"),
        ((TensorInfo("a", "float32", (1, 16, 8, 8)),), "its input `a` is 1x16x8x8 float32"),
        ((TensorInfo("a", "float32", (4, 3, 8, 8)),), "its input `a` is 4x3x8x8 float32"),
    ],
)
def test_refuses_models_that_take_no_picture(infos, message):
    with pytest.raises(NoImageInputError, match=message):
        image_input(model(*infos))


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (target(height=224, width=224), (127 / 255 - 0.485) / 0.229),
        (target("uint8", "NHWC", height=128, width=128), 127),
        (target("int8", height=32, width=32), -1),
        (target(channels=1, height=28, width=28), 127 / 255),
    ],
)
def test_imagenets_custom_fits_the_input(given, value):
    ready = prepare(Image.new("RGB", (90, 60), (127, 127, 127)), imagenet_default(given), given, "x")
    assert ready.tensor.dtype == given.dtype
    assert float(ready.tensor[0, 0, 0, 0]) == pytest.approx(value, rel=1e-5)
