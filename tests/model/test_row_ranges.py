from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.model.onnxruntime_session import open_session
from cocoi_cli.model.row_ranges import RowGraph, Rows, Step, Window, tile_rows
from cocoi_cli.model.segments import segment_between
from tests.model.graphs import make, node, prepare, random_arrays, weights

W = weights(3, 3, 3, 3, seed=1)
SAME = {"pads": [1, 1, 1, 1]}


def taps(row, stride, kernel, dilation, pad):
    """The padded-free input rows that one output row reads, one by one."""
    return [row * stride - pad + tap * dilation for tap in range(kernel)]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_a_window_reads_what_its_taps_read(stride, dilation, kernel):
    extent = dilation * (kernel - 1) + 1
    for pad in range(extent):
        window = Window(stride, extent, pad)
        for first, last in itertools.combinations(range(9), 2):
            read = [at for row in range(first, last) for at in taps(row, stride, kernel, dilation, pad)]
            assert window.needs(Rows(first, last)) == (min(read), max(read) + 1)


@pytest.mark.parametrize("repeat", [1, 2, 3])
def test_an_enlargement_makes_whole_groups(repeat):
    window = Window(repeat=repeat)
    for first, last in itertools.combinations(range(13), 2):
        sources = [row // repeat for row in range(first, last)]
        assert window.needs(Rows(first, last)) == (min(sources), max(sources) + 1)
        made = window.made(Rows(first, last))
        assert made == (min(sources) * repeat, (max(sources) + 1) * repeat)
        assert window.needs(made) == window.needs(Rows(first, last))


def test_every_output_row_must_read_a_row_of_the_picture():
    assert Window(1, 3, 1).is_within(5, 5)
    assert not Window(1, 3, 3).is_within(5, 9)  # the first window lies in padding
    assert not Window(2, 3, 0).is_within(4, 3)  # the last does
    assert not Window(1, 3, -1).is_within(5, 2)
    assert Window(repeat=2).is_within(3, 6)
    assert not Window(repeat=2).is_within(3, 5)


def test_a_tensor_is_held_for_all_its_readers():
    # x → a (3 rows) → b (5 rows) → y = b + x, as in a residual block
    graph = RowGraph(
        (20, 20, 20, 20), (Step((0,), Window(1, 3, 1)), Step((1,), Window(1, 5, 2)), Step((0, 2), Window()))
    )
    assert graph.held(Rows(8, 10)) == ((5, 13), (6, 12), (8, 10), (8, 10))
    assert graph.held(Rows(0, 2)) == ((0, 5), (0, 4), (0, 2), (0, 2))
    assert graph.held(Rows(18, 20)) == ((15, 20), (16, 20), (18, 20), (18, 20))
    assert graph.held(Rows(0, 20)) == ((0, 20),) * 4


@pytest.mark.parametrize("grain", [1, 2, 3])
def test_tiles_cover_all_rows_evenly(grain):
    for length, tiles in itertools.product(range(1, 40), range(1, 45)):
        found = tile_rows(length, tiles, grain)
        assert [row for rows in found for row in range(*rows)] == list(range(length))
        assert len(found) == min(tiles, length)
        sizes = {rows.size for rows in found}
        assert max(sizes) - min(sizes) <= grain


@pytest.mark.parametrize(("length", "tiles"), [(0, 1), (5, 0), (5, -1)])
def test_no_tile_and_no_row_are_refused(length, tiles):
    with pytest.raises(ValueError, match="tiles"):
        tile_rows(length, tiles)


def conv(x, y, **attributes):
    return node("Conv", [x, "w"], [y], **attributes)


LINEAR = {
    "same": [conv("x", "y", **SAME)],
    "stride": [conv("x", "y", strides=[3, 1], pads=[1, 1, 0, 1])],
    "dilation": [conv("x", "y", dilations=[3, 1], pads=[3, 1, 3, 1])],
    "uneven pads": [conv("x", "y", pads=[2, 0, 0, 1])],
    "upper": [conv("x", "y", auto_pad="SAME_UPPER", strides=[2, 2])],
    "lower": [conv("x", "y", auto_pad="SAME_LOWER", strides=[2, 2])],
    "mean": [conv("x", "a"), node("AveragePool", ["a"], ["y"], kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1])],
    "residual": [conv("x", "a", **SAME), conv("a", "b", **SAME), node("Add", ["b", "x"], ["y"])],
    "branches": [
        conv("x", "a", dilations=[2, 1], pads=[2, 1, 2, 1]),
        conv("x", "b", **SAME),
        node("Concat", ["a", "b"], ["y"], axis=1),
    ],
    "enlarged": [conv("x", "a", **SAME), node("Resize", ["a", "", "scales"], ["b"]), conv("b", "y", **SAME)],
    "shuffled": [
        conv("x", "a", **SAME),
        node("SpaceToDepth", ["a"], ["b"], blocksize=2),
        node("DepthToSpace", ["b"], ["y"], blocksize=2),
    ],
}


@pytest.mark.parametrize("case", LINEAR)
def test_a_changed_row_changes_the_output_rows_that_need_it(tmp_path, case):
    rows = 14
    constants = {"w": W, "scales": np.float32([1, 1, 3, 1])}
    proto = make(LINEAR[case], {"x": (1, 3, rows, 6)}, ["y"], constants)
    prepared = prepare(tmp_path, proto, random_arrays(proto))
    graph = segment_between(prepared, "x", "y").rows
    session = open_session(proto.SerializeToString(), threads=1)
    x = random_arrays(proto)["x"]
    (plain,) = session.run(None, {"x": x})
    touched = np.zeros((plain.shape[2], rows), bool)
    for row in range(rows):
        changed = x.copy()
        changed[:, :, row] += 10
        (result,) = session.run(None, {"x": changed})
        touched[:, row] = np.abs(result - plain).max(axis=(0, 1, 3)) > 1e-3
    grain = graph.grain
    for first in range(0, plain.shape[2], grain):
        held = graph.held(Rows(first, first + grain))[0]
        read = np.flatnonzero(touched[first : first + grain].any(axis=0))
        assert held.first <= read.min() <= read.max() < held.last, first
        # Beside the border, the holes of a dilation leave rows in the range that are not read.
        if case not in ("dilation", "branches"):
            assert (read.min(), read.max() + 1) == held, first
