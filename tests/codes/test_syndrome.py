from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.codes.code import Code
from cocoi_cli.codes.registry import make_code
from cocoi_cli.codes.syndrome import TOLERANCES, check, share_rows
from tests.codes.twins import rows_of

TAPS, OUT, WIDTH = 72, 4, 20  # as an 8-channel 3x3 convolution to 6 channels sees its input

KINDS = [("coded", 10, 8, 1), ("coded", 10, 6, 1), ("cocoi", 10, 8, 1), ("lt", 26, 20, 1), ("replication", 9, 3, 1)]
FCDCC = [("fcdcc", 6, 4, 4), ("fcdcc", 6, 4, 1)]


def answers_of(
    code: Code, shares: list[int], rng: np.random.Generator, transport: str, weight: np.ndarray | None = None
) -> np.ndarray:
    """Honest answers: products of rectified inputs with weights, as an agent computes them from what travels."""
    inputs = np.maximum(rng.standard_normal((code.pieces // code.filters, TAPS, WIDTH)), 0).astype(np.float32)
    if weight is None:
        weight = rng.standard_normal((OUT * code.filters, TAPS)).astype(np.float32)
    if code.filters == 1 and code.name != "fcdcc":
        mixed = travelled(np.stack(code.encode_shares(inputs, shares)), transport)
        return travelled(weight @ mixed, transport)
    return np.stack([coded_answer(code, inputs, weight, share, transport) for share in shares])


def coded_answer(code: Code, inputs: np.ndarray, weight: np.ndarray, share: int, transport: str) -> np.ndarray:
    mixed = travelled(code.encode(inputs, share), transport)
    coded = code.encode_filters(weight.reshape(-1, TAPS, 1, 1), share).reshape(-1, OUT, TAPS)
    return travelled(np.stack([w @ x for x in mixed for w in coded]), transport)


def travelled(array: np.ndarray, transport: str) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32) if transport == "f16" else array


def all_of(code: Code) -> list[int]:
    return list(range(code.shares)) if code.shares is not None else list(range(code.pieces, code.pieces + 26))


@pytest.mark.parametrize(("scheme", "n", "k", "filters"), [*KINDS, *FCDCC])
def test_the_rows_read_off_a_code_are_its_generator(scheme: str, n: int, k: int, filters: int) -> None:
    code = make_code(scheme, n, k, gain_limit=1000, filters=filters)
    if scheme in ("cocoi", "lt", "fcdcc"):
        for share in all_of(code):
            np.testing.assert_allclose(share_rows(code, share), rows_of(code, share), rtol=1e-6, atol=1e-6)
    else:
        rows = np.concatenate([share_rows(code, share) for share in range(k)])
        np.testing.assert_array_equal(rows, np.eye(k))


@pytest.mark.parametrize("transport", ["f32", "f16"])
def test_a_thousand_honest_codewords_raise_no_alarm(transport: str) -> None:
    rng = np.random.default_rng(1)
    kinds = [*KINDS, *FCDCC]
    worst = 0.0
    for (scheme, n, k, filters), _ in itertools.product(kinds, range(1000 // len(kinds) + 1)):
        code = make_code(scheme, n, k, gain_limit=1000, filters=filters)
        finding = check(code, all_of(code), answers_of(code, all_of(code), rng, transport), transport)
        assert finding.consistent, (scheme, n, k, finding)
        assert finding.spares >= 2
        worst = max(worst, finding.residual)
    assert worst < {"f32": 1.5e-6, "f16": 1e-3}[transport]  # what docs/methods.md says was measured
    assert worst < TOLERANCES[transport] / 2


@pytest.mark.parametrize("k", [8, 7, 6])
@pytest.mark.parametrize("transport", ["f32", "f16"])
def test_the_one_agent_that_is_five_percent_wrong_is_named_four_hundred_times_of_four_hundred(
    k: int, transport: str
) -> None:
    rng, code = np.random.default_rng(k), make_code("coded", 10, k, gain_limit=1000)
    for trial in range(400):
        shares = rng.permutation(10).tolist()
        answers = answers_of(code, shares, rng, transport)
        liar = int(rng.integers(10))
        wrong = rng.standard_normal(answers[liar].shape) * np.abs(answers[liar]).mean() * 0.05
        answers[liar] += (wrong if trial % 2 else answers[liar] * 0.05).astype(np.float32)
        finding = check(code, shares, answers, transport)
        assert not finding.consistent
        assert finding.suspect_share == shares[liar], trial


@pytest.mark.parametrize(("scheme", "n", "k", "filters"), [("cocoi", 10, 8, 1), ("replication", 9, 3, 1), *FCDCC])
def test_other_codes_name_a_liar_too(scheme: str, n: int, k: int, filters: int) -> None:
    rng, code = np.random.default_rng(3), make_code(scheme, n, k, gain_limit=1000, filters=filters)
    for liar in range(n):
        answers = answers_of(code, all_of(code), rng, "f32")
        answers[liar] *= 1.05
        assert check(code, all_of(code), answers, "f32").suspect_share == liar


def test_a_rateless_code_names_a_liar_that_enough_symbols_speak_about() -> None:
    rng, code = np.random.default_rng(4), make_code("lt", 10, 8, gain_limit=1000)
    shares = list(range(8, 40))
    for liar in range(len(shares)):
        answers = answers_of(code, shares, rng, "f32")
        answers[liar] *= 1.05
        assert check(code, shares, answers, "f32").suspect_share == shares[liar]


@pytest.mark.parametrize("transport", ["f32", "f16"])
def test_one_flipped_bit_is_found_where_it_matters(transport: str) -> None:
    """Sign and upper exponent bits of the answer's larger elements; the lowest bits are rounding."""
    rng, code = np.random.default_rng(5), make_code("coded", 10, 8, gain_limit=1000)
    for bit in (31, 30, 29, 28, 27, 26, 25, 24, 23):
        answers = answers_of(code, list(range(10)), rng, transport)
        liar = int(rng.integers(10))
        flat = answers[liar].reshape(-1)
        at = int(np.abs(flat).argmax()) if bit < 31 else int(np.abs(flat).argsort()[len(flat) // 2])
        flat.view(np.uint32)[at] ^= np.uint32(1 << bit)
        finding = check(code, range(10), answers, transport)
        assert (finding.consistent, finding.suspect_share) == (False, liar), bit
    answers = answers_of(code, list(range(10)), rng, transport)
    answers[3].reshape(-1).view(np.uint32)[7] ^= np.uint32(1)
    assert check(code, range(10), answers, transport).consistent


def test_one_spare_detects_and_none_cannot() -> None:
    rng, code = np.random.default_rng(6), make_code("coded", 10, 8, gain_limit=1000)
    for shares, spares in ((list(range(1, 10)), 1), (list(range(2, 10)), 0)):
        answers = answers_of(code, shares, rng, "f32")
        answers[2] *= 1.05
        finding = check(code, shares, answers, "f32")
        assert (finding.consistent, finding.suspect_share, finding.spares) == (spares == 0, None, spares)


def test_of_two_copies_none_is_blamed_and_of_three_the_odd_one() -> None:
    rng, code = np.random.default_rng(7), make_code("replication", 5, 2, gain_limit=1)  # 0 2 4 and 1 3
    for liar, suspect in ((0, 0), (2, 2), (4, 4), (1, None), (3, None)):
        answers = answers_of(code, list(range(5)), rng, "f32")
        answers[liar] += 1
        finding = check(code, range(5), answers, "f32")
        assert (finding.consistent, finding.suspect_share, finding.spares) == (False, suspect, 3)


def test_two_liars_are_detected_and_no_honest_agent_is_blamed() -> None:
    rng, code = np.random.default_rng(8), make_code("coded", 10, 7, gain_limit=1000)
    for _ in range(100):
        liars = rng.choice(10, 2, replace=False).tolist()
        answers = answers_of(code, list(range(10)), rng, "f32")
        for liar in liars:
            answers[liar] += rng.standard_normal(answers[liar].shape).astype(np.float32)
        finding = check(code, range(10), answers, "f32")
        assert not finding.consistent
        assert finding.suspect_share is None or finding.suspect_share in liars


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("missing", [0, 1])
def test_an_answer_that_is_not_finite_is_a_lie_where_the_others_determine_it(value: float, missing: int) -> None:
    rng, code = np.random.default_rng(9), make_code("coded", 10, 8, gain_limit=1000)
    shares = list(range(10 - missing))
    answers = answers_of(code, shares, rng, "f32")
    answers[4, ..., 3] = value
    finding = check(code, shares, answers, "f32")
    assert (finding.consistent, finding.suspect_share, finding.residual) == (False, 4, np.inf)


def test_answers_that_may_have_overflowed_honestly_are_left_out() -> None:
    rng, code = np.random.default_rng(10), make_code("coded", 10, 8, gain_limit=1000)
    answers = answers_of(code, list(range(10)), rng, "f32") * np.float32(1e36)
    answers[9, ..., 3] = np.inf
    assert check(code, range(10), answers, "f32").spares == 1
    assert check(code, range(10), answers, "f32").consistent
    few = np.full((8, 3), np.inf, np.float32)
    assert check(code, range(8), few, "f32").consistent


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e20, 1e35])
def test_the_scale_of_the_answers_does_not_matter(scale: float) -> None:
    rng, code = np.random.default_rng(11), make_code("coded", 10, 8, gain_limit=1000)
    honest = answers_of(code, list(range(10)), rng, "f32")
    liar = honest.copy()
    liar[6] *= 1.05
    assert check(code, range(10), honest * np.float32(scale), "f32").consistent
    assert check(code, range(10), liar * np.float32(scale), "f32").suspect_share == 6


@pytest.mark.parametrize("value", [0.0, 1e6, -1e6])
def test_answers_of_nothing_and_of_garbage_are_wrong_as_well(value: float) -> None:
    rng, code = np.random.default_rng(12), make_code("coded", 6, 4, gain_limit=1000)
    answers = answers_of(code, list(range(6)), rng, "f32")
    answers[5] = value
    assert check(code, range(6), answers, "f32").suspect_share == 5
    assert check(code, range(6), np.zeros_like(answers), "f32").consistent


def test_where_terms_cancel_rounding_is_judged_by_their_size() -> None:
    """Edge detectors on a flat picture: answers are the rounding of the picture."""
    rng, code = np.random.default_rng(13), make_code("coded", 10, 8, gain_limit=1000)
    flat = np.full((8, TAPS, WIDTH), 3.0, np.float32) + rng.standard_normal((8, TAPS, WIDTH)).astype(np.float32) * 1e-3
    weight = rng.standard_normal((OUT, TAPS)).astype(np.float32)
    weight -= weight.mean(axis=1, keepdims=True)
    answers = np.stack([travelled(weight @ travelled(code.encode(flat, i), "f16"), "f16") for i in range(10)])
    magnitude = 3.0 * float(np.sqrt((weight**2).sum(axis=1).mean()))
    assert not check(code, range(10), answers, "f16").consistent
    assert check(code, range(10), answers, "f16", magnitude=magnitude).consistent


def test_a_sample_of_columns_finds_what_is_wrong_throughout() -> None:
    rng, code = np.random.default_rng(14), make_code("coded", 10, 8, gain_limit=1000)
    answers = answers_of(code, list(range(10)), rng, "f32")
    answers[1] *= 1.05
    before = answers.copy()
    assert check(code, range(10), answers, "f32", columns=16).suspect_share == 1
    np.testing.assert_array_equal(answers, before)


def test_nothing_answered_is_nothing_wrong() -> None:
    code = make_code("coded", 4, 3, gain_limit=1000)
    finding = check(code, (), np.empty((0, 3), np.float32), "f32")
    assert (finding.consistent, finding.spares) == (True, 0)
