from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from cocoi_cli.planning.fleet_fit import (
    BLOCK_S,
    MANY,
    TASK_S,
    InvalidProfileError,
    LinkNotMeasuredError,
    NothingComputedError,
    NotInProfileError,
    at_speed,
    cells,
    compute_fit,
    device_model,
    first_row_s,
    fleet_model,
    link_fit,
    port_speeds,
)
from cocoi_cli.planning.fleet_model import Cell, HostModel, Phase
from cocoi_cli.planning.profile import (
    Compute,
    Condition,
    Convolution,
    DeviceProfile,
    Link,
    Port,
    Profile,
    Round,
    Samples,
)

RATE = 10e9  # operations per second
HOST = HostModel((Cell(3, 64, 64, 56, 7, Phase(1e-11, 0.0)),), 1e9, 0.0003, 1.1e8, 1.1e8)
HEIGHTS = {
    (3, 64, 64, 224): (4, 14, 28),
    (3, 128, 128, 112): (4, 14),
    (3, 256, 256, 56): (2, 7),
    (3, 512, 512, 14): (2,),
}


def convolution(layer: tuple[int, int, int, int], rows: int, seconds: list[float]) -> Convolution:
    kernel, into, out, width = layer
    return Convolution(*layer, rows, Samples(2 * rows * width * into * out * kernel**2, tuple(seconds)))


def computed(seconds_of, repetitions: int = 12) -> Compute:
    """A grid whose repetitions take what `seconds_of(operations, repetitions)` says."""
    grid = [
        convolution(
            layer, rows, list(seconds_of(2 * rows * layer[3] * layer[1] * layer[2] * layer[0] ** 2, repetitions))
        )
        for layer, heights in HEIGHTS.items()
        for rows in heights
    ]
    return Compute("1.31.1", tuple(grid), 0, {}, {})


def steady(excess: float, seed: int = 0, overhead: float = 0.0):
    """Every repetition is shift-exponential about the same speed."""
    rng = np.random.default_rng(seed)

    def seconds(operations: int, count: int) -> list[float]:
        spread = (1 - excess) + excess * rng.standard_exponential(count)
        return (overhead + operations / RATE * spread).tolist()

    return seconds


def under_quota(period: float = 0.011, part: float = 0.09):
    """A device that may use a part of each period, and computes what it is owed at full speed."""
    owed, done = part * period, 0.0

    def when() -> float:
        """The time at which all that was done is done."""
        periods = max(math.ceil(done / owed) - 1, 0)
        return periods * period + done - periods * owed

    def seconds(operations: int, count: int) -> list[float]:
        nonlocal done
        spent = []
        for _ in range(count):
            began = when()
            done += operations / RATE * part
            spent.append(when() - began)
        return spent

    return seconds


LINK = Link(
    "direct",
    (
        Round((0.0005, 0.0007), Samples(1 << 20, (0.010, 0.011)), Samples(1 << 20, (0.012,))),
        Round((0.0006,), Samples(1 << 19, (0.00525,)), Samples(1 << 20, (0.014, 0.013))),
    ),
)
COOL = Condition("before", 48.5, (), (), "ondemand", 600_000_000)
DEVICE = DeviceProfile(
    "2026-11-21T12:00:00+00:00", "0" * 32, {"memory_bytes": 4 << 30}, (COOL,), None, None, LINK, computed(steady(0.2))
)
HOT = replace(DEVICE, conditions=(COOL, replace(COOL, when="after", throttled=("under-voltage",))))


def profile(**devices: DeviceProfile) -> Profile:
    return Profile("6f1c2a90b3d44e17", "2026-11-21T12:00:00+00:00", "0.1.0", devices)


def test_a_fleet_has_its_devices_in_the_order_that_was_asked_for():
    fleet = fleet_model(profile(a=DEVICE, b=DEVICE, c=DEVICE), HOST, ["c", "a"])
    assert [device.name for device in fleet.devices] == ["c", "a"]
    assert fleet.host == HOST
    assert fleet_model(profile(), HOST, []).devices == ()


def test_a_device_is_what_was_measured_of_it():
    device = device_model("pi-1", DEVICE)
    assert device.rtt_s == 0.0006
    assert device.memory_bytes == 4 << 30
    assert device.task_s == TASK_S
    assert device.slowdown == ((1.0, 1.0),)
    assert device.send.shift_s == pytest.approx(0.010 / (1 << 20))
    assert device.send.mean_s == pytest.approx((0.010 + 0.011 + 2 * 0.00525) / 3 / (1 << 20))
    assert device.receive.shift_s == pytest.approx(0.012 / (1 << 20))


