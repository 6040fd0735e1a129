from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.errors import BadCodeError, NotReadyError
from cocoi_cli.codes.families.lt import LubyCode, default_pieces, make
from cocoi_cli.codes.registry import traits


def grown(code: LubyCode, seed: int = 0) -> set[int]:
    have: set[int] = set()
    for share in np.random.default_rng(seed).permutation(np.arange(code.k, 8 * code.k)).tolist():
        if code.ready(have):
            return have
        have |= {share}
    raise AssertionError(code)


def test_there_is_no_end_of_shares_and_the_first_are_the_pieces() -> None:
    code = make(4, 8, gain_limit=1000)
    assert (code.name, code.shares, code.pieces, code.needed, code.filters) == ("lt", None, 8, 8, 1)
    assert code.movable
    assert [code.piece_of(share) for share in range(8)] == list(range(8))
    assert traits("lt").strips == 1
    assert [default_pieces(agents) for agents in (1, 5, 10)] == [2, 10, 20]


def test_the_sum_is_what_the_symbol_says_and_one_of_one_piece_is_no_copy() -> None:
    code = LubyCode(8, 1000)
    pieces = np.arange(16, dtype=np.float32).reshape(8, 2)
    for share in range(8, 60):
        made = code.encode(pieces, share)
        np.testing.assert_array_equal(made, pieces[list(code.members(share))].sum(axis=0))
        assert np.shares_memory(made, pieces) == (len(code.members(share)) == 1)


def test_symbols_depend_on_the_seed_and_on_nothing_else() -> None:
    one, other, third = LubyCode(20, 1000), LubyCode(20, 20), LubyCode(20, 1000, seed=3)
    symbols = range(20, 60)
    assert [one.members(i) for i in symbols] == [other.members(i) for i in symbols]
    assert [one.members(i) for i in symbols] != [third.members(i) for i in symbols]


def test_the_deficit_is_what_the_rank_lacks_and_only_what_raises_it_is_useful() -> None:
    code = LubyCode(12, 1000)
    have: set[int] = set()
    for share in range(12, 60):
        rows = np.zeros((len(have) + 1, 12))
        for row, each in zip(rows, [*sorted(have), share], strict=True):
            row[list(code.members(each))] = 1
        rank = np.linalg.matrix_rank(rows[:-1]) if have else 0
        assert code.deficit(have) == 12 - rank or (rank == 12 and code.deficit(have) == 0)
        if rank < 12:
            assert code.useful(share, have) == (np.linalg.matrix_rank(rows) > rank)
        have |= {share}
    assert code.ready(have)
    assert not code.useful(99, have)


def test_over_the_gain_limit_another_symbol_is_waited_for_and_lowers_it() -> None:
    strict, lax = LubyCode(20, 6), LubyCode(20, 1000)
    have = grown(lax, seed=1)
    assert lax.ready(have)
    assert not strict.ready(have)
    assert strict.deficit(have) == 1
    assert strict.useful(500, have)
    answers = np.zeros((len(have), 1), np.float32)
    with pytest.raises(NotReadyError, match="noise gain"):
        strict.decode(sorted(have), answers)
    while not strict.ready(have):
        have |= {max(have) + 1}
    assert strict.decode(sorted(have), np.zeros((len(have), 1), np.float32)).gain <= 6
    assert strict.ready(have | set(strict.completing(have)))


def test_the_host_adds_only_pieces_that_are_not_determined() -> None:
    code = LubyCode(20, 1000)
    have = grown(code, seed=2)
    for lost in (1, 3, 8):
        rest = set(sorted(have)[lost:])
        added = code.completing(rest)
        assert code.ready(rest | set(added))
        assert all(share < 20 for share in added)
        assert len(added) == code.deficit(rest)
    assert code.completing(set()) == tuple(range(20))


@pytest.mark.parametrize(("n", "k"), [(4, 0), (0, 4)])
def test_refuses_sizes_that_are_no_code(n: int, k: int) -> None:
    with pytest.raises(BadCodeError, match="n and k are at least 1"):
        make(n, k, gain_limit=1000)
