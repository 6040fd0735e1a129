from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest

from cocoi_cli.codes.errors import BadCodeError, IllConditionedError, NotReadyError
from cocoi_cli.codes.families.coded import SystematicCode, default_pieces
from cocoi_cli.codes.gain import noise_gain
from cocoi_cli.codes.generator import systematic_generator
from cocoi_cli.codes.mixing import BLOCK_COLUMNS
from tests.codes.sizes import SMALL, TABLES, survivor_sets

if TYPE_CHECKING:
    from collections.abc import Sequence

EPS = np.finfo(np.float32).eps


def random_pieces(k: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((k, *shape)).astype(np.float32)


def all_shares(code: SystematicCode, pieces: np.ndarray) -> np.ndarray:
    return np.stack([code.encode(pieces, share) for share in range(code.n)])


def assert_decodes(code: SystematicCode, pieces: np.ndarray, shares: np.ndarray, rows: Sequence[int]) -> None:
    decoded = code.decode(rows, np.ascontiguousarray(shares[list(rows)]))
    gain = noise_gain(systematic_generator(code.n, code.k), rows)
    assert decoded.exact
    assert decoded.gain == pytest.approx(gain)
    bound = 4 * gain * EPS * np.linalg.norm(pieces)
    assert np.linalg.norm(np.stack(decoded.pieces) - pieces) <= bound, rows


@pytest.mark.parametrize(("n", "k"), sorted({*SMALL, *TABLES}))
def test_decodes_from_every_k_answers(n: int, k: int) -> None:
    code = SystematicCode(n, k, gain_limit=1000)
    pieces = random_pieces(k, 2, 3, 4)
    shares = all_shares(code, pieces)
    for rows in survivor_sets(n, k):
        assert code.ready(set(rows))
        assert code.deficit(set(rows)) == 0
        assert_decodes(code, pieces, shares, rows)


@pytest.mark.parametrize(("n", "k"), [(5, 3), (7, 4), (8, 4), (8, 6)])
def test_decodes_from_more_answers_than_pieces_by_least_squares(n: int, k: int) -> None:
    code = SystematicCode(n, k, gain_limit=1000)
    pieces = random_pieces(k, 5)
    shares = all_shares(code, pieces)
    for more in range(k + 1, n + 1):
        for rows in itertools.combinations(range(n), more):
            assert_decodes(code, pieces, shares, rows)


def test_the_order_of_the_answers_does_not_matter() -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    pieces = random_pieces(4, 3)
    shares = all_shares(code, pieces)
    for rows in itertools.permutations((5, 0, 4, 2)):
        assert_decodes(code, pieces, shares, rows)


@pytest.mark.parametrize("lost", [1, 2, 3])
def test_answers_of_several_blocks_and_a_rest_decode_alike(lost: int) -> None:
    code = SystematicCode(10, 7, gain_limit=1000)
    pieces = random_pieces(7, 3, BLOCK_COLUMNS + 5)
    shares = all_shares(code, pieces)
    assert_decodes(code, pieces, shares, range(lost, 7 + lost))


def test_pieces_that_arrived_are_the_same_memory_and_only_missing_ones_are_new() -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    pieces = random_pieces(4, 3, 2)
    shares = all_shares(code, pieces)
    rows = (4, 0, 5, 2)
    answers = shares[list(rows)].copy()
    before = answers.copy()

    decoded = code.decode(rows, answers)

    assert [np.shares_memory(piece, answers) for piece in decoded.pieces] == [True, False, True, False]
    np.testing.assert_array_equal(decoded.pieces[0], pieces[0])
    np.testing.assert_array_equal(decoded.pieces[2], pieces[2])
    np.testing.assert_array_equal(answers, before)


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (3, 1, 2, 0), (0, 1, 2, 3, 4), (5, 4, 3, 2, 1, 0)])
def test_nothing_is_decoded_when_every_data_share_came(rows: tuple[int, ...]) -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    pieces = random_pieces(4, 3)
    answers = all_shares(code, pieces)[list(rows)]
    answers[[row for row, share in enumerate(rows) if share >= 4]] = np.nan  # must not be touched

    decoded = code.decode(rows, answers)

    assert decoded.gain == 1.0
    np.testing.assert_array_equal(np.stack(decoded.pieces), pieces)
    assert all(np.shares_memory(piece, answers) for piece in decoded.pieces)


def test_a_data_share_is_a_view_of_its_piece_and_a_parity_share_new_memory() -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    pieces = random_pieces(4, 3, 2)
    for share in range(6):
        made = code.encode(pieces, share)
        assert made.dtype == np.float32
        assert made.flags.c_contiguous
        assert np.shares_memory(made, pieces) == (share < 4)
        assert code.piece_of(share) == (share if share < 4 else None)
        expected = np.tensordot(systematic_generator(6, 4)[share], pieces.astype(np.float64), axes=1)
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5)
    assert code.completing(set()) == (0, 1, 2, 3)


