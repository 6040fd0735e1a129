"""The order in which labels and preprocessing are looked for."""

from __future__ import annotations

import json

import pytest

from cocoi_cli.model.labels import BadLabelsError
from cocoi_cli.model.network import LoadedModel, TensorInfo
from cocoi_cli.model.preprocess import BadPreprocessError
from cocoi_cli.model.sources import Labels, check_labels, find_labels, find_preprocess

AB, XY = '["a", "b"]', "x\ny\n"


def model(folder, metadata=None, shape=("N", 2)) -> LoadedModel:
    outputs = (TensorInfo("out", "float32", shape),)
    return LoadedModel(folder / "net.onnx", "net", "", None, (), outputs, metadata or {}, 17)


def test_a_named_file_wins_over_everything(tmp_path):
    (tmp_path / "mine.txt").write_text(XY)
    found = find_labels(model(tmp_path, {"labels": AB}), str(tmp_path / "mine.txt"))
    assert (found.names, found.source, found.warning) == (("x", "y"), f"`{tmp_path / 'mine.txt'}`", None)


def test_metadata_win_over_files_beside_the_model(tmp_path):
    (tmp_path / "net.labels.txt").write_text(XY)
    found = find_labels(model(tmp_path, {"names": "{0: 'a', 1: 'b'}"}))
    assert (found.names, found.source) == (("a", "b"), "the model's metadata (`names`)")


@pytest.mark.parametrize("text", ["a,b", "a\nb", AB])
def test_metadata_may_be_a_list_in_any_form(tmp_path, text):
    assert find_labels(model(tmp_path, {"classes": text})).names == ("a", "b")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("net.labels.txt", XY),
        ("net.labels.json", '["x", "y"]'),
        ("net_labels.txt", XY),
        ("net.json", '{"labels": ["x", "y"]}'),
        ("labels.txt", XY),
    ],
)
def test_files_beside_the_model(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = find_labels(model(tmp_path))
    assert (found.names, found.source) == (("x", "y"), f"`{tmp_path / name}`")


def test_a_list_for_the_folder_counts_only_if_it_fits(tmp_path):
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")
    assert find_labels(model(tmp_path)) is None


@pytest.mark.parametrize(("width", "first"), [(1000, "tench"), (1001, "background")])
def test_imagenets_names_are_the_last_resort_with_a_warning(tmp_path, width, first):
    found = find_labels(model(tmp_path, shape=(1, width, 1, 1)))
    assert (len(found.names), found.names[0], found.names[-1]) == (width, first, "toilet tissue")
    assert found.warning == "no labels found: ImageNet's names are assumed"


def test_other_widths_have_no_labels(tmp_path):
    assert find_labels(model(tmp_path)) is None


@pytest.mark.parametrize("where", ["named", "metadata", "beside"])
def test_the_count_must_be_the_width_of_the_output(tmp_path, where):
    (tmp_path / ("net.labels.txt" if where == "beside" else "three.txt")).write_text("x\ny\nz\n")
    metadata = {"labels": '["x", "y", "z"]'} if where == "metadata" else {}
    with pytest.raises(BadLabelsError, match="there are 3, and model `net` has 2 classes"):
        find_labels(model(tmp_path, metadata), str(tmp_path / "three.txt") if where == "named" else None)


def test_an_open_width_takes_any_count(tmp_path):
    assert len(find_labels(model(tmp_path, {"labels": '["x", "y", "z"]'}, shape=("N", "C"))).names) == 3


def test_an_open_width_is_checked_once_it_is_known():
    labels = Labels(("x", "y"), "`l.txt`")
    check_labels(labels, {"a": (1, 3), "b": (1, 2, 1, 1)})
    check_labels(labels, {"map": (1, 64, 64)})
    check_labels(None, {"a": (1, 3)})
    with pytest.raises(BadLabelsError, match=r"labels of `l\.txt`: there are 2, and output `a` has 3 classes"):
        check_labels(labels, {"a": (1, 3)})


def test_scores_per_pixel_are_counted_too(tmp_path):
    with pytest.raises(BadLabelsError, match="there are 2, and model `net` has 20 classes"):
        find_labels(model(tmp_path, {"labels": AB}, shape=(1, 20, "H", "W")))


def test_labels_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "l.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(BadLabelsError, match="byte 3 is not UTF-8"):
        find_labels(model(tmp_path), str(tmp_path / "l.txt"))


def test_preprocessing_follows_the_same_order(tmp_path):
    def found(metadata=None, given=None):
        result = find_preprocess(model(tmp_path, metadata), None, given)
        return result.how.scale, result.source, result.warning is not None

    assert found() == (1 / 255, "built-in ImageNet default", True)
    (tmp_path / "preprocess.json").write_text('{"scale": 5}')
    assert found() == (5, f"`{tmp_path / 'preprocess.json'}`", False)
    (tmp_path / "net.json").write_text(json.dumps({"preprocess": {"scale": 4}}))
    assert found() == (4, f"`{tmp_path / 'net.json'}`", False)
    (tmp_path / "net.preprocess.json").write_text('{"scale": 3}')
    assert found() == (3, f"`{tmp_path / 'net.preprocess.json'}`", False)
    metadata = {"preprocess": '{"scale": 2}'}
    assert found(metadata) == (2, "the model's metadata (`preprocess`)", False)
    (tmp_path / "mine.json").write_text('{"scale": 1}')
    assert found(metadata, str(tmp_path / "mine.json")) == (1, f"`{tmp_path / 'mine.json'}`", False)


def test_onnxs_own_image_metadata_are_understood(tmp_path):
    metadata = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_1_1"}
    how = find_preprocess(model(tmp_path, metadata)).how
    assert (how.color, how.resize.mode) == ("BGR", "square-crop")
    assert [(v * how.scale - how.mean[0]) / how.std[0] for v in (0, 255)] == [-1, 1]


def test_a_bad_description_names_its_source(tmp_path):
    with pytest.raises(BadPreprocessError, match=r"of the model's metadata \(`preprocess`\): unknown key `x`"):
        find_preprocess(model(tmp_path, {"preprocess": '{"x": 1}'}))
    (tmp_path / "net.json").write_text("[1]")
    assert find_preprocess(model(tmp_path)).warning is not None
