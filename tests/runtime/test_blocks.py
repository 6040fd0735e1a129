from __future__ import annotations

import numpy as np
import pytest

from cocoi_cli.runtime.blocks import Blocks


def test_what_was_given_back_is_used_again():
    blocks = Blocks()
    first = blocks.take((2, 3, 4))
    blocks.give(first)
    second = blocks.take((5, 4))
    assert np.shares_memory(first, second)
    assert second.shape == (5, 4)
    assert second.flags.c_contiguous
    assert second.dtype == np.float32


def test_what_is_on_loan_is_nobody_elses():
    blocks = Blocks()
    lent = [blocks.take((100,)) for _ in range(3)]
    blocks.give(lent.pop())
    lent += [blocks.take((50,)), blocks.take((50,))]
    for index, array in enumerate(lent):
        array[...] = index
    assert [set(array.tolist()) for array in lent] == [{0.0}, {1.0}, {2.0}, {3.0}]


def test_the_smallest_block_that_fits_is_taken():
    blocks = Blocks()
    large, small = blocks.take((1000,)), blocks.take((10,))
    blocks.give(large)
    blocks.give(small)
    assert np.shares_memory(blocks.take((9,)), small)
    assert np.shares_memory(blocks.take((9,)), large)


def test_a_block_that_became_too_small_is_not_kept():
    blocks = Blocks()
    for size in range(1, 50):
        blocks.give(blocks.take((size,)))
    sizes = [blocks.take((1,)).base.size, blocks.take((1,)).base.size]
    assert sizes == [49, 1]


def test_an_empty_shape_needs_no_memory():
    blocks = Blocks()
    blocks.give(blocks.take((0, 7)))
    assert blocks.take((3, 0)).shape == (3, 0)


def test_memory_from_elsewhere_is_refused():
    with pytest.raises(ValueError, match="not taken from here"):
        Blocks().give(np.zeros(3, np.float32))
