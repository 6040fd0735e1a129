"""Figures for reports: how latencies spread, where time goes, who did what when. PNG and SVG.

Readable on paper: colours that colour-blind readers tell apart, and lines and hatches that need no colour at all. No
display is needed, and the same figures give the same file. matplotlib is imported only when something is drawn.
"""

from __future__ import annotations

import io
import warnings
from contextlib import contextmanager
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Final

from cocoi_cli.errors import UsageError
from cocoi_cli.files import write
from cocoi_cli.visible import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FORMATS: Final = (".png", ".svg")

# Okabe and Ito's palette without its yellow, which is too light for lines on white.
COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
_HATCHES: Final = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
_WIDTH: Final = 7.0  # inches: the text width of a report
_DPI: Final = 150
_LONGEST: Final = 26  # letters of a label
_MOST_LANES: Final = 60

# What happens in a timeline always looks the same.
_KINDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "used": ("#009E73", "", "computed, used"),
    "late": ("#D55E00", "///", "computed, too late"),
    "lost": ("#000000", "xxx", "lost"),
    "send": ("#56B4E9", "", "encoded and sent"),
    "receive": ("#0072B2", "", "received and joined"),
    "decode": ("#CC79A7", "", "decoded"),
    "local": ("#E69F00", "...", "computed by the host"),
}
_APART: Final = ("used", "late", "lost")  # one share follows another: an edge keeps them apart
_STYLE: Final[dict[Any, Any]] = {  # keys as matplotlib knows them
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 9.0,
    "axes.titlesize": 10.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.5,
    "legend.frameon": False,
    "svg.hashsalt": "cocoi",
    "svg.fonttype": "path",
    "path.simplify": False,
}


class PlotFormatError(UsageError):
    """A figure is to be written in a form that is not known."""

    code: ClassVar[str] = "plot-format"

    def __init__(self, path: str) -> None:
        known = " and ".join(f"`{each}`" for each in FORMATS)
        super().__init__(f"`{path}` is no name of a figure: known are {known}", path=path)


def check_plot_name(path: str) -> None:
    """Refuse a name before anything is computed for it.

    Raises:
        PlotFormatError: Its ending is neither `.png` nor `.svg`.
    """
    if PurePath(path).suffix.lower() not in FORMATS:
        raise PlotFormatError(path)


def plot_latencies(series: Mapping[str, Sequence[float]], title: str, path: str) -> None:
    """Draw how latencies spread: for each, the part of inferences that took at most so long.

    Args:
        series: Name to latencies in seconds; a single one is drawn as an upright line, as for a host alone.
        title: Above the figure.
        path: Ends in `.png` or `.svg`; replaced if it exists.

    Raises:
        PlotFormatError: The ending is neither.
        OutputNotWritableError: The file cannot be written.
        ValueError: Nothing to draw.
    """
    drawn = {name: sorted(values) for name, values in series.items() if len(values)}
    if not drawn:
        raise ValueError("there is nothing to draw")
    with _figure(title, path, height=4.0) as (figure, axes):
        for place, (name, values) in enumerate(drawn.items()):
            look = {"color": _of(COLOURS, place), "linestyle": _of(_LINES, place), "linewidth": 1.6}
            if values[0] == values[-1]:
                axes.axvline(values[0] * 1000, label=_label(name), **look)
                continue
            parts = [(rank + 1) / len(values) for rank in range(len(values))]
            milliseconds = [value * 1000 for value in values]
            axes.step([milliseconds[0], *milliseconds], [0.0, *parts], where="post", label=_label(name), **look)
        axes.set_xlabel("latency (ms)")
        axes.set_ylabel("part of inferences")
        axes.set_ylim(0.0, 1.02)
        axes.set_xlim(left=0.0)
        _legend(figure, axes)


