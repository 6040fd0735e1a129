from __future__ import annotations

import pytest

from cocoi_cli.benchmark.errors import UnknownRowError
from cocoi_cli.benchmark.rows import BASELINE, ROWS, choose_rows

ABLE = ("auto", "local", "coded", "uncoded", "replication")


def test_the_usual_rows_are_those_that_the_engine_can_run():
    names = [row.name for row in choose_rows(None, ABLE)]
    assert names == ["auto", "coded", "uncoded", "uncoded-forgetful", "replication", "local", "device"]


def test_rows_are_taken_in_the_order_of_their_names_each_once():
    rows = choose_rows(["device", "uncoded", "device", "dask"], ABLE)
    assert [row.name for row in rows] == ["device", "uncoded", "dask"]


def test_an_unknown_row_is_refused_and_so_is_one_that_the_engine_lacks():
    for name in ("spline", "lt"):
        with pytest.raises(UnknownRowError, match=f"no scheme `{name}` to benchmark; known are `auto`, `coded`"):
            choose_rows([name], ABLE)


def test_the_baseline_is_whole_float32_pieces_that_remember():
    row = ROWS[BASELINE]
    assert (row.scheme, row.transport, row.strips, row.forget) == ("uncoded", "f32", 1, False)
    forgetful = ROWS["uncoded-forgetful"]
    assert (forgetful.scheme, forgetful.transport, forgetful.strips, forgetful.forget) == ("uncoded", "f32", 1, True)


def test_what_others_published_travels_as_they_define_it():
    assert (ROWS["cocoi"].transport, ROWS["cocoi"].strips) == ("f32", 1)
    assert ROWS["auto"].transport is None


def test_only_whole_pictures_in_turn_are_a_throughput():
    assert [name for name, row in ROWS.items() if row.is_throughput] == ["round-robin"]
