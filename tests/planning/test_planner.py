"""What the planner decides: as well as trying everything, never worse than one way for all, local where right."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cocoi_cli.codes.registry import schemes
from cocoi_cli.planning.assumed_fleet import assumed_fleet
from cocoi_cli.planning.candidates import decodable, device_counts, layer_candidates
from cocoi_cli.planning.estimates import Estimator
from cocoi_cli.planning.fleet_model import FleetModel
from cocoi_cli.planning.loads import weight_bytes
from cocoi_cli.planning.options import USABLE
from cocoi_cli.planning.plan import FUSED, LOCAL
from cocoi_cli.planning.plan_check import check_plan
from cocoi_cli.planning.planner import decide, make_plan, ranked
from cocoi_cli.planning.request import BadObjectiveError, Request
from tests.planning.vgg import VGG16, VGG_SEGMENTS, conv, laptop, pis, rig

SMALL = (VGG16[1], VGG16[5], VGG16[10])
ANY_GAIN = Request(gain=0.0)


def seconds(plan_of: FleetModel, request: Request, layers=VGG16, segments=VGG_SEGMENTS) -> float:
    found = make_plan(layers, segments, plan_of, request).prediction
    assert found is not None
    return found.latency_s


@pytest.mark.parametrize("fleet", [pis(4), pis(10), pis(10, mbit=50), rig()], ids=["4", "10", "slow links", "rig"])
@pytest.mark.parametrize("host", [False, True])
def test_is_as_good_as_trying_everything(fleet: FleetModel, host: bool) -> None:
    """Every candidate of every layer, host share and number of devices; nothing pruned."""
    request = replace(ANY_GAIN, host=host)
    estimator = Estimator(fleet)
    members = [
        (count, own) for count in range(1, len(fleet.devices) + 1) for own in ((False, True) if host else (False,))
    ]
    best = 0.0
    for layer in SMALL:
        tried = layer_candidates(layer, members=members, allowed=request.schemes, transport="f16")
        on_agents = [estimator.stage(each.load, agents=each.agents, host=each.host).mean for each in tried]
        best += min([float(estimator.local(layer).mean()), *on_agents])
    assert seconds(fleet, request, SMALL, ()) <= 1.02 * best


@pytest.mark.parametrize("objective", ["mean", "p95"])
@pytest.mark.parametrize(
    "fleet", [pis(10), pis(5, gflops=30), pis(10, mbit=100), rig()], ids=["10", "5 quick", "slow links", "rig"]
)
def test_is_never_worse_than_one_way_for_all(fleet: FleetModel, objective: str) -> None:
    auto = seconds(fleet, Request(objective=objective, gain=0.0))
    for scheme in ("coded", "uncoded", "hedged", LOCAL):
        alone = seconds(fleet, Request(objective=objective, schemes=(LOCAL, scheme), gain=0.0))
        assert auto <= 1.02 * alone


@pytest.mark.parametrize("objective", ["mean", "p95", "p50"])
def test_fuses_early_and_distributes_the_rest(objective: str) -> None:
    plan = make_plan(VGG16, VGG_SEGMENTS, rig(), Request(objective=objective, host=False))
    assert [layer.scheme for layer in plan.layers[:4]] == [FUSED] * 4
    assert all(layer.distributed for layer in plan.layers[4:])
    assert [segment.name for segment in plan.segments] == ["conv1_1..conv1_2", "conv2_1..conv2_2"]
    assert all(layer.segment == plan.segments[place // 2].name for place, layer in enumerate(plan.layers[:4]))
    found = plan.prediction
    assert found is not None
    assert found.objective == objective
    assert found.latency_s < 0.3 * found.local_s


@pytest.mark.parametrize("fleet", [pis(10), pis(200), pis(3), pis(1)], ids=["10", "200", "3", "1"])
@pytest.mark.parametrize("transport", ["f16", "f32"])
def test_every_plan_can_be_obeyed(fleet: FleetModel, transport: str) -> None:
    plan = make_plan(VGG16, VGG_SEGMENTS, fleet, Request(transport=transport))
    check_plan(plan, VGG16, VGG_SEGMENTS, len(fleet.devices))
    assert all(layer.transport == "f32" for layer in plan.layers) or transport == "f16"
    assert all(layer.n - layer.host <= len(fleet.devices) for layer in plan.layers)


def test_links_that_are_too_slow_leave_everything_here() -> None:
    plan = make_plan(VGG16, VGG_SEGMENTS, pis(10, mbit=0.1), Request())
    assert plan.is_local
    assert plan.scheme == LOCAL
    assert {layer.reason for layer in plan.layers} != {""}
    assert plan.prediction is not None
    assert plan.prediction.latency_s == plan.prediction.local_s


def test_a_quick_host_keeps_everything() -> None:
    fleet = replace(pis(10), host=laptop(200e9))
    plan = make_plan(VGG16, VGG_SEGMENTS, fleet, Request())
    assert plan.is_local
    assert "not worth it" in plan.layers[5].reason or "agents would take" in plan.layers[5].reason


def test_a_small_gain_is_not_worth_it() -> None:
    fleet = replace(pis(2), host=laptop(36e9))
    won = 1 - seconds(fleet, ANY_GAIN) / seconds(fleet, Request(schemes=(LOCAL,)))
    assert won > 0
    assert make_plan(VGG16, VGG_SEGMENTS, fleet, Request(gain=won + 0.01)).is_local
    assert not make_plan(VGG16, VGG_SEGMENTS, fleet, Request(gain=max(won - 0.01, 0))).is_local


def test_without_devices_everything_is_local() -> None:
    plan = make_plan(VGG16, VGG_SEGMENTS, FleetModel((), laptop()), Request())
    assert plan.is_local
    assert plan.prediction is not None
    assert (plan.prediction.device, plan.prediction.device_s) == ("", None)


def test_a_model_without_convolutions_has_a_plan() -> None:
    plan = make_plan((), (), pis(4), Request())
    assert plan.is_local
    assert plan.layers == ()


def test_one_device_helps_only_beside_the_host() -> None:
    assert make_plan(VGG16, VGG_SEGMENTS, pis(1), Request(host=False)).is_local
    assert not make_plan(VGG16, VGG_SEGMENTS, pis(1), Request(host=True)).is_local


def test_what_must_stay_stays_and_is_paid_for() -> None:
    stuck = replace(VGG16[5], obstacle="quantised weights")
    layers = (*VGG16[:5], stuck, *VGG16[6:])
    plan = make_plan(layers, VGG_SEGMENTS, pis(10), Request())
    assert (plan.layers[5].scheme, plan.layers[5].reason) == (LOCAL, "quantised weights")
    alone = float(Estimator(pis(10)).local(stuck).mean())
    assert plan.layers[5].seconds == pytest.approx(alone)
    tiny = conv("tiny", 3, 4, 8)
    small = make_plan((*VGG16, tiny), VGG_SEGMENTS, pis(10), Request()).layers[-1]
    assert (small.scheme, "too small" in small.reason) == (LOCAL, True)


def test_slow_devices_come_last_and_are_left_out_where_they_are_in_the_way() -> None:
    fleet = pis(6)
    crawling = replace(fleet.devices[0], slowdown=((1.0, 60.0),))
    fleet = replace(fleet, devices=(crawling, *fleet.devices[1:]))
    order = [device.name for device in ranked(fleet, VGG16).devices]
    assert order == [*(f"device-{number}" for number in range(2, 7)), "device-1"]
    plan = make_plan(VGG16, VGG_SEGMENTS, fleet, Request(host=False))
    assert plan.agents[-1] == "device-1"
    assert seconds(fleet, Request(host=False)) < 1.3 * seconds(pis(5), Request(host=False))


def test_a_slow_device_comes_behind_one_whose_shares_cost_more_by_themselves() -> None:
    fleet, small = pis(3), tuple(conv(f"conv{number}", 16, 16, 28) for number in range(20))
    slow = replace(fleet.devices[0], task_s=0.009, slowdown=((1.0, 2.0),))
    dear = replace(fleet.devices[1], task_s=0.016)
    order = ranked(replace(fleet, devices=(slow, dear, fleet.devices[2])), small).devices
    assert [device.name for device in order] == ["device-3", "device-2", "device-1"]


@pytest.mark.parametrize("factor", [3.0, 30.0])
@pytest.mark.parametrize("slow", [{0}, {1, 4}])
@pytest.mark.parametrize("host", [False, True])
def test_slow_devices_cost_no_more_than_doing_without_them(factor: float, slow: set[int], host: bool) -> None:
    """Tiles are as many as suit those that are quick, not all that are there."""
    fleet, request = rig(), Request(gain=0.0, host=host)
    told = [replace(each, slowdown=((1.0, factor if i in slow else 1.0),)) for i, each in enumerate(fleet.devices)]
    left = tuple(each for i, each in enumerate(fleet.devices) if i not in slow)
    assert seconds(replace(fleet, devices=tuple(told)), request) <= 1.03 * seconds(
        replace(fleet, devices=left), request
    )


def test_more_devices_are_never_slower() -> None:
    taken = [seconds(pis(count), ANY_GAIN) for count in (1, 3, 6, 12)]
    assert all(more <= 1.02 * fewer for fewer, more in itertools.pairwise(taken))


def test_weights_that_do_not_fit_stay_here_or_are_kept_in_part() -> None:
    for megabytes in (4, 30):
        fleet = assumed_fleet(
            10, flops_per_s=1e10, bytes_per_s=112e6, host=laptop(), memory_bytes=megabytes * 1_000_000
        )
        plan = make_plan(VGG16, (), fleet, Request(gain=0.0))
        held = 0
        for layer, decided in zip(VGG16, plan.layers, strict=True):
            if decided.distributed:
                held += weight_bytes(layer) * 2 // decided.filters if decided.filters > 1 else weight_bytes(layer)
        assert held <= USABLE * megabytes * 1_000_000
        assert not plan.is_local


def test_memory_that_is_enough_changes_nothing() -> None:
    plenty = assumed_fleet(10, flops_per_s=1e10, bytes_per_s=112e6, host=laptop(), memory_bytes=None)
    enough = assumed_fleet(10, flops_per_s=1e10, bytes_per_s=112e6, host=laptop(), memory_bytes=1 << 31)
    assert make_plan(VGG16, (), plenty, Request()) == make_plan(VGG16, (), enough, Request())


def test_a_measured_model_corrects_the_host() -> None:
    """What takes long beside the convolutions is in the figures, and cannot be won by any plan."""
    own = seconds(pis(10), Request(schemes=(LOCAL,)))
    plan = make_plan(VGG16, VGG_SEGMENTS, pis(10), Request(alone_s=own + 5))
    assert plan.prediction is not None
    assert plan.prediction.local_s == pytest.approx(own + 5)
    assert plan.prediction.latency_s > 5
    quick = make_plan(VGG16, VGG_SEGMENTS, pis(10), Request(alone_s=0.3))
    assert quick.is_local
    assert quick.prediction is not None
    assert quick.prediction.local_s == pytest.approx(0.3)


def test_every_decision_has_a_reason_and_a_runner_up() -> None:
    decided = decide(VGG16, VGG_SEGMENTS, rig(), Request())
    for each in (*decided.plan.segments, *(layer for layer in decided.plan.layers if layer.distributed)):
        assert each.reason
        assert each.runner_up.endswith("ms")
        assert each.seconds is not None
    for step in decided.steps:
        assert [option.mean for option in step.others] == sorted(option.mean for option in step.others)


def test_the_baselines_are_the_whole_model_on_one_device() -> None:
    found = make_plan(VGG16, VGG_SEGMENTS, pis(10), Request()).prediction
    assert found is not None
    assert found.device == "device-1"
    assert found.device_s == pytest.approx(found.local_s, rel=0.02)
    assert found.round_robin_s == pytest.approx(found.local_s / 10, rel=0.02)


def test_what_dense_layers_read_is_part_of_every_latency() -> None:
    fleet = pis(10)
    weights = 500_000_000
    read_s = weights / fleet.host.pass_bytes_per_s
    without = decide(VGG16, VGG_SEGMENTS, fleet, Request())
    within = decide(VGG16, VGG_SEGMENTS, fleet, Request(bytes_beside=weights))
    before, found = without.plan.prediction, within.plan.prediction
    assert before is not None
    assert before.device_s is not None
    assert found is not None
    assert (without.rest_s, within.rest_s) == (0, read_s)
    assert found.latency_s == pytest.approx(before.latency_s + read_s)
    assert found.local_s == pytest.approx(before.local_s + read_s)
    assert found.device_s == pytest.approx(before.device_s + read_s)
    assert found.round_robin_s == pytest.approx((before.device_s + read_s) / 10)


def test_dense_layers_keep_a_model_here_that_would_win_little() -> None:
    """A tenth of the whole inference is to be won, not of its convolutions."""
    fleet = pis(10)
    read = round(100 * seconds(fleet, ANY_GAIN) * fleet.host.pass_bytes_per_s)
    assert not make_plan(VGG16, VGG_SEGMENTS, fleet, Request()).is_local
    assert make_plan(VGG16, VGG_SEGMENTS, fleet, Request(bytes_beside=read)).is_local


def test_what_was_measured_counts_instead_of_weights() -> None:
    found = make_plan(VGG16, VGG_SEGMENTS, pis(10), Request(alone_s=5.0, bytes_beside=10**10)).prediction
    assert found is not None
    assert found.local_s == pytest.approx(5.0)


@pytest.mark.parametrize("objective", ["median", "p100", "p9", "95", "p²", ""])
def test_refuses_what_is_no_objective(objective: str) -> None:
    with pytest.raises(BadObjectiveError, match="is no objective; it is `mean`, or a quantile"):
        Request(objective=objective)


def test_candidates_are_possible_and_respect_the_guard() -> None:
    for layer in VGG16:
        for each in layer_candidates(layer, members=[(10, True), (10, False)], allowed=schemes(), transport="f16"):
            length = layer.output_shape[each.axis]
            assert 1 <= each.k <= length
            assert 1 <= each.strips <= -(-length // each.k)
            assert each.n <= 11
            assert decodable(each.scheme, each.n, each.k, each.transport)


@pytest.mark.parametrize(("transport", "most"), [("f16", 2), ("f32", 4)])
def test_spare_shares_are_as_many_as_the_transport_type_can_decode(transport: str, most: int) -> None:
    layer = VGG16[-1]  # 14 rows: 7 pieces divide them
    found = layer_candidates(layer, members=[(10, True)], allowed={"coded"}, transport=transport)
    assert max(each.n - each.k for each in found) == most


def test_numbers_of_devices_to_try() -> None:
    assert device_counts(10, alike=True) == (10, 8, 5)
    assert device_counts(10, alike=False) == (10, 9, 8, 7, 5)
    assert device_counts(1, alike=True) == (1,)
    assert device_counts(0, alike=True) == ()
    assert device_counts(200, alike=True)[0] == 200
