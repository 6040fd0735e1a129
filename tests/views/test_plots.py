"""Figures: whole files of the form asked for, the same each time, whatever the names in them."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cocoi_cli.files import OutputNotWritableError
from cocoi_cli.views.plots import COLOURS, PlotFormatError, check_plot_name, plot_bars, plot_latencies, plot_timeline

SERIES = {"uncoded, k = 10": [0.9, 1.1, 1.3, 1.2], "coded, k = 8": [0.7, 0.8, 0.75, 0.71], "host alone": [3.1]}
BARS = {"uncoded": {"conv1": 12.0, "conv2": 30.0}, "coded": {"conv1": 9.0, "conv2": 21.0, "conv3": 5.0}}
LANES = {
    "host": [(0.0, 0.001, "send"), (0.02, 0.0201, "receive"), (0.03, 0.031, "decode"), (0.04, 0.06, "local")],
    "pi1": [(0.002, 0.02, "used"), (0.02, 0.05, "late")],
    "pi2": [(0.003, 0.03, "something else")],
    "pi3": [],
}


def draw(kind: str, path: Path) -> None:
    if kind == "latencies":
        plot_latencies(SERIES, "VGG16", str(path))
    elif kind == "bars":
        plot_bars(BARS, "VGG16", str(path))
    else:
        plot_timeline(LANES, "VGG16", str(path))


@pytest.mark.parametrize("kind", ["latencies", "bars", "timeline"])
@pytest.mark.parametrize("form", ["png", "svg"])
def test_a_figure_is_whole_and_the_same_each_time(tmp_path, kind: str, form: str):
    first, second = tmp_path / f"a.{form}", tmp_path / f"b.{form.upper()}"
    draw(kind, first)
    draw(kind, second)
    assert first.read_bytes() == second.read_bytes()
    if form == "svg":
        assert ET.fromstring(first.read_text()).tag.endswith("svg")  # noqa: S314 - we have just made it
        return
    with Image.open(io.BytesIO(first.read_bytes())) as picture:
        assert picture.width == 1050
        pixels = np.asarray(picture.convert("RGB"))
    assert 0.5 < (pixels == 255).all(axis=2).mean() < 0.99  # a white ground, and something on it


def test_files_tell_nothing_about_when_and_by_what_they_were_made(tmp_path):
    draw("latencies", tmp_path / "a.svg")
    draw("latencies", tmp_path / "a.png")
    text = (tmp_path / "a.svg").read_text()
    assert "dc:date" not in text
    assert "Matplotlib v" not in text
    with Image.open(tmp_path / "a.png") as picture:
        assert "Software" not in picture.info


def test_colours_differ_in_brightness_or_hue_for_colour_blind_readers():
    """Okabe and Ito's palette: no two colours are close once red and green look alike."""
    linear = np.array([[int(c[at : at + 2], 16) / 255 for at in (1, 3, 5)] for c in COLOURS]) ** 2.2
    # Viénot, Brettel, Mollon (1999): what a deuteranope sees keeps blue, and the mixture of red and green.
    seen = np.stack([0.29275 * linear[:, 0] + 0.70725 * linear[:, 1], linear[:, 2]], axis=1) ** (1 / 2.2)
    for a in range(len(seen)):
        for b in range(a):
            assert np.abs(seen[a] - seen[b]).max() > 0.08, (COLOURS[a], COLOURS[b])


NAMES = ("$x_1$", "_hidden", "a" * 80, "\x1b[2Jrow", "", "Ünïcode", "100 %", "\\alpha{", "名前")


def test_names_are_only_names(tmp_path):
    for name in NAMES[:4]:
        plot_latencies({"a": [0.1, 0.2]}, name, str(tmp_path / "a.svg"))
    plot_latencies({name: [0.1, 0.2] for name in NAMES}, "names", str(tmp_path / "a.png"))
    plot_bars({name: dict.fromkeys(NAMES, 1.0) for name in NAMES}, "names", str(tmp_path / "b.svg"))
    plot_timeline({name: [(0.0, 0.1, name)] for name in NAMES}, "names", str(tmp_path / "c.png"))


def test_many_lanes_series_and_equal_values(tmp_path):
    plot_timeline({f"pi{at}": [(0.0, 0.1, "used")] for at in range(200)}, "many", str(tmp_path / "a.png"))
    plot_latencies({f"row {at}": [0.1, 0.2 + at / 100] for at in range(15)}, "many", str(tmp_path / "b.png"))
    plot_latencies({"always": [0.2] * 9}, "one", str(tmp_path / "c.png"))


@pytest.mark.parametrize("path", ["a.pdf", "a", "png", "a.png.txt", ""])
def test_other_forms_are_refused_before_anything_is_drawn(path: str):
    with pytest.raises(PlotFormatError) as raised:
        check_plot_name(path)
    assert raised.value.exit_status == 2


def test_nothing_to_draw_is_a_mistake_of_the_caller(tmp_path):
    path = str(tmp_path / "a.png")
    for call in (lambda: plot_latencies({"a": []}, "", path), lambda: plot_bars({"a": {}}, "", path),
                 lambda: plot_timeline({"a": []}, "", path)):  # fmt: skip
        with pytest.raises(ValueError, match="nothing to draw"):
            call()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputNotWritableError):
        draw("bars", tmp_path / "none" / "a.png")
