from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cocoi_cli.model.drawing import areas, class_map, draw, drawable
from cocoi_cli.model.pictures import ImageInput, prepare
from cocoi_cli.model.preprocess import Preprocess

RNG = np.random.default_rng(seed=5)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "how",
    [
        Preprocess(),
        Preprocess(color="BGR"),
        Preprocess(scale=1 / 255),
        Preprocess(scale=1 / 255, mean=(0.5,), std=(0.5,)),
        Preprocess(color="BGR", scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)),
    ],
)
def test_a_model_that_changes_nothing_gives_the_picture_back(how, layout):
    target = ImageInput("image", "float32", layout, 3, None, None)
    ready = prepare(Image.fromarray(PIXELS), how, target, "x")
    drawn = draw({"out": ready.tensor}, how, ready.picture, None)
    np.testing.assert_array_equal(np.asarray(drawn), PIXELS)


def test_luma_gets_its_colour_back_enlarged():
    how = Preprocess(color="Y", scale=1 / 255)
    picture = Image.new("RGB", (8, 8), (200, 60, 30))
    ready = prepare(picture, how, ImageInput("image", "float32", "NCHW", 1, None, None), "x")
    drawn = draw({"out": ready.tensor.repeat(3, axis=2).repeat(3, axis=3)}, how, ready.picture, None)
    assert (drawn.mode, drawn.size) == ("RGB", (24, 24))
    assert np.abs(np.asarray(drawn).astype(int) - (200, 60, 30)).max() <= 3


def test_grey_stays_grey():
    drawn = draw({"out": np.full((1, 1, 4, 5), 0.6, np.float32)}, Preprocess(color="GREY", scale=1 / 255), None, None)
    assert (drawn.mode, drawn.size, drawn.getpixel((0, 0))) == ("L", (5, 4), 153)


@pytest.mark.parametrize(("top", "shown"), [(1.0, 255), (200.0, 200), (300.0, 255)])
def test_without_preprocessing_the_range_decides(top, shown):
    array = np.zeros((1, 3, 4, 4), np.float32)
    array[0, 0, 0, 0] = top
    assert draw({"out": array}, None, None, None).getpixel((0, 0)) == (shown, 0, 0)


def test_broken_numbers_are_black():
    array = np.full((1, 1, 2, 2), np.nan, np.float32)
    assert draw({"out": array}, None, None, None).getpixel((0, 0)) == 0


def test_maps_become_palette_pictures_with_their_classes_as_values():
    classes = RNG.integers(0, 21, (1, 7, 5))
    for output in (
        classes,
        classes[:, np.newaxis].astype(np.int32),
        np.eye(21)[classes].transpose(0, 3, 1, 2).astype(np.float32),
    ):
        labels = tuple("abcdefghijklmnopqrstu")
        drawn = draw({"out": output}, None, None, labels)
        assert drawn.mode == "P"
        np.testing.assert_array_equal(np.asarray(drawn), classes[0])
    colors = np.array(drawn.getpalette()).reshape(-1, 3)[:21]
    assert len(np.unique(colors, axis=0)) == 21
    assert colors[0].tolist() == [0, 0, 0]


def test_areas_add_up_and_unknown_classes_have_no_label():
    found = areas(np.array([[0, 0, 0, 9]]), ("sky",))
    assert [(area.index, area.label, area.share) for area in found] == [(0, "sky", 0.75), (9, None, 0.25)]


def test_the_first_output_that_is_a_picture_counts():
    outputs = {"scores": np.zeros((1, 10), np.float32), "picture": np.ones((1, 3, 4, 4), np.float32)}
    assert draw(outputs, None, None, None).size == (4, 4)
    assert draw({"scores": outputs["scores"]}, None, None, None) is None


@pytest.mark.parametrize("shape", [(1, 16, 8, 8), (2, 3, 8, 8), (1, 3, 1, 1), (3, 8, 8), (1, 4420, 4), ()])
def test_features_and_lists_are_no_pictures(shape):
    assert draw({"out": np.zeros(shape, np.float32)}, None, None, None) is None
    assert class_map(np.zeros(shape, np.float32), None) is None


@pytest.mark.parametrize(
    ("shape", "dtype", "possible"),
    [
        ((1, 3, "H", "W"), "float32", True), ((1, "H", "W", 3), "float32", True), (None, "float32", True),
        ((1, 513, 513), "int64", True), ((1, 513, 513), "float32", False), ((1, 1000), "float32", False),
        ((1, 16, 8, 8), "float32", False), ((1, 2, 8, 8), "float32", True), (("N", "C", "H", "W"), "float32", True),
    ],
)  # fmt: skip
def test_what_may_be_drawn_is_known_beforehand(shape, dtype, possible):
    assert drawable(shape, dtype, ("a", "b")) == possible