@pytest.mark.parametrize("shares", [(), (4,), (5, 4), (0, 5, 2, 4), (1, 0)])
def test_several_shares_at_once_are_those_made_one_by_one(shares: tuple[int, ...]) -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    pieces = random_pieces(4, 3, BLOCK_COLUMNS + 1)
    made = code.encode_shares(pieces, shares)
    assert len(made) == len(shares)
    for share, together in zip(shares, made, strict=True):
        np.testing.assert_allclose(together, code.encode(pieces, share), rtol=1e-5, atol=1e-5)
        assert together.flags.c_contiguous
        assert np.shares_memory(together, pieces) == (share < 4)


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (5, 1, 2, 4), (3, 2, 1, 5), (0, 4, 5, 1, 2)])
def test_results_go_into_given_memory_and_nowhere_else(rows: tuple[int, ...]) -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    pieces = random_pieces(4, 3, BLOCK_COLUMNS + 1)
    parity, spare = np.full((2, *pieces.shape[1:]), 9, np.float32), np.full_like(pieces, 9)
    shares = np.stack(code.encode_shares(pieces, range(6), parity))
    np.testing.assert_array_equal(shares[4:], parity)
    block = np.concatenate([shares[list(rows)], spare])
    kept = block[: len(rows)].copy()
    decoded = code.decode(rows, block[: len(rows)], block[len(rows) :])
    missing = [piece for piece in range(4) if piece not in rows]
    np.testing.assert_array_equal(block[: len(rows)], kept)
    np.testing.assert_array_equal(block[len(rows) + len(missing) :], spare[len(missing) :])
    assert all(np.shares_memory(piece, block) for piece in decoded.pieces)
    np.testing.assert_allclose(np.stack(decoded.pieces), pieces, rtol=1e-3, atol=1e-3)


def test_the_guard_waits_for_one_more_answer_above_the_limit() -> None:
    generator = systematic_generator(12, 8)
    code = SystematicCode(12, 8, gain_limit=20)
    pieces = random_pieces(8, 4)
    shares = all_shares(code, pieces)
    rows = max(itertools.combinations(range(12), 8), key=lambda rows: noise_gain(generator, rows))

    assert not code.ready(set(rows))
    assert code.deficit(set(rows)) == 1
    with pytest.raises(NotReadyError, match=r"8 shares do not decode: their noise gain is 38\.9"):
        code.decode(rows, shares[list(rows)])
    for extra in set(range(12)) - set(rows):
        assert code.useful(extra, set(rows))
        assert code.ready({*rows, extra})
        assert code.deficit({*rows, extra}) == 0
        assert_decodes(code, pieces, shares, (*rows, extra))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (4, 4), (6, 4), (12, 8), (20, 16)])
def test_all_shares_or_all_data_shares_are_always_ready(n: int, k: int) -> None:
    code = SystematicCode(n, k, gain_limit=20)
    assert code.ready(set(range(k)))
    assert code.ready(set(range(n)))
    assert not any(code.useful(share, set(range(k))) for share in range(n))


def test_counts_what_is_missing_below_k() -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    assert [code.deficit(set(range(1, 1 + count))) for count in range(5)] == [4, 3, 2, 1, 0]
    assert not code.ready({1, 2, 3})
    assert code.useful(5, {1, 2, 3})
    assert not code.useful(3, {1, 2, 3})
    with pytest.raises(NotReadyError, match="3 shares do not decode: at least 1 more needed") as refusal:
        code.decode((1, 2, 3), random_pieces(3, 2))
    assert (refusal.value.code, refusal.value.exit_status) == ("not-ready", 5)


@pytest.mark.parametrize("share", [-1, 6, 100])
def test_a_share_outside_the_code_is_a_mistake_of_the_caller(share: int) -> None:
    code = SystematicCode(6, 4, gain_limit=1000)
    with pytest.raises(IndexError):
        code.encode(random_pieces(4, 2), share)
    with pytest.raises(IndexError):
        code.ready({0, 1, 2, share})


def test_refuses_a_request_that_is_ill_conditioned_in_the_median_with_the_figure() -> None:
    with pytest.raises(IllConditionedError, match=r"\(64,48\) is ill-conditioned.*the limit is 20") as refusal:
        SystematicCode(64, 48, gain_limit=20)
    details = refusal.value.details
    median, worst = details["gain_median"], details["gain_worst"]
    assert isinstance(median, float)
    assert isinstance(worst, float)
    assert 20 < median < 50
    assert worst > 1e5
    assert f"{median:.3g} times in the median and {worst:.3g} times at worst" in refusal.value.message
    assert (refusal.value.code, refusal.value.exit_status, details["gain_limit"]) == ("ill-conditioned", 2, 20)


def test_a_code_with_some_bad_sets_is_allowed_under_the_guard_and_decodes_from_the_good_ones() -> None:
    code = SystematicCode(64, 48, gain_limit=1000)
    pieces = random_pieces(48, 3)
    shares = all_shares(code, pieces)
    verdicts = set()
    for rows in survivor_sets(64, 48, samples=100):
        verdicts.add(code.ready(set(rows)))
        if code.ready(set(rows)):
            assert_decodes(code, pieces, shares, rows)
    assert verdicts == {True, False}


@pytest.mark.parametrize(("n", "k", "rule"), [(4, 5, "k is at most n"), (4, 0, "k is at least 1"), (0, 0, "k is at l")])
def test_refuses_sizes_that_are_no_code(n: int, k: int, rule: str) -> None:
    with pytest.raises(BadCodeError, match=rule) as refusal:
        SystematicCode(n, k, gain_limit=1000)
    assert (refusal.value.code, refusal.value.exit_status) == ("bad-code", 2)


def test_two_answers_may_be_missing_by_default_and_one_below_five_agents() -> None:
    assert [default_pieces(agents) for agents in range(1, 11)] == [1, 1, 2, 3, 3, 4, 5, 6, 7, 8]
