from __future__ import annotations

import itertools

import pytest

from cocoi_cli.codes.filter_cost import LayerSize, choices, cost_optimum

EARLY = LayerSize(in_channels=64, out_channels=64, taps=9, row=226, output_rows=224, stride=1, extent=3)
LATE = LayerSize(in_channels=512, out_channels=512, taps=9, row=16, output_rows=14, stride=1, extent=3)


def test_upload_and_store_are_those_of_the_shares() -> None:
    found = {(way.row_pieces, way.filters): way for way in choices(8, EARLY)}
    assert sorted(found) == [(1, 16), (4, 8), (8, 4), (16, 1)]
    assert found[8, 4].upload == 2 * 64 * (28 + 2) * 226
    assert found[8, 4].store == 2 * 16 * 64 * 9
    assert found[16, 1].store == 64 * 64 * 9
    assert found[1, 16].upload == 64 * 226 * 226


def test_pieces_are_at_least_a_row_high() -> None:
    assert [way.row_pieces for way in choices(8, LATE)] == [1, 4, 8]


def test_early_layers_want_many_row_pieces_and_late_ones_many_filter_groups() -> None:
    assert cost_optimum(8, EARLY).row_pieces == 16
    assert cost_optimum(8, LATE).row_pieces == 1
    assert cost_optimum(8, LATE, upload=20).row_pieces in (4, 8)


@pytest.mark.parametrize(
    "layer", [EARLY, LATE, LayerSize(128, 256, 9, 58, 56, 1, 3), LayerSize(3, 64, 49, 230, 112, 2, 7)]
)
def test_the_neighbours_of_the_formula_hold_the_cheapest_of_all(layer: LayerSize) -> None:
    for delta, upload in itertools.product((1, 2, 3, 4, 6, 8, 12, 16, 24, 32), (0.01, 0.1, 1.0, 3.0, 10.0, 1000.0)):
        best = min(way.cost(upload, 1.0) for way in choices(delta, layer))
        assert cost_optimum(delta, layer, upload=upload).cost(upload, 1.0) == pytest.approx(best), (delta, upload)


def test_storage_for_nothing_uploads_least() -> None:
    assert cost_optimum(8, EARLY, store=0.0) == choices(8, EARLY)[-1]


@pytest.mark.parametrize("delta", [0, -1])
def test_refuses_what_has_no_way(delta: int) -> None:
    with pytest.raises(ValueError, match="no rotation code"):
        cost_optimum(delta, EARLY)
