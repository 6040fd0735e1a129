from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.errors import BadCodeError, NotReadyError
from cocoi_cli.codes.families import replication, uncoded

SIZES = [(n, k) for n in range(1, 8) for k in range(1, n + 1)]


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_every_survivor_set_decodes_exactly_when_each_piece_has_a_holder(n: int, k: int) -> None:
    code = replication.make(n, k, gain_limit=1)
    pieces = np.arange(k * 3, dtype=np.float32).reshape(k, 3)
    for size in range(n + 1):
        for rows in itertools.combinations(range(n), size):
            covered = {row % k for row in rows}
            assert code.deficit(set(rows)) == k - len(covered)
            assert code.ready(set(rows)) == (len(covered) == k)
            answers = np.stack([code.encode(pieces, row) for row in rows]) if rows else np.empty((0, 3), np.float32)
            if len(covered) < k:
                with pytest.raises(NotReadyError):
                    code.decode(rows, answers)
                continue
            decoded = code.decode(rows, answers)
            np.testing.assert_array_equal(np.stack(decoded.pieces), pieces)
            assert decoded.exact
            assert decoded.gain == 1.0
            assert all(np.shares_memory(piece, answers) for piece in decoded.pieces)


@pytest.mark.parametrize(("n", "k"), SIZES)
def test_every_piece_is_held_as_often_as_any_other_give_or_take_one(n: int, k: int) -> None:
    code = CopyCode("replication", n, k)
    holders = [sum(code.piece_of(share) == piece for share in range(n)) for piece in range(k)]
    assert min(holders) >= 1
    assert max(holders) - min(holders) <= 1
    assert [code.piece_of(share) for share in code.completing(set())] == list(range(k))


def test_an_answer_is_useful_until_its_piece_has_arrived() -> None:
    code = replication.make(6, 3, gain_limit=1)
    assert code.useful(3, {1})
    assert not code.useful(3, {0})
    assert not code.useful(0, {0})


def test_a_share_is_a_view_of_its_piece() -> None:
    code = replication.make(4, 2, gain_limit=1)
    pieces = np.ones((2, 3), np.float32)
    assert all(np.shares_memory(code.encode(pieces, share), pieces[share % 2]) for share in range(4))
    with pytest.raises(IndexError):
        code.encode(pieces, 4)


def test_uncoded_needs_all_and_refuses_spares() -> None:
    code = uncoded.make(4, 4, gain_limit=1)
    assert code.name == "uncoded"
    assert not code.ready({0, 1, 2})
    assert code.ready({0, 1, 2, 3})
    with pytest.raises(BadCodeError, match="no `uncoded` code has n = 4 and k = 3: k is n"):
        uncoded.make(4, 3, gain_limit=1)


@pytest.mark.parametrize(("n", "k"), [(2, 3), (2, 0)])
def test_refuses_sizes_that_are_no_code(n: int, k: int) -> None:
    with pytest.raises(BadCodeError):
        replication.make(n, k, gain_limit=1)


def test_default_pieces() -> None:
    assert [replication.default_pieces(agents) for agents in (1, 2, 3, 6, 7)] == [1, 1, 1, 3, 3]
    assert [uncoded.default_pieces(agents) for agents in (1, 2, 6)] == [1, 2, 6]
