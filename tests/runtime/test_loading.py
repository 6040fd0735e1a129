"""What agents must hold: each what it needs, and nothing is lost where things are equal."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.network import ConvStage, FusedStage, Network
from cocoi_cli.model.stages import cut
from cocoi_cli.model.tiles import fuse
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime.loading import code_of, loading_of, stage_programs
from tests.runtime.small_network import small_network
from tests.runtime.small_planned import planned_network, rich_plan, segment_of

SHAPES = {"image": (1, 3, 40, 40)}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return find_layers(small_network(tmp_path_factory.mktemp("model")), SHAPES)


def planned(prepared: Prepared, scheme: str, n: int = 6, k: int | None = None) -> tuple[Network, Plan]:
    plan = default_plan(prepared.layers, agents=n, scheme=scheme, n=None, k=k, transport="f32")
    return cut(prepared, plan.distributed), plan


@pytest.mark.parametrize("scheme", ["coded", "uncoded", "replication", "hedged", "lt", "cocoi"])
def test_codes_on_the_input_need_the_same_programs_everywhere(prepared, scheme) -> None:
    network, plan = planned(prepared, scheme)
    loading = loading_of(network, plan)
    everything = {program.id for program, _ in loading.programs}
    for home in range(8):
        assert {program.id for program in loading.at(home)} == everything
    assert set(loading.stages) == {"conv1", "conv2", "conv3"}
    assert all(len(ids) == 1 for ids in loading.stages.values())


def test_every_blob_is_there_under_its_hash(prepared) -> None:
    loading = loading_of(*planned(prepared, "fcdcc"))
    for program, _ in loading.programs:
        assert program.graph in loading.blobs
        assert all(binding.blob in loading.blobs for binding in program.bindings)
    for digest, data in loading.blobs.items():
        assert hashlib.sha256(data).hexdigest() == digest


def with_filters(plan: Plan, filters: int) -> Plan:
    return replace(plan, layers=tuple(replace(layer, filters=filters) for layer in plan.layers))


@pytest.mark.parametrize("filters", [1, 2, 4])
def test_the_holder_of_a_share_has_its_coded_filters(prepared, filters) -> None:
    network, plan = planned(prepared, "fcdcc")
    plan = with_filters(plan, filters)
    loading = loading_of(network, plan)
    plans = {layer.layer: layer for layer in plan.layers}
    for stage in network.stages:
        if not isinstance(stage, ConvStage):
            continue
        code = code_of(plans[stage.name])
        assert len(loading.stages[stage.name]) == (1 if code.movable else code.shares)
        for share in range(code.shares):
            variant = loading.stages[stage.name][0 if code.movable else share]
            held = {program.id: program for program in loading.at(share)}
            assert variant in held
            (binding,) = held[variant].bindings
            weights = np.frombuffer(loading.blobs[binding.blob], np.float32).reshape(binding.shape)
            np.testing.assert_array_equal(weights, code.encode_filters(stage.weight, share))


def test_equal_coded_filters_of_several_shares_reach_each_of_their_homes(prepared) -> None:
    """Filters that are all zero are equal however they are mixed: one program, many homes."""
    network, plan = planned(prepared, "fcdcc")
    plan = with_filters(plan, 2)
    stages = tuple(
        replace(stage, weight=np.zeros_like(stage.weight)) if isinstance(stage, ConvStage) else stage
        for stage in network.stages
    )
    loading = loading_of(replace(network, stages=stages), plan)
    for ids in loading.stages.values():
        assert len(ids) == 6
        assert len(set(ids)) == 1
        for home in range(6):
            assert ids[home] in {program.id for program in loading.at(home)}
    assert len(loading.programs) == len({program.id for program, _ in loading.programs})


def test_what_everybody_needs_for_one_layer_is_not_taken_away_by_another(prepared) -> None:
    """Filters of a coded layer that equal those of a layer that any agent may compute: everybody has them."""
    network, plan = planned(prepared, "fcdcc")
    first = next(stage for stage in network.stages if isinstance(stage, ConvStage))
    free = replace(plan.layers[0], scheme="coded", k=4, filters=1)
    at_home = replace(plan.layers[0], layer="twin", filters=2)
    code = code_of(at_home)
    twin = replace(first, name="twin")
    # The free layer has just the filters that share 2 of the other has at home.
    weight = code.encode_filters(twin.weight, 2)
    spec = replace(first.spec, out_channels=weight.shape[0])
    base = replace(first, spec=spec, weight=weight)
    for order in ((base, twin), (twin, base)):
        loading = loading_of(replace(network, stages=order), replace(plan, layers=(free, at_home)))
        for home in range(6):
            held = {program.id for program in loading.at(home)}
            assert set(loading.stages[base.name]) <= held
            assert loading.stages["twin"][home] in held


def test_the_programs_of_a_segment_have_their_weights_built_in(tmp_path) -> None:
    prepared = find_layers(planned_network(tmp_path, "resnet"), {"image": (1, 3, 32, 32)})
    plan = rich_plan(prepared, "resnet", n=4)
    (segment,) = plan.segments
    fused = fuse(prepared, segment_of(prepared, "resnet"), segment.tiles, "f32", "f32")
    network = cut(prepared, plan.distributed, [fused])
    loading = loading_of(network, plan)
    stage = next(stage for stage in network.stages if isinstance(stage, FusedStage))
    ids = loading.stages[stage.name]
    assert len(ids) == len(stage.programs) > 1
    programs = {program.id: program for program, homes in loading.programs if homes is None}
    for found in ids:
        assert not programs[found].linear
        assert {binding.name for binding in programs[found].bindings} == set(stage.weights)
        assert {binding.how for binding in programs[found].bindings} == {"initializer"}
    assert len(stage_programs(stage, None)) == len(ids)
