"""Histories of answers are as random as they are meant to be, and what comes of them is right."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from cocoi_cli.codes.copies import CopyCode
from cocoi_cli.codes.registry import make_code
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.runtime.check import difference
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.preparing import Preparations
from tests.runtime.small_network import picture, small_network


@pytest.fixture(scope="module")
def bench(script):
    return script("survivors")


def generator(seed=1):
    return np.random.default_rng(seed)


def test_every_set_that_decodes_comes_up_sooner_or_later(bench):
    code = make_code("coded", 6, 4, gain_limit=1000.0)
    rng = generator()
    seen = {bench.survivors(code, 6, rng) for _ in range(300)}
    assert seen == {frozenset(each) for each in itertools.combinations(range(6), 4)}


@pytest.mark.parametrize(("limit", "sizes"), [(1000.0, {8}), (4.0, {8, 9})])
def test_answers_come_until_the_limit_on_the_noise_gain_is_met(bench, limit, sizes):
    code, rng = make_code("coded", 10, 8, gain_limit=limit), generator()
    kept = [bench.survivors(code, 10, rng) for _ in range(200)]
    assert all(code.ready(each) for each in kept)
    assert {len(each) for each in kept} == sizes


def test_of_copies_there_is_one_of_each_piece(bench):
    code, rng = CopyCode("replication", 9, 4), generator()
    kept = [bench.survivors(code, 9, rng) for _ in range(100)]
    assert all({share % 4 for share in each} == {0, 1, 2, 3} for each in kept)
    assert {len(each) for each in kept} >= {4, 5, 6}  # of some pieces two copies came first


def test_the_shares_of_the_host_are_never_lost(bench):
    rng = generator()
    for _ in range(50):
        tile = bench.survivors(CopyCode("hedged", 4, 1), 3, rng)
        assert (3 in tile, len(tile)) == (True, 2)  # one agent answers, as if there were no host
    # Agents alone have three of the four pieces.
    assert bench.survivors(CopyCode("uncoded", 4, 4), 3, rng) == frozenset(range(4))


class Small:
    """A small network on agents inside the host."""

    def __init__(self, bench, folder):
        model, self.tensors, kernels = small_network(folder), picture(), HostKernels(threads=1)
        shapes = resolve_input_shapes(model, {name: array.shape for name, array in self.tensors.items()})
        preparations = Preparations(kernels)
        layers = preparations.prepare(model, shapes).layers
        plan = default_plan(layers, agents=6, scheme="coded", n=None, k=None, transport="f16")
        self.plan, self.truth = plan, kernels.baseline(model, self.tensors, repeat=False).outputs["logits"]
        self.fleet = bench.Survivors(preparations.cut(plan).network, plan, kernels)

    def histories(self, *seeds):
        async def run():
            return [await self.fleet.infer(self.tensors, generator(seed)) for seed in seeds]

        return asyncio.run(run())


@pytest.fixture
def small(bench, tmp_path):
    made = Small(bench, tmp_path)
    yield made
    made.fleet.close()


def test_a_history_loses_answers_and_ends_well_all_the_same(small):
    stages = len(small.plan.distributed)
    for outcome in small.histories(*range(8)):
        assert 0 < difference(outcome.outputs["logits"], small.truth) < 1e-2
        rows = [row for row in outcome.stages if row.kind == "conv"]
        assert len(rows) == stages > 1
        assert all(row.arrived == 4 * row.strips and row.host == 0 for row in rows)
        assert sum(agent.cancelled for agent in outcome.agents) > 0
    assert any(row.decoded for row in outcome.stages)


def test_a_seed_repeats_its_history_and_another_one_has_its_own(small):
    first, again, other = (outcome.outputs["logits"] for outcome in small.histories(3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
