from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.model.segments import segment_between
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.stages import find_layers
from cocoi_cli.model.tiles import fuse
from cocoi_cli.planning.plan import SegmentPlan
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.tile_work import TileWork
from tests.model.reference_run import relative_difference
from tests.runtime.small_network import picture, small_network

TILES = 5


@pytest.fixture(scope="module")
def kernels():
    return HostKernels(1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    model = small_network(tmp_path_factory.mktemp("model"))
    return find_layers(model, resolve_input_shapes(model, {"image": (1, 3, 40, 40)}))


@pytest.fixture
def begin(prepared):
    """Work on the residual block of the small network, and its input."""

    def of(transport="f32", reply="f32", x=None, tiles=TILES):
        segment = segment_between(prepared, "image", "r2")
        stage = fuse(prepared, segment, tiles, transport, reply)
        plan = SegmentPlan(
            segment.name, segment.layers, "image", "r2", tiles, 3, transport, "early and wide", reply=reply
        )
        return TileWork(stage, plan, picture()["image"] if x is None else x, Blocks())

    return of


def answer(kernels, work, tile, share=0):
    """What an agent would answer."""
    out = work.share(tile, share)
    outputs = ["y16"] if out.reply == "f16" else ["y32"]
    return kernels.run_program(work.stage.programs[out.variant], {"x": out.x}, outputs, work.stage.weights)[0]


def finished(kernels, work):
    for tile in range(work.strips):
        y = answer(kernels, work, tile)
        assert work.fits(tile, 0, y)
        work.accept(tile, 0, y, 1.0)
        assert work.decode(tile, (0,), kernels) is False
    return work.hand_over()


@pytest.mark.parametrize(("transport", "reply"), [("f32", "f32"), ("f16", "f16"), ("f16", "f32"), ("f32", "f16")])
def test_tiles_make_the_whole(kernels, begin, transport, reply):
    work = begin(transport, reply)
    expected = work.whole(kernels)
    found = finished(kernels, work)
    assert (found.shape, found.dtype) == (work.stage.output_shape, np.float32)
    assert relative_difference(found, expected) <= (1e-2 if "f16" in (transport, reply) else 1e-5)
    assert work.rounding == ("f16" if "f16" in (transport, reply) else "f32")


def test_it_says_what_it_is(begin):
    work = begin()
    assert (work.name, work.kind, work.scheme, work.reason) == ("conv1..conv2", "fused", "hedged", "early and wide")
    assert (work.n, work.k, work.strips, work.code.pieces, work.code.shares) == (3, 1, TILES, 1, 3)
    assert (work.counts.arrived, work.is_sendable) == (0, True)


def test_a_share_is_the_rows_of_its_tile_in_memory_of_its_own(begin):
    x = picture()["image"]
    for transport, dtype in (("f32", np.float32), ("f16", np.float16)):
        work = begin(transport, transport, x=x)
        for number, tile in enumerate(work.stage.tiles):
            out = work.share(number, number % 3)
            assert out.x.dtype == dtype
            assert out.x.flags.c_contiguous
            assert not np.may_share_memory(out.x, x)
            assert np.array_equal(out.x, x[:, :, tile.first : tile.last].astype(dtype))
            assert (out.scale, out.variant, out.axis, out.reply) == (1.0, tile.program, 2, transport)


def test_the_host_computes_the_same_tile_for_every_share(kernels, begin):
    work = begin("f16", "f16")
    whole = work.whole(kernels)
    for number, tile in enumerate(work.stage.tiles):
        answers = work.convolve(kernels, number, (0, 2))
        assert len(answers) == 2
        for y in answers:
            assert work.fits(number, 0, y)
            assert relative_difference(y, whole[:, :, tile.start : tile.stop]) <= 1e-5
    assert not any(work.has(number, 0) for number in range(work.strips))


def test_the_first_answer_settles_a_tile_for_all_shares(kernels, begin):
    work = begin()
    y = answer(kernels, work, 1)
    assert not work.has(1, 0)
    work.accept(1, 2, y, 1.0)
    assert all(work.has(1, share) for share in range(3))
    assert not work.has(0, 2)


def test_answers_of_another_shape_do_not_fit(kernels, begin):
    work = begin()
    y = answer(kernels, work, 0)
    for wrong in (y[:, :, 1:], y[:, 1:], y[0], np.concatenate([y, y], axis=2)):
        assert not work.fits(0, 0, wrong)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_scaled_answer_is_multiplied_out(kernels, begin, dtype):
    work = begin()
    whole = work.whole(kernels)
    for number in range(work.strips):
        (y,) = work.convolve(kernels, number, (0,))
        work.accept(number, 0, (y / 64).astype(dtype), 64.0)
    assert relative_difference(work.hand_over(), whole) <= (1e-3 if dtype == np.float16 else 1e-6)


def scaled(factor):
    return picture()["image"] * np.float32(factor)


@pytest.mark.parametrize(
    ("transport", "x", "expected"),
    [
        ("f16", scaled(0), True),
        ("f16", scaled(1e4), True),
        ("f16", scaled(1e5), False),  # beyond 65504
        ("f32", scaled(1e5), True),
        ("f16", scaled(1e-6), False),  # digits would be lost
        ("f32", scaled(1e-6), True),
        ("f32", scaled(np.inf), False),
        ("f16", np.full((1, 3, 40, 40), np.nan, np.float32), False),
        ("f32", picture(36)["image"], False),  # another size than was planned
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_cannot_travel_is_computed_whole(kernels, begin, transport, x, expected):
    work = begin(transport, transport, x=x)
    assert work.is_sendable is expected
    assert work.whole(kernels).shape == (1, 8, *x.shape[2:])
    if expected:
        tolerance = 1e-2 if transport == "f16" else 1e-5
        assert (
            relative_difference(finished(kernels, begin(transport, transport, x=x)), work.whole(kernels)) <= tolerance
        )


def test_the_input_is_forgotten_unless_it_is_kept(kernels, begin):
    work = begin()
    work.keeps_input = True
    finished(kernels, work)
    assert work.share(0, 1).x.size > 0
    assert work.convolve(kernels, 0, (1,))[0].shape == work.answer_shape(0)
    work = begin()
    output = finished(kernels, work)
    Blocks().give(output)  # it was taken from blocks
    assert work.hand_over().size == 0


def test_more_tiles_than_rows_are_as_many_as_rows(kernels, begin):
    work = begin(tiles=100)
    assert work.strips == 40
    assert relative_difference(finished(kernels, work), begin().whole(kernels)) <= 1e-5


def test_nobody_to_take_tiles_is_still_a_code(begin):
    work = begin()
    assert TileWork(work.stage, replace(work.plan, n=0), picture()["image"], Blocks()).code.shares == 1