def test_cells_keep_the_mean_of_what_was_measured():
    for each, cell in zip(DEVICE.compute.convolutions, cells(DEVICE.compute), strict=True):
        assert (cell.kernel, cell.width, cell.rows) == (each.kernel, each.width, each.rows)
        assert cell.phase.mean(each.samples.size / 2) == pytest.approx(np.mean(each.samples.seconds))


@pytest.mark.parametrize("excess", [0.05, 0.3, 0.6])
def test_the_spread_is_that_of_the_device(excess):
    # All repetitions are longer than a block.
    compute = computed(lambda operations, count: [20 * s for s in steady(excess, 1)(operations, count)], 40)
    found = compute_fit(compute)
    assert found.phase.mean_s == pytest.approx(1)
    assert found.phase.excess_s == pytest.approx(excess, rel=0.3)
    for cell in cells(compute):
        assert cell.phase.excess_s / cell.phase.mean_s == pytest.approx(found.phase.excess_s)


def test_bursts_do_not_bend_the_speed_and_become_no_noise():
    compute = computed(under_quota())
    small = min(compute.convolutions, key=lambda each: each.samples.size)
    assert np.mean(small.samples.seconds) > 5 * min(small.samples.seconds)  # some are far too fast, others stall
    for each, cell in zip(compute.convolutions, cells(compute), strict=True):
        tolerance = 0.1 if each.samples.size > RATE * 0.02 else 0.35
        assert 2 / cell.phase.mean_s == pytest.approx(RATE, rel=tolerance)
    assert compute_fit(compute).phase.excess_s < 0.35


def test_what_was_repeated_often_tells_the_spread_alone_and_how_long_it_holds():
    often = convolution((3, 256, 256, 56), 7, steady(0.2)(650_000_000, MANY + 480))
    few = [convolution((3, 64, 64, 224), 14, steady(0.9, seed=seed)(400_000_000, 3)) for seed in range(5)]
    compute = Compute("1.31.1", (*few, often), 0, {}, {})
    assert compute_fit(compute).phase.excess_s == pytest.approx(0.2, rel=0.15)
    assert device_model("pi", replace(DEVICE, compute=compute)).steady_s == pytest.approx(0.065, rel=0.1)
    assert device_model("pi", replace(DEVICE, compute=replace(compute, convolutions=tuple(few)))).steady_s == math.inf


def test_the_port_is_as_quick_as_all_devices_together_showed_it_and_no_slower_than_one_of_them():
    model = device_model("pi", DEVICE)
    alone = 1 / model.send.mean_s, 1 / model.receive.mean_s
    alone_only = profile(pi=DEVICE)
    assert port_speeds(alone_only, [model]) == alone
    up, down = (
        Samples(10_000_000, (10_000_000 / rate / factor,)) for rate, factor in zip(alone, (3, 0.5), strict=True)
    )
    assert port_speeds(replace(alone_only, port=Port(4, up, down)), [model]) == pytest.approx((3 * alone[0], alone[1]))


def test_a_host_of_a_given_speed_has_a_devices_proportions():
    measured = cells(DEVICE.compute)
    found = at_speed(measured, 5e9)
    seconds = sum(each.phase.mean(each.macs) for each in found)
    assert 2 * sum(each.macs for each in found) / seconds == pytest.approx(5e9)
    ratios = [ours.phase.mean_s / theirs.phase.mean_s for ours, theirs in zip(found, measured, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))
    assert all(each.phase.excess_s == 0.0 for each in found)


def test_bytes_cost_what_was_measured_and_else_nothing():
    carrying = Samples(1_000_000, (0.008, 0.012))
    laden = device_model("pi", replace(DEVICE, compute=replace(DEVICE.compute, carrying=carrying)))
    assert laden.carrying == pytest.approx(min(2e-8 / (laden.send.mean_s + laden.receive.mean_s), 1.0))
    assert (laden.send, laden.receive) == (device_model("pi", DEVICE).send, device_model("pi", DEVICE).receive)
    assert device_model("pi", DEVICE).carrying == 0.0


@pytest.mark.parametrize("rested_s", [0.001, 0.012])
def test_the_first_share_after_a_rest_costs_what_was_measured_of_it(rested_s):
    tasks, rested = Samples(1, (0.007, 0.009)), Samples(1, (rested_s,))
    found = device_model("pi", replace(DEVICE, compute=replace(DEVICE.compute, tasks=tasks, rested=rested)))
    assert (found.task_s, found.rest_gain_s) == (pytest.approx(0.008), pytest.approx(0.008 - rested_s))
    unknown = device_model("pi", replace(DEVICE, compute=replace(DEVICE.compute, tasks=tasks)))
    assert (unknown.task_s, unknown.rest_gain_s) == (pytest.approx(0.008), 0.0)


def test_a_device_that_never_varies_has_no_excess():
    phase = compute_fit(computed(lambda operations, count: [operations / RATE] * count)).phase
    assert phase.shift_s == pytest.approx(1)
    assert phase.excess_s == pytest.approx(0, abs=1e-9)


