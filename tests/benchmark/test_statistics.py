from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.benchmark.statistics import FEWEST_FOR_P99, FEWEST_PAIRS, Ratio, median, paired_ratio, quantile, tail


def slow_quantile(values, share):
    """Linear interpolation between the two neighbours in the sorted list."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def slow_interval(pairs, seed, share, resamples):
    drawn = np.random.default_rng(seed).integers(0, len(pairs), (resamples, len(pairs)))
    ratios = []
    for row in drawn:
        ours = [pairs[place][0] for place in row]
        theirs = [pairs[place][1] for place in row]
        ratios.append(slow_quantile(ours, share) / slow_quantile(theirs, share))
    return slow_quantile(ratios, 0.025), slow_quantile(ratios, 0.975)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 0.99, 1.0])
def test_a_quantile_is_that_of_the_sorted_list(count, share):
    values = np.random.default_rng(count).exponential(1.0, count).tolist()
    assert quantile(values, share) == pytest.approx(slow_quantile(values, share))


def test_no_values_have_no_quantile():
    assert median([]) is None
    assert tail([], 0.99) is None


def test_tails_wait_for_enough_values():
    assert tail([1.0] * 19, 0.95) is None
    assert tail([1.0] * 20, 0.95) == 1.0
    assert tail([1.0] * (FEWEST_FOR_P99 - 1), 0.99) is None
    assert tail([1.0] * FEWEST_FOR_P99, 0.99) == 1.0


@pytest.mark.parametrize("share", [0.5, 0.99])
def test_the_interval_is_that_of_drawing_whole_repetitions(share):
    random = np.random.default_rng(3)
    theirs = random.lognormal(0, 0.3, 31)
    ours = theirs * random.uniform(0.4, 0.7, 31)
    found = paired_ratio(ours.tolist(), theirs.tolist(), seed=5, share=share, resamples=200)
    pairs = list(zip(ours.tolist(), theirs.tolist(), strict=True))
    low, high = slow_interval(pairs, 5, share, 200)
    assert found.value == pytest.approx(slow_quantile(ours, share) / slow_quantile(theirs, share))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.low <= found.value <= found.high


def test_what_hits_both_rows_alike_does_not_widen_the_interval():
    drift = np.random.default_rng(1).uniform(1, 10, 40)
    found = paired_ratio((0.5 * drift).tolist(), drift.tolist(), seed=1)
    assert (found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.5))
    assert found.is_certain


def test_equal_figures_give_an_equal_interval_and_another_seed_may_not():
    random = np.random.default_rng(2)
    ours, theirs = random.uniform(1, 2, 12).tolist(), random.uniform(1, 2, 12).tolist()
    assert paired_ratio(ours, theirs, seed=7) == paired_ratio(ours, theirs, seed=7)
    assert not paired_ratio(ours, theirs, seed=7).is_certain


def test_a_row_against_itself_is_one():
    values = [0.3, 0.1, 0.7, 0.2, 0.5]
    assert paired_ratio(values, values, seed=1) == Ratio(1.0, 1.0, 1.0, 5)


def test_too_few_pairs_have_a_ratio_and_no_interval():
    few = FEWEST_PAIRS - 1
    assert paired_ratio([2.0] * few, [4.0] * few, seed=1) == Ratio(0.5, None, None, few)
    assert not Ratio(0.5, None, None, few).is_certain


def test_only_repetitions_that_both_answered_count():
    found = paired_ratio([1.0, None, 3.0, 9.0], [2.0, 2.0, 6.0, None], seed=1)
    assert (found.value, found.pairs) == (0.5, 2)
    assert paired_ratio([None], [1.0], seed=1) is None
    assert paired_ratio([], [], seed=1) is None
