"""Every exact scheme through real convolutions: cut, encoded, computed by agents' programs, decoded, joined."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cocoi_cli.codes.families.fcdcc import FilterCode
from cocoi_cli.model.network import ConvStage
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.filter_work import FilterWork, GroupedFiltersError
from cocoi_cli.runtime.loading import code_of, stage_programs
from cocoi_cli.runtime.work import StageWork
from tests.runtime.conv_works import GROUPED, KERNELS, SHAPES, assert_close, begin, conv_stage, plan_of, run


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(("n", "k", "filters"), [(4, 3, 1), (4, 3, 2), (4, 3, 6), (6, 4, 4), (5, 2, 4)])
def test_filter_codes_give_the_convolution(name: str, n: int, k: int, filters: int) -> None:
    stage, x, expected = conv_stage(SHAPES[name])
    work = begin(stage, plan_of("fcdcc", n, k, filters=filters), x)
    assert work.strips == 1
    assert_close(run(work, list(range(n - 1, -1, -1))), expected, 1e-5)
    assert (work.counts.decoded, work.counts.host) == (1, 0)
    assert work.counts.gain > 1 or k == 1


@pytest.mark.parametrize("arrived", [*itertools.combinations(range(5), 3)])
def test_every_three_of_five_agents_do(arrived: tuple[int, ...]) -> None:
    stage, x, expected = conv_stage(SHAPES["same 3x3"])
    assert_close(run(begin(stage, plan_of("fcdcc", 5, 3, filters=2, strips=2), x), list(arrived)), expected, 1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_host_computes_what_is_missing(count: int) -> None:
    stage, x, expected = conv_stage(SHAPES["stem 7x7"])
    work = begin(stage, plan_of("fcdcc", 6, 4, filters=4), x)
    assert_close(run(work, [5, 1, 3][:count]), expected, 1e-5)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize(
    ("scheme", "n", "k", "axis"), [("cocoi", 5, 3, 3), ("cocoi", 5, 4, 3), ("lt", 4, 6, 2), ("lt", 4, 8, 3)]
)
def test_codes_on_the_input_give_the_convolution(name: str, scheme: str, n: int, k: int, axis: int) -> None:
    stage, x, expected = conv_stage(SHAPES[name])
    arrived = list(range(n - 1, -1, -1)) if scheme == "cocoi" else list(range(60, k - 1, -1))
    work = begin(stage, plan_of(scheme, n, k, axis=axis), x)
    assert_close(run(work, arrived), expected, 1e-4)
    assert work.counts.host == 0


@pytest.mark.parametrize(("scheme", "n", "k"), [("cocoi", 5, 3), ("lt", 4, 6), ("fcdcc", 5, 3)])
def test_grouped_convolutions_do_where_filters_are_left_alone(scheme: str, n: int, k: int) -> None:
    stage, x, expected = conv_stage(GROUPED)
    arrived = list(range(n)) if scheme != "lt" else list(range(k, 60))
    assert_close(run(begin(stage, plan_of(scheme, n, k), x), arrived), expected, 1e-5)


def test_the_filters_of_a_grouped_convolution_are_not_mixed() -> None:
    stage, x, _ = conv_stage(GROUPED)
    with pytest.raises(GroupedFiltersError, match=r"the filters of `conv` cannot be mixed in 6 groups") as refusal:
        begin(stage, plan_of("fcdcc", 5, 3, filters=6), x)
    assert (refusal.value.code, refusal.value.exit_status) == ("grouped-filters", 2)


@pytest.mark.parametrize("scheme", ["fcdcc", "lt"])
@pytest.mark.parametrize("scale", [1.0, 1e4, 1e-6])
def test_half_precision_travels_with_a_scale_where_it_must(scheme: str, scale: float) -> None:
    stage, x, expected = conv_stage(SHAPES["same 3x3"])
    x, expected = x * np.float32(scale), expected * np.float32(scale)
    plan = (
        plan_of("fcdcc", 6, 4, transport="f16", filters=4)
        if scheme == "fcdcc"
        else plan_of("lt", 4, 6, transport="f16")
    )
    arrived = [4, 0, 2, 5] if scheme == "fcdcc" else list(range(6, 60))
    work = begin(stage, plan, x)
    if scale == 1e4:  # an agent answers in float32 where its sums leave float16
        return check_large(work, arrived, expected)
    assert_close(run(work, arrived), expected, 2e-2)
    return None


def check_large(work: StageWork, arrived: list[int], expected: np.ndarray) -> None:
    have: set[int] = set()
    for share in arrived:
        if work.code.ready(have):
            break
        outgoing = work.share(0, share)
        assert np.isfinite(outgoing.x).all()
        source = stage_programs(work.stage, work.plan)[outgoing.variant]
        found = KERNELS.run_program(source.graph, {"x": outgoing.x}, ["y32"], source.tensors)[0]
        work.accept(0, share, found, outgoing.scale)
        have.add(share)
    work.decode(0, [share for share in arrived if share in have], KERNELS)
    assert_close(work.hand_over(), expected, 2e-2)


def test_each_agent_has_weights_of_its_own_and_stores_a_part_of_them() -> None:
    stage, x, _ = conv_stage(SHAPES["same 3x3"])
    work = begin(stage, plan_of("fcdcc", 6, 4, filters=4), x)
    sources = stage_programs(work.stage, work.plan)
    assert [source.home for source in sources] == list(range(6))
    assert [work.share(0, share).variant for share in range(6)] == list(range(6))
    assert {source.tensors["w"].shape for source in sources} == {(6, 5, 3, 3)}  # two mixtures of ceil(10 / 4) filters
    assert len({source.graph for source in sources}) == 1


def test_blocks_that_overflow_in_a_mixture_are_computed_on_the_host() -> None:
    stage, x, _ = conv_stage(SHAPES["pointwise"])
    x = np.full_like(x, 3e38)
    weight = np.full_like(stage.weight, 0.1)
    stage = ConvStage("conv", "x", "y", stage.spec, weight, stage.input_shape, stage.output_shape, "float32")
    work = begin(stage, plan_of("fcdcc", 4, 3, filters=2), x)
    with np.errstate(over="ignore", invalid="ignore"):
        found = run(work, [3, 1, 2])
    assert work.counts.host > 0
    np.testing.assert_allclose(found, np.float32(3e38 * 0.6), rtol=1e-5)


def test_memory_is_used_again() -> None:
    stage, x, _ = conv_stage(SHAPES["same 3x3"])
    plan, blocks = plan_of("fcdcc", 6, 4, transport="f16", filters=4), Blocks()
    code = code_of(plan)
    assert isinstance(code, FilterCode)
    sizes = []
    for _ in range(3):
        blocks.give(run(FilterWork(stage, plan, code, x, blocks), [0, 1, 2, 3]))
        sizes.append(len(blocks._free))
    assert sizes[0] == sizes[1] == sizes[2]
