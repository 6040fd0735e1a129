"""The simulation against hand-computed cases, conservation laws, order statistics, and published tables."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.distributions import ShiftExponential
from cocoi_cli.planning.estimates import BESIDE
from cocoi_cli.planning.fleet_model import DeviceModel, FleetModel, HostModel, Phase
from cocoi_cli.planning.loads import FINISH_PASSES
from cocoi_cli.planning.order_statistics import kth_arrival
from cocoi_cli.planning.plan import ConvPlan, Plan
from cocoi_cli.planning.profile import REST_S
from cocoi_cli.runtime import host_share
from cocoi_cli.runtime.options import Options
from cocoi_cli.simulation.baselines import local_seconds, single_device
from cocoi_cli.simulation.costs import summed
from cocoi_cli.simulation.engine import DEADLINE_S, HOST, simulate
from cocoi_cli.simulation.results import Result
from cocoi_cli.simulation.shapes import LocalShape, SharedShape, StageShape
from cocoi_cli.simulation.shelf import Casualties
from cocoi_cli.simulation.straggling import NONE, Bimodal, Dead, Dying, Exponential, Slow, Straggling
from cocoi_cli.simulation.waves import chain_shapes
from tests.simulation.fleets import device, fleet, host
from tests.simulation.networks import conv, vgg16

EXP = Straggling("exp:0.5", (Exponential(0.5),))
TWO_SLOW = Straggling("slow:2x3", slow=(Slow(2, 3.0),))
LAYER = conv("conv", 64, 64, 56)
BYTES_PER_S = 940e6 / 8


def planned(layers, scheme: str, n: int, k: int, strips: int = 1, transport: str = "f32", *, own: bool = False) -> Plan:
    decided = tuple(ConvPlan(layer.name, scheme, n, k, 2, strips, transport, "", host=own) for layer in layers)
    return Plan(scheme, n, k, transport, decided)


def shared(layers, plan: Plan) -> tuple[StageShape, ...]:
    """The distributed stages alone: what the host does between them is left out."""
    return tuple(stage for stage in chain_shapes(layers, plan) if isinstance(stage, SharedShape))


def without_host_cost(devices: int = 1, **each: float) -> FleetModel:
    return FleetModel(fleet(devices, **each).devices, host(passes=1e30))


# --- small cases by hand ------------------------------------------------------------------


def test_one_device_does_one_thing_after_another():
    plan = planned([LAYER], "uncoded", 1, 1)
    (stage,) = shared([LAYER], plan)
    (sizes,) = stage.strips
    out, back = 64 * 58 * 56 * 4, 64 * 56 * 56 * 4  # a row of zeros above and below
    assert (sizes.bytes_out, sizes.bytes_in) == (out, back)
    compute = 2 * 64 * 56 * 56 * 64 * 9 / 10e9
    found = simulate(plan, [stage], without_host_cost(), inferences=2)
    expected = out / BYTES_PER_S + 0.001 + 0.001 + compute + back / BYTES_PER_S  # round trip, fixed cost of a share
    assert found.latencies_s == pytest.approx([expected, expected])
    assert found.stages[0].walls_s == pytest.approx([expected, expected])
    assert (found.bytes_out, found.bytes_in) == (out, back)


def test_a_device_that_has_rested_begins_quicker():
    """In full at first, and in proportion to the time since its last share for the second of two layers."""
    layers = [LAYER, replace(LAYER, name="next")]
    plan = planned(layers, "uncoded", 1, 1)
    stages = shared(layers, plan)
    tired = FleetModel(fleet(1, task_s=0.008).devices, host(passes=1e30))
    fresh = replace(tired, devices=(replace(tired.devices[0], rest_gain_s=0.006),))
    out, back = 64 * 58 * 56 * 4, 64 * 56 * 56 * 4
    idle_s = back / BYTES_PER_S + 0.001 + out / BYTES_PER_S  # both ways, and half a round trip for each
    assert idle_s < REST_S
    (slow,) = simulate(plan, stages, tired, inferences=1).latencies_s
    assert simulate(plan, stages, fresh, inferences=1).latencies_s == pytest.approx(
        [slow - 0.006 - 0.006 * idle_s / REST_S]
    )


def test_the_hosts_part_of_one_share_is_added():
    plan = planned([LAYER], "uncoded", 1, 1)
    stages = shared([LAYER], plan)
    free = simulate(plan, stages, without_host_cost(), inferences=1).mean_s
    paid = FleetModel(fleet(1).devices, host(passes=2e9, task_s=0.004))
    out, back = 64 * 58 * 56 * 4, 64 * 56 * 56 * 4
    # Cut, and twice over what is sent; twice over what is received, and joined with a bias; float32 is not cast.
    passes = out + 2 * out + 2 * back + FINISH_PASSES[LAYER.behind] * back
    found = simulate(plan, stages, paid, inferences=1)
    assert found.mean_s == pytest.approx(free + 0.004 + passes / 2e9)
    assert found.host_s == pytest.approx(0.004 + passes / 2e9)


def test_devices_share_the_hosts_port_each_way():
    """Whole shares of equal pieces, the round trip and the fixed cost left out: both ports are queues."""
    n, plan = 4, planned([LAYER], "uncoded", 4, 4)
    (stage,) = shared([LAYER], plan)
    (sizes,) = stage.strips
    up, down = sizes.bytes_out / BYTES_PER_S, sizes.bytes_in / BYTES_PER_S
    compute = summed(device("one"), sizes.slices).mean_s
    free = 0.0
    for number in range(n):  # the twin: the i-th share leaves after i others, answers queue again
        free = max(free, (number + 1) * up + compute) + down
    found = simulate(plan, [stage], without_host_cost(n, rtt_s=0.0, task_s=0.0), inferences=1)
    assert found.mean_s == pytest.approx(free)


def test_a_link_that_is_slower_than_the_port_decides():
    plan = planned([LAYER], "uncoded", 2, 2)
    (stage,) = shared([LAYER], plan)
    (sizes,) = stage.strips
    slow, fast = device("slow", mbit=94, rtt_s=0, task_s=0), device("fast", rtt_s=0, task_s=0)
    compute = summed(fast, sizes.slices).mean_s
    found = simulate(plan, [stage], FleetModel((slow, fast), host(passes=1e30)), inferences=1)
    assert found.mean_s == pytest.approx(10 * (sizes.bytes_out + sizes.bytes_in) / BYTES_PER_S + compute)


def test_local_stages_take_their_convolutions_and_passes():
    stage = LocalShape("local", chain_shapes([LAYER], planned([LAYER], "local", 0, 0))[0].slices, 3e9)
    found = simulate(planned([LAYER], "local", 0, 0), [stage], fleet(2), inferences=3)
    seconds = 2 * LAYER.macs / 10e9 + 3e9 / 5e9
    assert found.latencies_s == pytest.approx([seconds] * 3)
    assert local_seconds(stage, host()) == pytest.approx(seconds)
    assert found.local_s == pytest.approx(3 * seconds)


def test_the_unmodified_model_on_one_device():
    stage = LocalShape("whole", chain_shapes([LAYER], planned([LAYER], "local", 0, 0))[0].slices, 0.0)
    models = FleetModel((device("pi1"), device("pi2", gflops=20), device("pi3")), host())
    wrong = Straggling("", slow=(Slow(("pi1",), 4.0),), dead=(Dead(("pi3",)),))
    found = single_device(stage, models, wrong, picture_bytes=1000, inferences=2)
    compute = 2 * LAYER.macs / 10e9
    around = 0.001 + (1000 + 4) / BYTES_PER_S
    assert set(found) == {"pi1", "pi2"}
    assert found["pi1"] == pytest.approx([around + 4 * (compute + 0.001)] * 2)
    assert found["pi2"] == pytest.approx([around + compute / 2 + 0.001] * 2)


# --- what holds always ---------------------------------------------------------------------

CASES = [
    ("uncoded", 10, 10, NONE), ("uncoded", 10, 10, EXP), ("coded", 10, 8, EXP), ("coded", 10, 7, TWO_SLOW),
    ("replication", 10, 5, EXP), ("hedged", 10, 1, TWO_SLOW), ("lt", 10, 10, EXP), ("cocoi", 10, 8, EXP),
    ("fcdcc", 10, 4, EXP), ("coded", 10, 8, Straggling("", (Bimodal(),), dead=(Dead(2),))),
]  # fmt: skip


def run(scheme: str, n: int, k: int, straggling: Straggling, inferences: int = 3, **options) -> tuple[Plan, Result]:
    layers = vgg16()[2:6]
    plan = default_plan(layers, agents=n - len(gone(n, straggling)), scheme=scheme, n=None, k=k, transport="f16")
    stages, models = chain_shapes(layers, plan), fleet(n, noise=0.1)
    return plan, simulate(plan, stages, models, straggling, inferences=inferences, **options)


def gone(n: int, straggling: Straggling) -> frozenset[int]:
    return Casualties(straggling, [f"device-{number + 1}" for number in range(n)], 1).dead


@pytest.mark.parametrize(("scheme", "n", "k", "straggling"), CASES)
def test_work_is_conserved(scheme: str, n: int, k: int, straggling: Straggling):
    plan, found = run(scheme, n, k, straggling)
    stages = chain_shapes(vgg16()[2:6], plan)
    needed = sum(stage.code.needed * len(stage.strips) for stage in stages if isinstance(stage, SharedShape))
    assert sum(agent.used for agent in found.agents) >= 3 * needed
    assert found.rescued == 0
    share = {stage.strips[0].bytes_out for stage in stages if isinstance(stage, SharedShape)}
    sent = sum(agent.used + agent.late + agent.dropped for agent in found.agents)
    answered = sum(agent.used + agent.late for agent in found.agents)
    # Every share that was sent was answered or dropped, and all bytes belong to shares.
    assert min(share) * sent <= 3 * found.bytes_out * 1.01
    assert answered > 0
    assert found.wasted == pytest.approx(
        sum(agent.wasted_s for agent in found.agents) / sum(agent.used_s + agent.wasted_s for agent in found.agents)
    )
    if scheme == "uncoded":
        assert sum(agent.late for agent in found.agents) == 0


@pytest.mark.parametrize(("scheme", "n", "k", "straggling"), CASES)
def test_no_device_computes_two_things_at_once_and_stages_follow_each_other(scheme, n, k, straggling):
    _, found = run(scheme, n, k, straggling, inferences=2, spans=True)
    lanes: dict[str, list[tuple[float, float]]] = {}
    for span in found.spans:
        if span.kind in ("used", "late"):
            lanes.setdefault(span.lane, []).append((span.start_s, span.end_s))
    assert lanes
    for spans in lanes.values():
        ordered = sorted(spans)
        assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(ordered))
    serial = sorted((s.start_s, s.end_s) for s in found.spans if s.lane == "host" and s.kind != "local")
    assert all(before[1] <= after[0] + 1e-9 for before, after in itertools.pairwise(serial))
    walls = [sum(stage.walls_s[number] for stage in found.stages) for number in range(2)]
    assert walls == pytest.approx(list(found.latencies_s))


def test_the_same_seed_gives_the_same_result_and_another_one_does_not():
    first, again, other = (run("coded", 10, 8, EXP, seed=seed)[1] for seed in (1, 1, 2))
    assert first == again
    assert first.latencies_s != other.latencies_s


def test_schemes_meet_the_same_luck():
    """With k = 1 and n = 1 there is nothing to choose: two schemes must take exactly as long."""
    plans = [planned(vgg16()[2:6], scheme, 1, 1, transport="f32") for scheme in ("uncoded", "replication", "hedged")]
    found = [
        simulate(plan, shared(vgg16()[2:6], plan), fleet(1, noise=0.2), EXP, inferences=4).latencies_s for plan in plans
    ]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) == 4


def test_late_work_holds_its_device_into_the_next_inference():
    """Two copies of one share, one device 40 times slower: its first is still computed in the next inferences."""
    models = FleetModel((device("quick"), device("slow", gflops=0.25)), host())
    plan = planned([LAYER], "cocoi", 2, 1)  # eager: both are asked at once
    found = simulate(plan, shared([LAYER], plan), models, inferences=12)
    quick, slow = found.agents
    assert quick.used == 12
    assert slow.used == 0
    assert 1 <= slow.late + slow.dropped < 6


def test_the_hosts_own_share_needs_no_wire():
    layers, plan = [LAYER], planned([LAYER], "uncoded", 3, 3, own=True)
    found = simulate(plan, shared(layers, plan), fleet(2), inferences=4)
    assert [agent.name for agent in found.agents] == ["device-1", "device-2", "host"]
    assert [agent.used for agent in found.agents] == [4, 4, 4]
    assert (found.agents[2].bytes_out, found.agents[2].bytes_in) == (0, 0)
    (sizes,) = {strip for stage in shared(layers, plan) for strip in stage.strips}
    assert found.bytes_out == 2 * sizes.bytes_out
    assert found.local_s == pytest.approx(4 * BESIDE * summed(host(), sizes.slices).mean_s)


# --- devices that die --------------------------------------------------------------------------


def test_a_dead_device_that_is_known_gets_nothing():
    _, found = run("coded", 10, 8, Straggling("", dead=(Dead(("device-3",)),)))
    assert found.agents[2].name == "device-3"
    assert (found.agents[2].used, found.agents[2].bytes_out) == (0, 0)


@pytest.mark.parametrize("scheme", ["uncoded", "coded", "hedged"])
@pytest.mark.parametrize("noticed_s", [0.001, 9.0])
def test_inferences_survive_a_device_that_dies(scheme: str, noticed_s: float):
    dying = Straggling("", dying=(Dying(("device-2",), 0.05, noticed_s),))
    k = {"uncoded": 10, "coded": 8, "hedged": 1}[scheme]
    _, found = run(scheme, 10, k, dying, inferences=5)
    _, healthy = run(scheme, 10, k, NONE, inferences=5)
    assert len(found.latencies_s) == 5
    assert found.agents[1].used < healthy.agents[1].used
    if scheme == "uncoded":  # it is waited for until it is lost or hopeless, and then sent again
        assert max(found.latencies_s) > max(healthy.latencies_s)
    assert found.latencies_s[-1] < 1.5 * healthy.latencies_s[-1]


def test_where_all_devices_die_the_host_computes():
    everybody = Straggling("", dying=(Dying(3, 0.01, 0.001),))
    plan = planned([LAYER], "uncoded", 3, 3)
    found = simulate(plan, shared([LAYER], plan), fleet(3), everybody, inferences=2)
    assert len(found.latencies_s) == 2
    assert found.rescued >= 3


def test_a_frozen_fleet_does_not_hang():
    frozen = Straggling("", dying=(Dying(3, 0.001, 1e6),))  # nobody ever notices
    plan = planned([LAYER], "uncoded", 3, 3)
    found = simulate(plan, shared([LAYER], plan), fleet(3), frozen, inferences=1, deadline_s=2.0)
    assert found.rescued == 3
    assert found.mean_s == pytest.approx(2.0, abs=0.2)


# --- against what is known from elsewhere ---------------------------------------------------


def no_network(devices: tuple[DeviceModel, ...]) -> FleetModel:
    wire = Phase(0.0, 0.0)
    free = tuple(replace(each, send=wire, receive=wire, rtt_s=0.0, task_s=0.0) for each in devices)
    return FleetModel(free, HostModel(host().cells, 1e30, 0.0, 1e30, 1e30))


EQUAL, UNEQUAL = (10.0,) * 10, (5.0, 6.0, 8.0, 8.0, 10.0, 10.0, 10.0, 12.0, 15.0, 30.0)


@pytest.mark.parametrize(("k", "speeds"), [(8, EQUAL), (10, EQUAL), (5, UNEQUAL), (8, UNEQUAL)])
def test_whole_shares_without_a_network_arrive_as_order_statistics_say(k: int, speeds: tuple[float, ...]):
    fleet_model = no_network(tuple(device(f"d{at}", gflops=each, noise=0.5) for at, each in enumerate(speeds)))
    layer = conv("conv", 64, 64, 40, kernel=1)
    plan = planned([layer], "cocoi", 10, k)  # all shares are sent at once
    stages = shared([layer], plan)
    phases = [summed(each, stages[0].strips[0].slices) for each in fleet_model.devices]
    expected = kth_arrival([ShiftExponential.of(phase, 1.0) for phase in phases], k)
    # One inference per seed: in a row, the late shares of one would hold devices in the next.
    runs = [simulate(plan, stages, fleet_model, seed=seed, inferences=1).mean_s for seed in range(300)]
    assert sum(runs) / len(runs) == pytest.approx(expected, rel=0.02)


def as_published() -> tuple[FleetModel, tuple]:
    """Ten devices of 10 GFLOP/s behind 940 Mbit/s, docs/methods.md: 1 ms a share, nothing else on the host."""
    return fleet(10), vgg16()


def table(scheme: str, k: int, transport: str, straggling: Straggling, strips: int | None = None) -> float:
    models, layers = as_published()
    dead = len(gone(10, straggling))
    plan = default_plan(
        layers, agents=10 - (dead if scheme == "uncoded" else 0), scheme=scheme, n=None, k=k, transport=transport,
        strips=strips,
    )  # fmt: skip
    # The first layer is quicker on the host.
    decided = (replace(plan.layers[0], scheme="local"), *plan.layers[1:])
    plan = replace(plan, layers=decided)
    return simulate(plan, chain_shapes(layers, plan), models, straggling, inferences=12).mean_s


PUBLISHED = [("none", NONE, 0.908), ("exp", EXP, 1.255), ("two slow", TWO_SLOW, 1.438),
             ("one dead", Straggling("", dead=(Dead(1),)), 0.969)]  # fmt: skip


@pytest.mark.parametrize(("name", "straggling", "seconds"), PUBLISHED, ids=[each[0] for each in PUBLISHED])
def test_uncoded_whole_tensors_take_what_an_independent_simulation_found(name, straggling, seconds):
    k = 9 if straggling.dead else 10
    assert table("uncoded", k, "f32", straggling, strips=1) == pytest.approx(seconds, rel=0.08)


# Coded float16 strips over uncoded float32 whole tensors, as measured on emulated devices with pulled strips (k = 7).
MEASURED = [("none", NONE, 0.64), ("exp", EXP, 0.62), ("two slow", TWO_SLOW, 0.44)]


@pytest.mark.parametrize(("name", "straggling", "ratio"), MEASURED, ids=[each[0] for each in MEASURED])
def test_coded_strips_save_what_they_saved_on_emulated_devices(name, straggling, ratio):
    coded = min(table("coded", k, "f16", straggling) for k in (7, 8))
    assert coded / table("uncoded", 10, "f32", straggling, strips=1) == pytest.approx(ratio, abs=0.10)


def test_a_thousand_devices():
    layers = vgg16()[2:5]
    plan = default_plan(layers, agents=1000, scheme="hedged", n=None, k=None, transport="f16")
    found = simulate(plan, chain_shapes(layers, plan), fleet(1000), EXP, inferences=1)
    assert len(found.agents) == 1000
    assert 0 < found.mean_s < 5


def test_no_inference_is_refused():
    plan = planned([LAYER], "uncoded", 1, 1)
    with pytest.raises(ValueError, match="at least 1"):
        simulate(plan, shared([LAYER], plan), fleet(1), inferences=0)


def test_names_and_habits_are_those_of_the_real_coordinator():
    assert (host_share.HOST, Options().deadline_s) == (HOST, DEADLINE_S)
