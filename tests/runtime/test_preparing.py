"""What is made once per model, size and plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.model.network import FusedStage, LocalStage
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import Plan
from cocoi_cli.runtime import preparing
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.preparing import MOST_CUTS, Preparations, UnknownSegmentError
from tests.runtime.small_planned import planned_network, rich_plan

SHAPES = {"image": (1, 3, 32, 32)}


class Opened(HostKernels):
    """Remembers what was opened and forgotten."""

    def __init__(self) -> None:
        super().__init__(threads=1)
        self.stages: list[str] = []
        self.open: set[bytes] = set()
        self.forgotten = 0

    def open_stage(self, stage: LocalStage) -> None:
        self.stages.append(stage.name)
        self.open.add(stage.model)
        super().open_stage(stage)

    def forget_stage(self, stage: LocalStage) -> None:
        self.open.remove(stage.model)  # an error if it was not open
        super().forget_stage(stage)

    def forget_stages(self) -> None:
        self.forgotten += 1
        super().forget_stages()


@pytest.fixture
def kernels() -> Opened:
    return Opened()


@pytest.fixture
def made(kernels) -> Preparations:
    return Preparations(kernels)


@pytest.fixture
def vgg(tmp_path):
    return planned_network(tmp_path, "vgg")


def test_a_model_is_prepared_once_per_size(made, vgg, tmp_path) -> None:
    first = made.prepare(vgg, SHAPES)
    assert made.prepare(vgg, dict(SHAPES)) is first
    other = made.prepare(planned_network(tmp_path, "resnet"), SHAPES)
    assert other is not first
    assert made.prepare(vgg, SHAPES) is not first


def test_local_stages_that_two_plans_share_are_one_object(made, vgg) -> None:
    """Sessions are found by these bytes: equal ones that are two objects would be compared at every inference."""
    prepared = made.prepare(vgg, SHAPES)
    one, other = (
        made.cut(
            default_plan(prepared.layers, agents=6, scheme=scheme, n=None, k=None, transport=transport)
        ).network.stages
        for scheme, transport in (("uncoded", "f32"), ("coded", "f16"))
    )
    last = [stages[-1] for stages in (one, other)]
    assert all(isinstance(stage, LocalStage) for stage in last)
    assert last[0].model is last[1].model


def test_a_plan_is_cut_once_and_the_sessions_of_its_local_stages_are_open(made, kernels, vgg) -> None:
    prepared = made.prepare(vgg, SHAPES)
    plan = rich_plan(prepared, "vgg", n=4)
    first = made.cut(plan)
    assert made.cut(replace(plan)) is first
    local = [stage.name for stage in first.network.stages if isinstance(stage, LocalStage)]
    assert kernels.stages == local * 2
    (fused,) = [stage for stage in first.network.stages if isinstance(stage, FusedStage)]
    assert len(fused.tiles) == plan.segments[0].tiles
    assert set(first.loading.stages) == {
        stage.name for stage in first.network.stages if not isinstance(stage, LocalStage)
    }


def test_segments_are_looked_for_once(made, vgg, monkeypatch) -> None:
    calls = []
    find = preparing.find_segments
    monkeypatch.setattr(preparing, "find_segments", lambda prepared: calls.append(1) or find(prepared))
    made.prepare(vgg, SHAPES)
    assert made.segments() is made.segments()
    assert calls == [1]


@pytest.mark.parametrize("change", [{"input": "r1"}, {"output": "r4"}, {"layers": ("c1",)}])
def test_a_segment_that_the_model_has_not_is_refused(made, vgg, change) -> None:
    plan = rich_plan(made.prepare(vgg, SHAPES), "vgg", n=4)
    broken = replace(plan, segments=(replace(plan.segments[0], **change),))
    with pytest.raises(UnknownSegmentError, match=r"the model `vgg` has no segment `c1\.\.c2`"):
        made.cut(broken)


def test_another_model_lets_go_of_everything(made, kernels, vgg, tmp_path) -> None:
    prepared = made.prepare(vgg, SHAPES)
    plan = rich_plan(prepared, "vgg", n=4)
    first = made.cut(plan)
    made.prepare(planned_network(tmp_path, "resnet"), SHAPES)
    assert kernels.forgotten == 2
    made.prepare(vgg, SHAPES)
    assert made.cut(plan) is not first


def test_only_the_latest_cuts_are_kept(made, vgg) -> None:
    prepared = made.prepare(vgg, SHAPES)

    def plan(k: int, strips: int):
        return default_plan(prepared.layers, agents=12, scheme="coded", n=12, k=k, transport="f32", strips=strips)

    plans = [plan(k, strips) for k in range(2, 11) for strips in (1, 2)]
    assert len(plans) == MOST_CUTS + 2
    first = made.cut(plans[0])
    cuts = [made.cut(each) for each in plans[1:MOST_CUTS]]
    assert made.cut(plans[0]) is first  # now the latest of them
    for each in plans[MOST_CUTS:]:
        made.cut(each)
    assert made.cut(plans[0]) is first
    assert made.cut(plans[1]) is not cuts[0]
    assert made.cut(plans[4]) is cuts[3]


def test_local_stages_are_open_as_long_as_a_cut_has_them(made, kernels, vgg) -> None:
    """Weights of local stages are not kept for every plan that there ever was."""
    prepared = made.prepare(vgg, SHAPES)

    def plan(here: int, k: int, strips: int) -> Plan:
        """All but one layer coded."""
        found = default_plan(prepared.layers, agents=12, scheme="coded", n=12, k=k, transport="f32", strips=strips)
        return replace(found, layers=tuple(row for row in found.layers if row.layer != prepared.layers[here].name))

    one = made.cut(plan(1, 2, 1))
    for k, strips in [(k, strips) for k in range(2, 11) for strips in (1, 2)][:MOST_CUTS]:
        other = made.cut(plan(2, k, strips))
    of_one, of_other = ({s.model for s in each.network.stages if isinstance(s, LocalStage)} for each in (one, other))
    assert of_one - of_other  # the layer that stays here
    assert of_one & of_other  # what no agent can compute
    assert kernels.open == of_other
