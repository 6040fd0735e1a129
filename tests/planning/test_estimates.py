"""Predictions of stages against what the emulated fleet took, exact order statistics, and common sense."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.model.network import ConvLayer
from cocoi_cli.planning.distributions import share_time
from cocoi_cli.planning.estimates import RECEIVING, SENDING, Estimator
from cocoi_cli.planning.fleet_model import FleetModel, Phase
from cocoi_cli.planning.loads import Load, cut_load, mixed_load, segment_load, weight_bytes
from cocoi_cli.planning.order_statistics import kth_arrival
from tests.planning.vgg import GIGABIT, VGG16, VGG_SEGMENTS, conv, pis, rig

STRIPS = dict(zip([layer.name for layer in VGG16], [5, 5, 5, 5, 4, 4, 4, 2, 2, 2, 1, 1, 1], strict=True))


def whole_float32(layer: ConvLayer) -> Load:
    return cut_load(
        layer, n=10, k=10, axis=2, strips=1, transport="f32", reply="f32", scheme="uncoded", patient=True
    )  # fmt: skip


def coded_strips(layer: ConvLayer) -> Load:
    return cut_load(layer, n=10, k=8, axis=2, strips=STRIPS[layer.name], transport="f16", reply="f16")


def total(load: Callable[[ConvLayer], Load], layers: tuple[ConvLayer, ...] = VGG16) -> float:
    estimator = Estimator(rig())
    return sum(estimator.stage(load(layer), agents=10, host=False).mean for layer in layers)


def fused_early() -> float:
    estimator = Estimator(rig())
    return sum(
        estimator.stage(
            segment_load(each.convs, each.cost(20), n=10, transport="f16", reply="f16"), agents=10, host=False
        ).mean
        for each in VGG_SEGMENTS
    )


@pytest.mark.parametrize(
    ("predicted", "measured"),
    [
        (lambda: total(whole_float32), 1.20),
        (lambda: total(coded_strips), 0.80),
        (lambda: fused_early() + total(coded_strips, VGG16[4:]), 0.68),
        (lambda: sum(float(Estimator(rig()).local(layer).mean()) for layer in VGG16), 3.225),
    ],
    ids=["uncoded, whole, float32", "coded strips, float16", "fused early, coded late", "one device alone"],
)
def test_agrees_with_the_emulated_fleet(predicted: Callable[[], float], measured: float) -> None:
    """VGG16 on ten devices of 10 GFLOP/s, medians in seconds of a prototype; a model is not a stopwatch."""
    assert predicted() == pytest.approx(measured, rel=0.25)


@pytest.mark.parametrize("k", [1, 5, 8, 10])
def test_whole_shares_follow_the_exact_order_statistics(k: int) -> None:
    """Without a shared network and without work of the host, a stage is the k-th of n arrivals, exactly known."""
    fleet = unequal(10)
    free = replace(fleet.host, pass_bytes_per_s=1e15, task_s=0.0, nic_up=1e15, nic_down=1e15)
    fleet = FleetModel(fleet.devices, free)
    load = cut_load(VGG16[5], n=10, k=k, axis=2, strips=1, transport="f32", reply="f32", eager=True)
    (part,) = load.slices
    times = [
        share_time(
            device,
            up_bytes=load.up,
            down_bytes=load.down,
            compute=device.compute(
                part.macs,
                kernel=part.kernel,
                in_channels=part.in_channels,
                out_channels=part.out_channels,
                width=part.width,
                rows=part.rows,
            ),
        )
        for device in fleet.devices
    ]
    found = Estimator(fleet).stage(load, agents=10, host=False).mean
    assert found == pytest.approx(kth_arrival(times, k), rel=0.03)


def unequal(devices: int) -> FleetModel:
    """Devices of which each is slower than the one before, with random times of their own."""
    fleet = pis(devices)
    slower = tuple(
        replace(
            device,
            cells=tuple(
                replace(cell, phase=Phase(cell.phase.shift_s * (1 + 0.1 * place), cell.phase.shift_s * 0.3))
                for cell in device.cells
            ),
        )
        for place, device in enumerate(fleet.devices)
    )
    return replace(fleet, devices=slower)


@pytest.mark.parametrize("host", [False, True])
@pytest.mark.parametrize("layer", VGG16, ids=lambda layer: layer.name)
def test_no_draw_is_below_the_bound(layer: ConvLayer, host: bool) -> None:
    fleet = pis(10)
    fleet = replace(fleet, devices=tuple(replace(each, cells=fleet.host.cells) for each in fleet.devices))
    estimator = Estimator(fleet)  # nothing is random: then no draw can be lucky either
    for strips in (1, 2):
        load = cut_load(layer, n=10, k=7, axis=2, strips=strips, transport="f16", reply="f16")
        estimate = estimator.stage(load, agents=9 if host else 10, host=host)
        assert estimate.samples.min() >= estimate.bound_s * 0.999


def test_the_same_question_has_the_same_answer() -> None:
    load = coded_strips(VGG16[3])
    first, again = (Estimator(rig()).stage(load, agents=10, host=True).samples for _ in range(2))
    assert np.array_equal(first, again)


def test_a_late_holder_costs_no_more_than_doing_its_share_again() -> None:
    fleet = pis(10)
    frozen = replace(fleet.devices[3], slowdown=((1.0, 1000.0),))
    held_up = replace(fleet, devices=(*fleet.devices[:3], frozen, *fleet.devices[4:]))
    load = coded_strips(VGG16[5])
    usual = Estimator(fleet).stage(load, agents=10, host=False).mean
    found = Estimator(held_up).stage(load, agents=10, host=False).mean
    assert usual < found < 2.5 * usual
    patient = replace(load, patient=True)
    assert Estimator(held_up).stage(patient, agents=10, host=False).mean > 100 * usual


def test_more_devices_and_a_quicker_network_are_never_slower() -> None:
    load = coded_strips(VGG16[3])
    by_mbit = [Estimator(pis(10, mbit=mbit)).stage(load, agents=10, host=False).mean for mbit in (50, 200, 940)]
    assert by_mbit == sorted(by_mbit, reverse=True)
    by_speed = [Estimator(pis(10, gflops=speed)).stage(load, agents=10, host=False).mean for speed in (5, 10, 30)]
    assert by_speed == sorted(by_speed, reverse=True)


def test_a_rest_is_not_counted_on() -> None:
    fleet = pis(10)
    rested = replace(fleet, devices=tuple(replace(each, task_s=0.008, rest_gain_s=0.007) for each in fleet.devices))
    tired = replace(fleet, devices=tuple(replace(each, task_s=0.008) for each in fleet.devices))
    load = coded_strips(VGG16[6])
    taken = [Estimator(each).stage(load, agents=10, host=False).mean for each in (rested, tired)]
    assert taken[0] == taken[1]


def test_says_what_decides_the_time() -> None:
    early = cut_load(VGG16[0], n=10, k=8, axis=2, strips=5, transport="f32", reply="f32")
    assert Estimator(pis(10)).stage(early, agents=10, host=False).limit == RECEIVING
    wide = conv("wide", 64, 8, 112)
    load = cut_load(wide, n=10, k=8, axis=2, strips=5, transport="f32", reply="f32")
    assert Estimator(pis(10, gflops=1000)).stage(load, agents=10, host=False).limit == SENDING


def test_a_host_that_helps_sends_less_over_the_wire() -> None:
    load = coded_strips(VGG16[5])
    without = Estimator(pis(10)).stage(load, agents=10, host=False)
    helped = Estimator(pis(10)).stage(replace(load, up_pass=load.up_pass), agents=10, host=True)
    assert helped.up < without.up
    assert helped.mean < without.mean


def test_strips_overlap_what_whole_shares_do_one_after_the_other() -> None:
    layer = VGG16[1]
    whole, strips = (
        Estimator(pis(10)).stage(
            cut_load(layer, n=10, k=8, axis=2, strips=strips, transport="f32", reply="f32"), agents=10, host=False
        )
        for strips in (1, 5)
    )
    assert strips.mean < 0.85 * whole.mean


def test_sizes_of_a_share() -> None:
    """By hand: conv1_2 of VGG16, eight pieces of 28 rows in two strips of 14, which read 16 rows."""
    load = cut_load(VGG16[1], n=10, k=8, axis=2, strips=2, transport="f16", reply="f32")
    assert load.needed == 16
    assert load.up == 64 * 16 * 224 * 2
    assert load.down == 64 * 14 * 224 * 4
    assert load.macs == 14 * 224 * 64 * 64 * 9
    assert load.weights == weight_bytes(VGG16[1]) == 64 * 64 * 9 * 4


def test_coded_filters_are_kept_in_part() -> None:
    load = mixed_load(VGG16[8], n=10, k=8, filters=8, transport="f32", reply="f32")
    assert load.weights == weight_bytes(VGG16[8]) // 4
    assert load.macs == pytest.approx(VGG16[8].macs / 8, rel=0.01)


def test_wire_speed_of_the_fixture() -> None:
    assert pis(3).devices[0].send.shift_s > 1 / GIGABIT