def test_one_repetition_each_says_nothing_of_the_spread():
    compute = computed(steady(0.5), 1)
    assert compute_fit(compute).phase == Phase(1.0, 0.0)
    assert all(cell.phase.excess_s == 0 for cell in cells(compute))


def test_repetitions_shorter_than_a_block_serve_where_there_is_nothing_else():
    short = convolution((1, 8, 8, 8), 1, [BLOCK_S / 100, BLOCK_S / 50, BLOCK_S / 80])
    assert compute_fit(Compute("1.31.1", (short,), 0, {}, {})).n == 3


def test_the_cost_of_a_call_is_found_and_taken_out_of_the_speed():
    def seconds(operations: int, count: int) -> list[float]:
        return [0.0015 + operations / RATE] * count

    compute = computed(seconds)
    assert first_row_s(compute) == pytest.approx(0.0015, rel=0.01)
    for cell in cells(compute):
        assert 2 / cell.phase.mean_s == pytest.approx(RATE, rel=0.01)
    assert device_model("pi", replace(DEVICE, compute=compute)).task_s == pytest.approx(TASK_S + 0.0015, rel=0.01)


def test_the_cost_of_a_call_is_not_made_of_noise_bursts_or_two_layers():
    # A slower low strip than high strip gives a line that meets no rows below zero.
    falling = computed(lambda operations, count: [(operations / RATE) ** 1.5] * count)
    assert first_row_s(falling) == 0
    assert first_row_s(computed(under_quota())) < 0.004
    few = computed(lambda operations, count: [0.0015 + operations / RATE] * count)
    assert first_row_s(replace(few, convolutions=few.convolutions[:5])) == 0
    most = computed(lambda operations, count: [1.0 + operations / RATE] * count)
    assert all(cell.phase.mean_s > 0 for cell in cells(most))


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_gives_calls_no_cost(seed):
    assert first_row_s(computed(steady(0.3, seed))) == 0


def test_cells_without_samples_are_left_out():
    compute = replace(DEVICE.compute, convolutions=(*DEVICE.compute.convolutions, convolution((3, 8, 8, 8), 1, [])))
    assert cells(compute) == cells(DEVICE.compute)


def test_a_link_is_fitted_in_its_direction():
    assert link_fit(LINK, "up").n == 3
    assert link_fit(LINK, "down").phase.shift_s == pytest.approx(0.012 / (1 << 20))


@pytest.mark.parametrize("told", [None, "much", True, 0])
def test_memory_that_is_no_number_is_unknown(told):
    assert device_model("pi", replace(DEVICE, facts={"memory_bytes": told})).memory_bytes is None
    assert device_model("pi", replace(DEVICE, facts={})).memory_bytes is None


def test_a_device_that_is_not_in_the_profile_is_refused():
    with pytest.raises(NotInProfileError, match="`pi-9` is not in the profile of fleet `6f1c2a90b3d44e17`") as caught:
        fleet_model(profile(a=DEVICE), HOST, ["a", "pi-9"])
    assert (caught.value.code, caught.value.exit_status, caught.value.details["device"]) == (
        "not-in-profile",
        3,
        "pi-9",
    )


@pytest.mark.parametrize("compute", [None, replace(DEVICE.compute, convolutions=()), computed(lambda *_: [])])
def test_a_device_that_computed_nothing_is_refused(compute):
    with pytest.raises(NothingComputedError, match="measured no convolution"):
        fleet_model(profile(a=replace(DEVICE, compute=compute)), HOST, ["a"])


FIRST = LINK.rounds[0]


@pytest.mark.parametrize(
    ("link", "lacking"),
    [
        (None, "link"),
        (Link("direct", ()), "round trip"),
        (Link("direct", (replace(FIRST, up=Samples(1, ())),)), "transfer to it"),
        (Link("ssh", (replace(FIRST, down=Samples(1, ())),)), "transfer from it"),
    ],
)
def test_a_device_without_a_link_is_refused(link, lacking):
    with pytest.raises(LinkNotMeasuredError, match=f"measured no {lacking}$") as caught:
        fleet_model(profile(a=replace(DEVICE, link=link)), HOST, ["a"])
    assert caught.value.details["lacking"] == lacking


def test_a_device_that_was_throttled_is_refused_unless_that_is_accepted():
    with pytest.raises(InvalidProfileError, match="is not valid: under-voltage after") as caught:
        fleet_model(profile(a=HOT), HOST, ["a"])
    assert caught.value.details["reasons"] == ["under-voltage after"]
    assert fleet_model(profile(a=HOT), HOST, ["a"], accept_throttled=True).devices == (device_model("a", DEVICE),)
