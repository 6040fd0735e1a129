# ruff: noqa: E501  (each case of the table stands on one line)

from __future__ import annotations

import json
import shutil

import onnx
import pytest

INFO = """\
model           signs (FILESIZE, operator set 17)
file            signs.onnx
input           image  Nx3x8x8 float32
output          logits  Nx4 float32
labels          4 from the model's metadata (`labels`): stop, yield, go, ...
preprocessing   RGB, exact 8x8 bilinear, v / 255; from the model's metadata
                (`preprocess`)
metadata        author = somebody
conv layers     1 layer, 1 distributable, 0.0 MMAC in all
                the file leaves sizes open; the layers are shown for `image`
                1x3x8x8

conv layer    kernel  output           MMAC  distributable
conv1         1x1     1x4x8x8           0.0  yes
"""


def metadata(path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_info_tells_what_is_known(cocoi, make):
    signs = make("classifier", "signs.onnx", metadata={"author": "somebody"})
    outcome = cocoi("model", "info", "signs.onnx")
    assert (outcome.status, outcome.err) == (0, "")
    expected = INFO.replace("FILESIZE", f"{signs.stat().st_size} B" if signs.stat().st_size < 1000 else "1.0 kB")
    assert outcome.out == expected


def test_info_as_a_document(cocoi, signs):
    document = cocoi("model", "info", "signs.onnx", "--json").document
    assert (document["name"], document["opset"], document["bytes"]) == ("signs", 17, signs.stat().st_size)
    assert document["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["N", 3, 8, 8]}]
    assert document["labels"]["names"] == ["stop", "yield", "go", "turn"]
    assert document["preprocess"]["resize"] == {"mode": "exact", "size": [8, 8], "filter": "bilinear"}
    assert [(layer["name"], layer["macs"], layer["obstacle"]) for layer in document["layers"]] == [("conv1", 768, None)]


def test_info_of_a_model_that_takes_no_picture(cocoi, make):
    make("adder", "add.onnx")
    outcome = cocoi("model", "info", "add.onnx")
    assert outcome.status == 0
    assert "preprocessing   none: model `add` cannot take a picture: it has 2 inputs (`a`, `b`)" in " ".join(
        outcome.out.split("\n                ")
    )
    assert cocoi("model", "info", "add.onnx", "--json").document["preprocess"] is None


def test_list_shows_the_shipped_models(cocoi, signs, monkeypatch):
    monkeypatch.setattr("cocoi_cli.shipped.shipped_model", lambda: signs)
    outcome = cocoi("model", "list")
    assert outcome.out.splitlines()[0].split() == ["model", "input", "labels", "conv", "layers", "size"]
    assert outcome.out.splitlines()[1].split()[:4] == ["signs", "Nx3x8x8", "float32", "4"]
    assert [each["name"] for each in cocoi("model", "list", "--json").document["models"]] == ["signs"]


def test_annotate_and_info_come_round(cocoi, make, tmp_path):
    make("classifier", "bare.onnx", labels=(), metadata={"author": "somebody"})
    (tmp_path / "labels.csv").write_text(
        "n01440764 tench, Tinca tinca\nn01443537 goldfish\nn01484850 shark\nn01491361 ray\n"
    )
    (tmp_path / "p.json").write_text('{"color": "gray", "scale": 2}')
    (tmp_path / "q.json").write_text(
        '{"color": "bgr", "mean": [1, 2, 3], "resize": {"mode": "short-side"}, "crop": {}}'
    )
    graph = onnx.load(tmp_path / "bare.onnx").graph.SerializeToString()

    assert cocoi("model", "annotate", "bare.onnx", "--preprocess", "p.json").status == 3
    outcome = cocoi("model", "annotate", "bare.onnx", "--labels", "labels.csv", "--preprocess", "q.json")
    assert (outcome.status, outcome.out, outcome.err) == (0, "written: bare.onnx (4 labels and preprocessing)\n", "")

    document = cocoi("model", "info", "bare.onnx", "--json").document
    assert document["labels"]["names"] == ["tench, Tinca tinca", "goldfish", "shark", "ray"]
    assert document["labels"]["source"] == "the model's metadata (`labels`)"
    assert (document["preprocess"]["color"], document["preprocess"]["mean"]) == ("BGR", [1, 2, 3])
    assert onnx.load(tmp_path / "bare.onnx").graph.SerializeToString() == graph
    assert metadata(tmp_path / "bare.onnx")["author"] == "somebody"


def test_annotate_writes_a_copy_where_asked(cocoi, signs, tmp_path):
    before = signs.read_bytes()
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    assert cocoi("model", "annotate", "signs.onnx", "--labels", "four.txt", "-o", "copy.onnx").status == 0
    assert signs.read_bytes() == before
    assert json.loads(metadata(tmp_path / "copy.onnx")["labels"]) == ["a", "b", "c", "d"]
    assert "preprocess" in metadata(tmp_path / "copy.onnx")


@pytest.mark.parametrize(
    ("typed", "status", "message"),
    [
        ("signs.onnx --labels three.txt", 3, "labels of `three.txt`: there are 3, and model `signs` has 4 classes"),
        ("signs.onnx", 2, "neither labels nor preprocessing are given for `signs.onnx`"),
        ("signs.onnx --labels none.txt", 2, "no such file: `none.txt`"),
        ("signs.onnx --labels four.txt -o no/copy.onnx", 1, "cannot write `no/copy.onnx` in folder `no`: no such file or directory"),
        ("signs.onnx --preprocess small.json", 3, "preprocessing of `small.json`: the picture becomes 7 in height; input `image` takes 8"),
        ("roads --labels four.txt", 2, "`roads` comes with cocoi and is not changed in place"),
        ("nowhere.onnx --labels four.txt", 2, "no such file: `nowhere.onnx`"),
    ],
)  # fmt: skip
def test_a_refused_annotation_leaves_the_file_as_it_was(cocoi, signs, tmp_path, monkeypatch, typed, status, message):
    monkeypatch.setattr(
        "cocoi_cli.shipped.shipped_model",
        lambda: shutil.copy(signs, tmp_path / "roads.onnx") and tmp_path / "roads.onnx",
    )
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "small.json").write_text('{"resize": {"mode": "exact", "size": 7}}')
    before = signs.read_bytes()
    outcome = cocoi("model", "annotate", *typed.split())
    assert outcome.status == status
    assert outcome.err.startswith(f"error: {message}\nhint: ")
    assert signs.read_bytes() == before
    assert not list(tmp_path.glob(".*"))
