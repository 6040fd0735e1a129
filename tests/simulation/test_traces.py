from __future__ import annotations

import json

import numpy as np
import pytest

from cocoi_cli.simulation.straggling import Recorded
from cocoi_cli.simulation.traces import BadTraceError, read_trace

SECONDS = Recorded.of_seconds([0.1, 0.2, 0.4])
FACTORS = Recorded((1.0, 1.0, 5.0))


def test_arrays_hold_seconds(tmp_path):
    np.save(tmp_path / "t.npy", np.array([0.1, 0.2, 0.4]))
    assert read_trace(str(tmp_path / "t.npy")).factors == pytest.approx(SECONDS.factors)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (json.dumps([0.1, 0.2, 0.4]), SECONDS),
        (json.dumps({"seconds": [0.1, 0.2, 0.4], "by": "someone"}), SECONDS),
        (json.dumps({"factors": [1, 1, 5]}), FACTORS),
    ],
)
def test_json_says_which(tmp_path, text: str, wanted: Recorded):
    (tmp_path / "t.json").write_text(text)
    assert read_trace(str(tmp_path / "t.json")) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("0.1\n0.2\n0.4\n", SECONDS),
        ("# measured\n\nseconds\n0.1\n0.2\n\n0.4", SECONDS),
        ("\ufeffdevice,factors\r\na,1\r\nb,1\r\na,5\r\n", FACTORS),
    ],
)
def test_lines_of_text_with_or_without_a_header(tmp_path, text: str, wanted: Recorded):
    (tmp_path / "t.csv").write_text(text)
    assert read_trace(str(tmp_path / "t.csv")) == wanted


@pytest.mark.parametrize(
    ("name", "content", "line", "found"),
    [
        ("t.csv", b"1\n2\nx\n", 3, "`x` is no number"),
        ("t.csv", b"1\n-2\n", 2, "`-2` is not positive and finite"),
        ("t.csv", b"1\nnan\n", 2, "`nan` is not positive and finite"),
        ("t.csv", b"a,seconds\nb,1\nc\n", 3, "it has no column 2"),
        ("t.csv", b"\n\n", None, "it holds no number"),
        ("t.csv", b"\xff\xfe1\x00", None, "it is no text"),
        ("t.csv", b"latency\n1\n", 1, "`latency` is no number"),
        ("t.json", b'[1,\n2,\n', 3, "it is no JSON: Expecting value"),
        ("t.json", b'{"seconds": [1], "factors": [1]}', None, "it has not exactly one of `seconds` and `factors`"),
        ("t.json", b'{"times": [1]}', None, "it has not exactly one of `seconds` and `factors`"),
        ("t.json", b'7', None, "it holds no list of numbers"),
        ("t.json", b'[1, true]', None, "number 2, `True`, is no number"),
        ("t.json", b'[1, 0]', None, "number 2, `0`, is not positive and finite"),
        ("t.json", b'[]', None, "it holds no number"),
        ("t.json", b'[1, [2]]', None, "number 2, `[2]`, is no number"),
        ("t.npy", b"1\n2\n", None, "it is no array of numbers as `numpy.save` writes them"),
        ("t.npy", b"", None, "it is no array of numbers as `numpy.save` writes them"),
    ],
)  # fmt: skip
def test_unfit_files_are_refused_with_the_line(tmp_path, name: str, content: bytes, line: int | None, found: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadTraceError) as raised:
        read_trace(str(path))
    assert (raised.value.line, raised.value.found) == (line, found)
    assert raised.value.exit_status == 2


def test_arrays_of_objects_or_of_more_axes_are_refused(tmp_path):
    for array in (np.ones((2, 2)), np.array(["a"]), np.array([1, None], dtype=object)):
        np.save(tmp_path / "t.npy", array, allow_pickle=True)
        with pytest.raises(BadTraceError):
            read_trace(str(tmp_path / "t.npy"))


def test_an_absent_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(BadTraceError):
            read_trace(str(path))
