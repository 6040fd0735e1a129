"""A code is its generator: what a new family has to say, and what follows from it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.codes.errors import BadCodeError, IllConditionedError, NotReadyError
from cocoi_cli.codes.gain import median_gain, noise_gain, worst_gain
from cocoi_cli.codes.generator import harmonic_frame, harmonic_parity
from cocoi_cli.codes.generator_code import GeneratorCode


class Frame(GeneratorCode):
    name = "frame"

    def generator(self) -> np.ndarray:
        return harmonic_frame(self.n, self.k)


class Plain(GeneratorCode):
    name = "plain"
    systematic = True

    def generator(self) -> np.ndarray:
        return np.vstack([np.eye(self.k), harmonic_parity(self.n, self.k)])


class Strict(Frame):
    strict = True


@pytest.mark.parametrize("kind", [Frame, Plain])
@pytest.mark.parametrize(("n", "k"), [(3, 2), (5, 4), (7, 4)])
def test_any_k_shares_give_the_pieces_back_in_any_order(kind: type[GeneratorCode], n: int, k: int) -> None:
    code = kind(n, k, 1000)
    pieces = np.random.default_rng(1).standard_normal((k, 2, 5)).astype(np.float32)
    shares = np.stack(code.encode_shares(pieces, range(n)))
    exact = np.tensordot(code.generator(), pieces, axes=1)
    np.testing.assert_allclose(shares, exact, rtol=1e-5, atol=1e-6)
    for rows in itertools.combinations(range(n), k):
        for arrived in (rows, rows[::-1]):
            decoded = code.decode(arrived, np.ascontiguousarray(shares[list(arrived)]))
            np.testing.assert_allclose(np.stack(decoded.pieces), pieces, atol=1e-4)
            assert decoded.gain == pytest.approx(noise_gain(code.generator(), rows), rel=1e-3)


def test_the_host_completes_with_pieces_that_are_shares_or_stand_behind_them() -> None:
    assert Plain(6, 4, 1000).completing({1, 5}) == (0, 2)
    frame = Frame(6, 4, 1000)
    assert frame.completing({1, 2}) == (6, 7)
    assert frame.completing({1, 5}) == (6, 7, 8)  # two do not determine the rest
    assert [frame.piece_of(share) for share in range(10)] == [None] * 6 + [0, 1, 2, 3]
    assert [Plain(6, 4, 1000).piece_of(share) for share in range(6)] == [0, 1, 2, 3, None, None]
    pieces = np.random.default_rng(2).standard_normal((4, 3)).astype(np.float32)
    arrived = (2, 7, 1, 6)
    decoded = frame.decode(arrived, np.stack(frame.encode_shares(pieces, arrived)))
    np.testing.assert_allclose(np.stack(decoded.pieces), pieces, atol=1e-5)


@pytest.mark.parametrize(("kind", "share"), [(Plain, 6), (Frame, 10), (Plain, -1), (Frame, -1)])
def test_a_share_that_is_none_is_refused(kind: type[GeneratorCode], share: int) -> None:
    code = kind(6, 4, 1000)
    with pytest.raises(IndexError):
        code.piece_of(share)
    with pytest.raises(IndexError):
        code.ready({0, 1, 2, 3, share})


def test_what_is_refused_is_judged_by_the_median_or_by_the_worst_set() -> None:
    frame = harmonic_frame(10, 6)
    median, worst = median_gain(frame), worst_gain(frame)
    limit = (median + worst) / 2
    code = Frame(10, 6, limit)
    rows = max(itertools.combinations(range(10), 6), key=lambda each: noise_gain(frame, each))
    assert not code.ready(set(rows))
    assert code.deficit(set(rows)) == 1
    with pytest.raises(NotReadyError, match="noise gain"):
        code.decode(rows, np.zeros((6, 1), np.float32))
    for kind, refused in ((Strict, limit), (Frame, median * 0.99)):
        with pytest.raises(IllConditionedError) as caught:
            kind(10, 6, refused)
        assert caught.value.details["gain_worst"] == pytest.approx(worst)
        assert caught.value.details["gain_median"] == pytest.approx(median)
    assert Strict(10, 6, worst * 1.01).ready(set(rows))


@pytest.mark.parametrize(("n", "k"), [(3, 4), (3, 0)])
def test_refuses_sizes_that_are_no_code_by_the_name_of_the_scheme(n: int, k: int) -> None:
    with pytest.raises(BadCodeError, match="no `frame` code"):
        Frame(n, k, 1000)
