from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from cocoi_cli.model.casts import to_float16, to_float32


def test_narrowing_is_numpys_bit_for_bit():
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(4096) * 10.0 ** rng.integers(-9, 5, 4096)).astype(np.float32)
    x = np.concatenate([x, np.float32([0, -0.0, np.inf, -np.inf, 65504, 65519.9, 1e-8])]).reshape(1, -1)
    with np.errstate(over="ignore"):
        assert np.array_equal(to_float16(x).view(np.uint16), x.astype(np.float16).view(np.uint16))


def test_widening_is_exact_for_every_float16():
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    assert np.array_equal(to_float32(x), x.astype(np.float32))


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_shapes_are_kept_and_views_are_read(shape):
    x = np.ones((*shape, 2), np.float32)[..., 0]
    assert to_float16(x).shape == shape
    assert np.all(to_float16(x) == 1)


def test_another_type_is_refused():
    with pytest.raises(TypeError, match="float64"):
        to_float16(np.zeros(3))  # type: ignore[arg-type]  # the point of the test


def test_threads_may_share_it():
    x = np.linspace(0, 1, 10_000, dtype=np.float32)
    with ThreadPoolExecutor(4) as pool:
        for result in pool.map(lambda _: to_float32(to_float16(x)), range(16)):
            assert np.array_equal(result, x.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("size", [0, 1, 7, 32767, 32768, 100_003])
def test_widening_into_given_memory_writes_just_that(size):
    x = np.random.default_rng(size).standard_normal(size).astype(np.float16)
    room = np.full(size + 2, 9, np.float32)
    out = room[1:-1]  # not aligned to anything but itself
    assert to_float32(x, out=out) is out
    assert np.array_equal(out, x.astype(np.float32))
    assert room[0] == room[-1] == 9


@pytest.mark.parametrize("out", [np.empty(4, np.float64), np.empty(5, np.float32), np.empty(8, np.float32)[::2]])
def test_unfit_memory_is_refused(out):
    with pytest.raises(ValueError, match="contiguous float32"):
        to_float32(np.zeros(4, np.float16), out=out)
