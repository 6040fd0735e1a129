from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.errors import BadCodeError, IllConditionedError
from cocoi_cli.codes.families.fcdcc import FilterCode, default_pieces, make
from cocoi_cli.codes.gain import decoding_matrix, sampled_subsets, subset_gains
from cocoi_cli.codes.generator import harmonic_frame
from cocoi_cli.codes.registry import make_code, traits
from cocoi_cli.codes.rotation import filter_groups, row_pieces
from tests.codes.twins import rotation_rows

SIZES = [(4, 3, 1), (4, 3, 2), (4, 3, 6), (6, 4, 4), (6, 4, 8), (10, 8, 4), (10, 8, 8)]


@pytest.mark.parametrize(("n", "k", "filters"), SIZES)
def test_any_k_answers_hold_as_many_blocks_as_the_output(n: int, k: int, filters: int) -> None:
    code = make_code("fcdcc", n, k, gain_limit=1000, filters=filters)
    assert isinstance(code, FilterCode)
    assert k * code.blocks == code.pieces == code.row_pieces * filters
    assert (code.shares, code.needed, code.movable) == (n, k, filters == 1)
    assert traits("fcdcc").strips == 1


@pytest.mark.parametrize(("n", "k", "filters"), [(6, 4, 4), (10, 8, 4), (5, 3, 1), (5, 3, 6)])
def test_one_answer_less_leaves_as_many_blocks_unknown_as_it_holds(n: int, k: int, filters: int) -> None:
    k_a = row_pieces(k, filters)
    rows = np.concatenate([rotation_rows(share, n, k_a, filters) for share in range(k - 1)])
    assert np.linalg.matrix_rank(rows) == len(rows) == k_a * filters * (k - 1) // k


def test_the_ways_to_divide_are_one_and_even_numbers_with_the_same_product() -> None:
    assert filter_groups(8) == (1, 2, 4, 8, 16)
    assert [row_pieces(8, filters) for filters in filter_groups(8)] == [16, 16, 8, 4, 1]
    assert filter_groups(3) == (1, 2, 6)
    assert [default_pieces(agents) for agents in (1, 2, 4, 5, 10)] == [1, 1, 3, 3, 8]