def plot_bars(groups: Mapping[str, Mapping[str, float]], title: str, path: str, *, axis: str = "time (ms)") -> None:
    """Draw bars side by side: for each category one bar per series.

    Args:
        groups: Series to category to value, in the unit of `axis`; categories are in the order of their first use.
        title: Above the figure.
        path: As in `plot_latencies`.
        axis: What is drawn, with its unit.

    Raises:
        PlotFormatError, OutputNotWritableError, ValueError: As in `plot_latencies`.
    """
    categories = list(dict.fromkeys(category for values in groups.values() for category in values))
    if not categories:
        raise ValueError("there is nothing to draw")
    thickness = 0.8 / len(groups)
    rows = max(len(categories) * max(1.0, len(groups) / 3), 4)
    with _figure(title, path, height=1.2 + 0.26 * rows) as (figure, axes):
        for place, (name, values) in enumerate(groups.items()):
            heights = [row - 0.4 + (place + 0.5) * thickness for row in range(len(categories))]
            widths = [values.get(category, 0.0) for category in categories]
            axes.barh(
                heights, widths, height=thickness, label=_label(name), color=_of(COLOURS, place),
                hatch=_of(_HATCHES, place), edgecolor="white", linewidth=0.4,
            )  # fmt: skip
        axes.set_yticks(range(len(categories)), [_label(category) for category in categories])
        axes.set_ylim(len(categories) - 0.4, -0.6)
        axes.set_xlabel(axis)
        axes.grid(visible=False, axis="y")
        _legend(figure, axes)


def plot_timeline(lanes: Mapping[str, Sequence[tuple[float, float, str]]], title: str, path: str) -> None:
    """Draw who did what when.

    Args:
        lanes: Name of the host or a device to `(start, end, kind)` in seconds; kinds are `used`, `late`, `lost`,
            `send`, `receive`, `decode`, `local`, and any other word, which is drawn in grey. Of more than 60 lanes
            the first are drawn.
        title: Above the figure.
        path: As in `plot_latencies`.

    Raises:
        PlotFormatError, OutputNotWritableError, ValueError: As in `plot_latencies`.
    """
    drawn = dict(list(lanes.items())[:_MOST_LANES])
    if not any(drawn.values()):
        raise ValueError("there is nothing to draw")
    with _figure(title, path, height=1.4 + 0.24 * max(len(drawn), 4)) as (figure, axes):
        seen: set[str] = set()
        for row, spans in enumerate(drawn.values()):
            for kind in dict.fromkeys(span[2] for span in spans):
                colour, hatch, words = _KINDS.get(kind, ("#999999", "", kind))
                bars = [(start * 1000, (end - start) * 1000) for start, end, each in spans if each == kind]
                # A white edge would hide what took microseconds.
                axes.broken_barh(
                    bars, (row - 0.36, 0.72), facecolors=colour, hatch=hatch, linewidth=0.3,
                    edgecolor="white" if hatch or kind in _APART else colour,
                    label=None if kind in seen else _label(words),
                )  # fmt: skip
                seen.add(kind)
        axes.set_yticks(range(len(drawn)), [_label(name) for name in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlim(left=0.0)
        axes.set_xlabel("time since the inference began (ms)")
        axes.grid(visible=False, axis="y")
        _legend(figure, axes)


@contextmanager
def _figure(title: str, path: str, *, height: float) -> Iterator[tuple[Any, Any]]:
    """A figure with one set of axes, written when the caller is done with it."""
    check_plot_name(path)
    import matplotlib as mpl  # noqa: PLC0415  (half a second, and only figures need it)
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  (likewise)
    from matplotlib.figure import Figure  # noqa: PLC0415  (likewise)

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(one_line(title), loc="left", wrap=True)
        yield figure, axes
        form = PurePath(path).suffix.lower().removeprefix(".")
        # Without them, a file tells when and by which version it was made, and no two are the same.
        metadata = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
        data = io.BytesIO()
        with warnings.catch_warnings():
            # A sign that the font lacks is drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
            figure.savefig(data, format=form, metadata=metadata)
    write(path, data.getvalue())


def _legend(figure: Any, axes: Any) -> None:  # noqa: ANN401  (matplotlib is imported only to draw)
    """Below the figure, so that it hides nothing."""
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside lower center", ncols=3, fontsize=8.5)


def _label(name: str) -> str:
    # An underscore at the beginning hides a label from legends, and dollars begin formulas.
    shown = one_line(name).replace("$", r"\$").lstrip("_") or "?"
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"


def _of(choices: Sequence[Any], place: int) -> Any:  # noqa: ANN401  (as above)
    return choices[place % len(choices)]
