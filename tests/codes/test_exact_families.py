"""What every exact family must do, against dense solutions in float64: `cocoi`, `lt` and `fcdcc`."""

from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.codes.code import Code
from cocoi_cli.codes.errors import NotReadyError
from cocoi_cli.codes.families.fcdcc import FilterCode
from cocoi_cli.codes.registry import make_code
from tests.codes.twins import EPS, codes_of_every_kind, ready_sets, rows_of, solve

CODES = codes_of_every_kind()
LARGE = [("cocoi", 12, 10, 1), ("lt", 10, 20, 1), ("lt", 32, 64, 1), ("fcdcc", 18, 16, 8), ("fcdcc", 20, 16, 8)]


def named(code: Code) -> str:
    return f"{code.name}-{code.shares}-{code.needed}-{code.filters}"


def output_of(code: Code, *shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((code.pieces, *shape)).astype(np.float32)


def answers_of(code: Code, output: np.ndarray, shares: tuple[int, ...]) -> np.ndarray:
    """What agents would answer, in the layout of the code: mixtures of the output itself, as it is linear."""
    rows = np.stack([rows_of(code, share) for share in shares])
    mixed = np.einsum("slk,k...->sl...", rows, output.astype(np.float64)).astype(np.float32)
    return np.ascontiguousarray(mixed if isinstance(code, FilterCode) else mixed[:, 0])


def assert_decodes(code: Code, output: np.ndarray, shares: tuple[int, ...]) -> None:
    answers = answers_of(code, output, shares)
    decoded = code.decode(shares, answers)
    twin = solve(np.concatenate([rows_of(code, share) for share in shares]), answers)
    bound = 4 * decoded.gain * EPS * np.linalg.norm(output)
    assert decoded.exact
    assert 1 <= decoded.gain <= 1000
    assert np.linalg.norm(np.stack(decoded.pieces).reshape(len(output), -1) - twin) <= bound, shares
    assert np.linalg.norm(np.stack(decoded.pieces) - output) <= 2 * bound, shares


@pytest.mark.parametrize("code", CODES, ids=named)
def test_every_minimal_set_of_answers_gives_what_a_dense_solution_does(code: Code) -> None:
    output = output_of(code, 2, 3)
    count = 0
    for shares in ready_sets(code, samples=120, seed=3):
        assert code.deficit(set(shares)) == 0
        assert_decodes(code, output, shares)
        count += 1
    assert count >= 1


@pytest.mark.parametrize(("scheme", "n", "k", "filters"), LARGE)
def test_a_thousand_random_survivor_sets_decode(scheme: str, n: int, k: int, filters: int) -> None:
    code = make_code(scheme, n, k, gain_limit=1000, filters=filters)
    output = output_of(code, 2)
    samples = 1000 if code.pieces <= 20 else 60
    seen = [assert_decodes(code, output, shares) for shares in ready_sets(code, samples=samples, seed=11)]
    assert len(seen) >= min(samples, 60)


@pytest.mark.parametrize("code", CODES, ids=named)
def test_one_answer_less_is_refused_with_what_is_lacking(code: Code) -> None:
    shares = next(iter(ready_sets(code, samples=120, seed=5)))[: code.needed - 1]
    assert not code.ready(set(shares))
    assert code.deficit(set(shares)) >= 1
    answers = answers_of(code, output_of(code, 2), shares) if shares else np.empty((0, 1, 2), np.float32)
    with pytest.raises(NotReadyError, match="more needed"):
        code.decode(shares, answers)


@pytest.mark.parametrize("code", CODES, ids=named)
def test_the_host_completes_whatever_arrived_with_as_little_as_it_takes(code: Code) -> None:
    arrived = next(iter(ready_sets(code, samples=120, seed=9)))
    for count in range(len(arrived) + 1):
        have = set(arrived[:count])
        added = code.completing(have)
        assert list(added) == sorted(added)
        assert not set(added) & have
        assert code.ready(have | set(added))
        assert bool(added) == (not code.ready(have))
        assert len(added) <= max(code.needed - count + 1, 0) + (code.name != "cocoi") * code.needed


@pytest.mark.parametrize("code", CODES, ids=named)
def test_an_answer_is_useful_until_the_others_suffice(code: Code) -> None:
    shares = next(iter(ready_sets(code, samples=120, seed=13)))
    assert not code.useful(shares[0], set(shares))
    assert not any(code.useful(share, set(shares[:1])) for share in shares[:1])
    if code.needed > 1:
        assert any(code.useful(share, set(shares[:1])) for share in shares[1:])


@pytest.mark.parametrize("code", [each for each in CODES if each.filters == 1], ids=named)
def test_shares_are_the_mixtures_of_the_formula(code: Code) -> None:
    inputs = np.random.default_rng(1).standard_normal((code.pieces // code.filters, 3, 4)).astype(np.float32)
    before = inputs.copy()
    shares = tuple(range(code.shares)) if code.shares is not None else tuple(range(3 * code.pieces))
    together = code.encode_shares(inputs, shares)
    for share, made in zip(shares, together, strict=True):
        expected = np.tensordot(rows_of(code, share), inputs.astype(np.float64), axes=1)
        alone = code.encode(inputs, share)
        assert made.dtype == alone.dtype == np.float32
        assert alone.flags.c_contiguous
        np.testing.assert_allclose(made.reshape(expected.shape), expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(alone, made, rtol=1e-5, atol=1e-5)
        piece = code.piece_of(share)
        if piece is not None:
            np.testing.assert_array_equal(alone, inputs[piece])
    np.testing.assert_array_equal(inputs, before)


@pytest.mark.parametrize("code", [each for each in CODES if each.name != "fcdcc"], ids=named)
def test_the_host_has_a_share_that_is_each_piece(code: Code) -> None:
    inputs = np.random.default_rng(2).standard_normal((code.pieces, 5)).astype(np.float32)
    shares = code.completing(set())
    assert [code.piece_of(share) for share in shares] == list(range(code.pieces))
    answers = np.stack([code.encode(inputs, share) for share in shares])
    assert all(np.shares_memory(code.encode(inputs, share), inputs) for share in shares)
    decoded = code.decode(shares, answers)
    assert decoded.gain == 1.0
    np.testing.assert_array_equal(np.stack(decoded.pieces), inputs)


@pytest.mark.parametrize("code", CODES, ids=named)
def test_a_share_outside_the_code_is_a_mistake_of_the_caller(code: Code) -> None:
    inputs = np.zeros((code.pieces // code.filters, 2), np.float32)
    for share in (-1, 1000) if code.shares is not None else (-1,):
        with pytest.raises(IndexError):
            code.encode(inputs, share)


@pytest.mark.parametrize("code", [each for each in CODES if each.pieces > 1], ids=named)
def test_decoding_writes_where_it_is_told_and_nowhere_else(code: Code) -> None:
    output = output_of(code, 4)
    shares = next(iter(ready_sets(code, samples=120, seed=17)))
    answers = answers_of(code, output, shares)
    before, room = answers.copy(), np.empty((code.pieces, 4), np.float32)
    decoded = code.decode(shares, answers, room)
    np.testing.assert_array_equal(answers, before)
    assert all(np.shares_memory(piece, room) or np.shares_memory(piece, answers) for piece in decoded.pieces)