@pytest.mark.parametrize(("n", "k", "filters"), SIZES)
def test_products_of_coded_inputs_and_coded_filters_decode_to_the_products_of_the_pieces(
    n: int, k: int, filters: int
) -> None:
    """A 1x1 convolution is a matrix product: pieces (k_A, rows, channels) times filters (channels, N)."""
    code = FilterCode(n, k, 1000, filters)
    rng = np.random.default_rng(4)
    weight = rng.standard_normal((2 * filters - (filters > 1), 5, 1, 1)).astype(np.float32)  # one filter short
    pieces = rng.standard_normal((code.row_pieces, 3, 5)).astype(np.float32)
    each = -(-len(weight) // filters)
    for start in range(n):
        shares = [(start + step) % n for step in range(k)]
        answers = np.stack([answer(code, pieces, weight, share) for share in shares])
        decoded = code.decode(shares, answers)
        for block, found in enumerate(decoded.pieces):
            a, b = divmod(block, filters)
            taken = weight[b * each : (b + 1) * each, :, 0, 0]
            expected = pieces[a].astype(np.float64) @ taken.T.astype(np.float64)
            np.testing.assert_allclose(found[:, : len(taken)], expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found[:, len(taken) :], 0, atol=1e-4)


def answer(code: FilterCode, pieces: np.ndarray, weight: np.ndarray, share: int) -> np.ndarray:
    coded = code.encode_filters(weight, share)[:, :, 0, 0].reshape(code.weights, -1, 5)
    inputs = code.encode(pieces, share)
    return np.stack([x @ w.T for x in inputs for w in coded]).astype(np.float32)


@pytest.mark.parametrize(("n", "k", "filters"), SIZES)
def test_plain_shares_cover_the_output_without_any_mixing(n: int, k: int, filters: int) -> None:
    code = FilterCode(n, k, 1000, filters)
    rng = np.random.default_rng(6)
    weight = rng.standard_normal((filters, 5, 1, 1)).astype(np.float32)
    pieces = rng.standard_normal((code.row_pieces, 3, 5)).astype(np.float32)
    plain = code.completing(set())
    assert plain == tuple(range(n, n + k))
    assert all(np.shares_memory(code.encode(pieces, share), pieces) for share in plain)
    assert all(np.shares_memory(code.encode_filters(weight, share), weight) for share in plain)
    answers = np.stack([answer(code, pieces, weight, share) for share in plain])
    decoded = code.decode(plain, answers)
    assert decoded.gain == 1.0
    assert all(np.shares_memory(piece, answers) for piece in decoded.pieces)
    for block, found in enumerate(decoded.pieces):
        a, b = divmod(block, filters)
        np.testing.assert_allclose(found[:, 0], pieces[a] @ weight[b, :, 0, 0], rtol=1e-5, atol=1e-5)


def test_the_filters_of_a_code_on_the_input_alone_are_the_weights_themselves() -> None:
    weight = np.ones((4, 3, 3, 3), np.float32)
    assert FilterCode(4, 3, 1000).encode_filters(weight, 2) is weight


def test_agents_store_a_share_of_the_filters_only() -> None:
    weight = np.ones((512, 16, 3, 3), np.float32)
    assert FilterCode(10, 8, 1000, 8).encode_filters(weight, 3).size * 4 == weight.size
    assert FilterCode(10, 8, 1000, 16).encode_filters(weight, 3).size * 8 == weight.size


@pytest.mark.parametrize(("n", "k", "filters"), [(6, 4, 4), (10, 8, 4), (10, 8, 1), (10, 8, 16), (7, 5, 2)])
def test_the_gain_is_at_most_that_of_the_harmonic_frame_which_the_refusal_goes_by(n: int, k: int, filters: int) -> None:
    k_a = row_pieces(k, filters)
    blocks = np.stack([rotation_rows(share, n, k_a, filters) for share in range(n)])
    frame = harmonic_frame(n, k)
    for rows in sampled_subsets(n, k).tolist():
        chosen = blocks[rows].reshape(-1, k_a * filters)
        decoder = decoding_matrix(chosen, range(len(chosen)))
        gain = np.linalg.norm(decoder * np.linalg.norm(chosen, axis=1), axis=1).max()
        assert gain <= subset_gains(frame, np.array([rows]))[0] * (1 + 1e-9)


def test_refuses_what_is_ill_conditioned_in_the_median_and_waits_where_single_sets_are() -> None:
    with pytest.raises(IllConditionedError, match="the limit is 3"):
        make(20, 16, gain_limit=3)
    code = make(10, 7, gain_limit=3)
    verdicts = [code.ready(set(rows)) for rows in sampled_subsets(10, 7).tolist()]
    assert any(verdicts)
    assert not all(verdicts)
    bad = set(sampled_subsets(10, 7)[verdicts.index(False)].tolist())
    assert code.deficit(bad) == 1
    assert any(code.ready(bad | {share}) for share in set(range(10)) - bad)


@pytest.mark.parametrize(
    ("n", "k", "filters", "rule"),
    [(4, 5, 1, "k is at most n"), (4, 0, 1, "k is at least 1"), (4, 3, 4, "4 groups of filters"), (4, 4, 3, "3 gr")],
)
def test_refuses_sizes_that_are_no_code(n: int, k: int, filters: int, rule: str) -> None:
    with pytest.raises(BadCodeError, match=rule):
        make(n, k, gain_limit=1000, filters=filters)


def test_no_share_is_a_piece() -> None:
    code = FilterCode(4, 3, 1000, 2)
    assert [code.piece_of(share) for share in range(7)] == [None] * 7
    with pytest.raises(IndexError):
        code.piece_of(7)
