"""Which plan is followed: one that is given and checked, one by rule, or the planner's, kept while it suits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.segments import Segment, find_segments
from cocoi_cli.planning.assumed_fleet import assumed_fleet, assumed_host
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.planning.fleet_model import FleetModel
from cocoi_cli.planning.plan import AUTO
from cocoi_cli.planning.plan_errors import BadPlanValueError
from cocoi_cli.runtime import deciding
from cocoi_cli.runtime.deciding import PARDON, PROBATION, Decider, NoProfileError
from cocoi_cli.runtime.experience import Shown
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.options import Options
from tests.runtime.small_planned import planned_network, rich_plan

NAMES = tuple(f"pi-{number}" for number in range(1, 7))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    model = planned_network(tmp_path_factory.mktemp("model"), "vgg")
    return find_layers(model, {"image": (1, 3, 32, 32)})


@pytest.fixture(scope="module")
def segments(prepared) -> tuple[Segment, ...]:
    return find_segments(prepared)


def fleet(host_flops_per_s: float, devices: int = 6) -> FleetModel:
    host = assumed_host(flops_per_s=host_flops_per_s, bytes_per_s=1e10, pass_bytes_per_s=1e12, task_s=1e-9)
    model = assumed_fleet(devices, flops_per_s=1e8, bytes_per_s=1e10, host=host, task_s=1e-8)
    return replace(
        model,
        devices=tuple(
            replace(device, name=name, rtt_s=1e-7) for name, device in zip(NAMES, model.devices, strict=False)
        ),
    )


SLOW_HOST, QUICK_HOST = fleet(1e7), fleet(1e12)


@pytest.fixture
def made(monkeypatch) -> list[tuple[str, ...]]:
    """The devices of each plan that the planner has made."""
    calls: list[tuple[str, ...]] = []
    planner = deciding.make_plan

    def counted(layers, segments, model, request):
        calls.append(tuple(device.name for device in model.devices))
        return planner(layers, segments, model, request)

    monkeypatch.setattr(deciding, "make_plan", counted)
    return calls


@pytest.fixture
def slowdowns(monkeypatch, made) -> list[set[tuple[tuple[float, float], ...]]]:
    """How devices were slowed down for each plan that the planner has made."""
    calls: list[set[tuple[tuple[float, float], ...]]] = []
    planner = deciding.make_plan

    def noted(layers, segments, model, request):
        calls.append({device.slowdown for device in model.devices})
        return planner(layers, segments, model, request)

    monkeypatch.setattr(deciding, "make_plan", noted)
    return calls


@pytest.fixture
def decide(prepared, segments, made):
    """Decide with one and the same decider for each fleet model."""
    deciders: dict[int, Decider] = {}

    def of(living, model=SLOW_HOST, slow=None, spread=(), **options):
        decider = deciders.setdefault(id(model), Decider(model))
        chosen = Options(**({"scheme": AUTO} | options))
        return decider.decide(prepared, lambda: segments, chosen, tuple(living), shown=Shown(slow or {}, spread))

    return of


# --- the planner --------------------------------------------------------------------------------


def test_the_planner_is_asked_once_while_nothing_changes(decide, made) -> None:
    first = decide(NAMES)
    assert not first.is_local
    assert all(decide(NAMES) is first for _ in range(5))
    assert made == [NAMES]


def needed(plan) -> int:
    return max([1, *(layer.k - layer.host for layer in plan.layers if layer.distributed)])


def test_a_plan_is_kept_while_one_more_than_it_needs_live(decide, made) -> None:
    first = decide(NAMES)
    for living in range(5, 0, -1):
        again = decide(NAMES[:living])
        assert (again is first) == (living > needed(first))
        if again is not first:
            break
    assert made[0] == NAMES
    assert len(made) == 2


def test_a_plan_is_made_anew_without_an_agent_that_has_become_slow(decide, made) -> None:
    slow = {NAMES[0]: 30.0}
    first = decide(NAMES)
    assert decide(NAMES, slow=slow) is first  # not at once: it may pass
    second = decide(NAMES, slow=slow)
    assert second is not first
    assert NAMES[0] in first.agents
    assert second.agents[-1] == NAMES[0] or NAMES[0] not in second.agents
    assert all(decide(NAMES, slow={NAMES[0]: factor}) is second for factor in (25.0, 30.0, 40.0))
    assert len(made) == 2


def test_an_agent_that_is_slow_now_and_then_costs_ever_fewer_plans(decide, made) -> None:
    for number in range(100):
        decide(NAMES, slow={NAMES[0]: 30.0} if number % 2 else {})
    assert len(made) <= 2 + (100).bit_length()


def test_slow_agents_that_nobody_asks_are_trusted_again_after_a_while(decide, made) -> None:
    """They stay on record as slow, for a plan that does without them learns nothing new."""
    slow = {NAMES[0]: 30.0}
    first = decide(NAMES)
    decide(NAMES, slow=slow)
    without = decide(NAMES, slow=slow)
    assert [decide(NAMES, slow=slow) for _ in range(PARDON - 1)] == [without] * (PARDON - 1)
    pardoned = decide(NAMES, slow=slow)
    assert pardoned == first
    assert [decide(NAMES, slow=slow) is pardoned for _ in range(PROBATION - 1)] == [True] * (PROBATION - 1)
    assert decide(NAMES, slow=slow) == without  # nothing has become better
    assert len(made) == 4
    assert [decide(NAMES, slow=slow) == without for _ in range(2 * PARDON - 1)] == [True] * (2 * PARDON - 1)
    recovered = decide(NAMES, slow=slow)
    assert recovered == first
    assert [decide(NAMES) is recovered for _ in range(9 * PARDON)] == [True] * 9 * PARDON  # its shares were quick
    assert len(made) == 5


WIDE, CALM = (1.0, 1.2, 1.4, 1.7, 2.5), (1.0, 1.1, 1.2, 1.3, 1.5)


def test_a_plan_is_made_anew_where_shares_of_all_agents_vary(decide, made, slowdowns) -> None:
    first = decide(NAMES, spread=CALM)
    assert decide(NAMES, spread=WIDE) is first  # not at once: it may pass
    second = decide(NAMES, spread=WIDE)
    assert second is not first
    assert slowdowns[0] == {((1.0, 1.0),)}
    assert slowdowns[1] == {tuple((0.2, factor) for factor in WIDE)}
    assert second.prediction.latency_s > first.prediction.latency_s
    assert all(decide(NAMES, spread=spread) is second for spread in (WIDE, (), WIDE) * 3)
    assert [decide(NAMES, spread=CALM) == first for _ in range(2)] == [True, True]
    assert len(made) == 3


def test_the_plan_before_is_tried_beside_one_that_counts_on_how_agents_vary(prepared, segments) -> None:
    decider = Decider(SLOW_HOST)

    def decide(spread, took_s):
        plan = decider.decide(prepared, lambda: segments, Options(scheme=AUTO), NAMES, shown=Shown({}, spread))
        decider.took(plan, took_s(plan))
        return plan

    first, *_ = [decide(CALM, lambda _: 1.0) for _ in range(10)]
    later = [decide(WIDE, lambda plan: 1.0 if plan is first else 2.0) for _ in range(40)]
    assert later[0] is not first
    assert all(plan is first for plan in later[30:])


def test_agents_that_are_slow_vary_like_the_others(decide, slowdowns) -> None:
    decide(NAMES, spread=WIDE, slow={NAMES[0]: 2.0})
    varying = tuple((0.2, factor) for factor in WIDE)
    assert slowdowns == [{varying, tuple((0.2, 2 * factor) for factor in WIDE)}]


def test_that_agents_vary_alone_is_no_reason_to_do_without_them(decide, slowdowns) -> None:
    """What a planner foresees of it is too late; inferences decide between such a plan and this machine alone."""
    wild = (1.0, 10.0, 1e3, 1e4, 1e5)
    assert decide(NAMES, spread=wild) == decide(NAMES, spread=wild)
    assert [len(each) for each in slowdowns] == [1, 1]
    assert slowdowns[1] == {((1.0, 1.0),)}
    assert not decide(NAMES, spread=wild).is_local


def test_a_plan_that_took_far_longer_than_foreseen_is_made_anew_with_slower_devices(prepared, segments, made) -> None:
    decider = Decider(SLOW_HOST)
    first = None
    for _ in range(40):
        plan = decider.decide(prepared, lambda: segments, Options(scheme=AUTO), NAMES)
        first = first or plan
        decider.took(plan, 1.0 if plan.is_local else 1e4 * plan.prediction.latency_s)
    assert len(made) == 2
    assert not first.is_local
    assert plan.is_local


def test_what_inferences_took_longer_by_is_not_counted_twice(prepared, segments, slowdowns) -> None:
    """Agents vary since the plan was made; what it took is what they took with that."""
    decider = Decider(SLOW_HOST)

    def follow(spread: tuple[float, ...], longer: float) -> None:
        plan = decider.decide(prepared, lambda: segments, Options(scheme=AUTO), NAMES, shown=Shown({}, spread))
        decider.took(plan, longer * plan.prediction.latency_s)

    # Each change makes the next plan wait longer; the last one comes when it is still too soon for another plan.
    for spread, times in ((CALM, 2), (WIDE, 4), (CALM, 5), (WIDE, 1)):
        for _ in range(times):
            follow(spread, 2.0)
    calm, wide = ((1.0, 1.0),), tuple((0.2, factor) for factor in WIDE)
    assert slowdowns[:3] == [{calm}, {wide}, {calm}]
    (((share, factor),),) = slowdowns[3]
    assert (share, factor) == (1.0, pytest.approx(2.0))


def test_a_plan_that_is_slower_than_this_machine_alone_is_left(prepared, segments) -> None:
    decider = Decider(SLOW_HOST)
    alone_s = 1e6
    for _ in range(40):
        plan = decider.decide(prepared, lambda: segments, Options(scheme=AUTO), NAMES, alone_s)
        decider.took(plan, alone_s if plan.is_local else 2 * alone_s)
    assert plan.is_local
    assert plan.layers[0].reason


def test_a_plan_is_made_anew_when_somebody_comes_back(decide, made) -> None:
    small = decide(NAMES[:3])
    large = decide(NAMES)
    assert small is not large
    assert made == [NAMES[:3], NAMES]


def test_when_all_stays_on_the_host_the_planner_is_not_asked_at_every_inference(decide, made) -> None:
    first = decide(NAMES, QUICK_HOST)
    assert first.is_local
    for living in (NAMES, NAMES[:4], (), NAMES):
        assert decide(living, QUICK_HOST) is first
    assert made == [NAMES]


def test_a_device_that_was_not_measured_does_not_have_the_planner_asked_again(decide, made) -> None:
    first = decide((*NAMES, "pi-new"))
    assert decide((*NAMES, "pi-new")) is first
    assert decide(NAMES) is first
    assert made == [NAMES]


def test_with_nobody_up_everything_stays_on_the_host(decide) -> None:
    assert decide(()).is_local
    assert decide(("pi-new",)).is_local


def test_without_fallback_somebody_must_be_up(decide) -> None:
    with pytest.raises(NoAgentsError):
        decide((), fallback=False)


def test_other_wishes_have_plans_of_their_own(decide, made) -> None:
    decide(NAMES)
    alone = decide(NAMES, host=False)
    assert not alone.uses_host
    assert decide(NAMES, transport="f32").transport == "f32"
    decide(NAMES)
    assert len(made) == 3


def test_without_measurements_the_planner_cannot_be_asked(prepared, segments) -> None:
    with pytest.raises(NoProfileError):
        Decider(None).decide(prepared, lambda: segments, Options(scheme=AUTO), NAMES)


# --- by rule ------------------------------------------------------------------------------------


def test_a_scheme_is_obeyed_without_looking_for_segments(prepared) -> None:
    def never():
        raise AssertionError

    decider = Decider(SLOW_HOST)
    plan = decider.decide(prepared, never, Options(scheme="coded", k=3), NAMES)
    assert {(layer.n, layer.k) for layer in plan.layers if layer.distributed} == {(6, 3)}
    assert decider.decide(prepared, never, Options(scheme="local"), NAMES).is_local
    assert decider.decide(prepared, never, Options(scheme="coded"), ()).is_local
    with pytest.raises(NoAgentsError):
        decider.decide(prepared, never, Options(scheme="coded", fallback=False), ())
    with pytest.raises(TooFewAgentsError):
        decider.decide(prepared, never, Options(scheme="coded", n=7), NAMES)


# --- a plan that is given -----------------------------------------------------------------------


def test_a_plan_that_is_given_is_followed(prepared, decide, made) -> None:
    plan = rich_plan(prepared, "vgg", n=4)
    for living in (NAMES, NAMES[:4], NAMES[:1]):
        assert decide(living, plan=plan) is plan
        assert decide(living, plan=plan, fallback=False) is plan
    assert made == []


def test_a_plan_that_is_given_stays_on_the_host_where_nobody_is_up(prepared, decide) -> None:
    plan = rich_plan(prepared, "vgg", n=4)
    found = decide((), plan=plan)
    assert found.is_local
    assert {layer.reason for layer in found.layers if layer.scheme == "local"} >= {"no agent is live"}
    with pytest.raises(TooFewAgentsError):
        decide((), plan=plan, fallback=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: replace(plan, layers=plan.layers[1:]),
        lambda plan: replace(plan, segments=()),
        lambda plan: replace(plan, layers=(*plan.layers, replace(plan.layers[-1], layer="nowhere"))),
        lambda plan: replace(plan, layers=tuple(replace(each, scheme="magic") for each in plan.layers)),
        lambda plan: replace(plan, segments=(replace(plan.segments[0], tiles=1000),)),
        lambda plan: replace(plan, segments=(replace(plan.segments[0], output="logits"),)),
        lambda plan: replace(plan, layers=tuple(replace(each, k=each.n + 1) for each in plan.layers)),
    ],
)
@pytest.mark.parametrize("living", [NAMES, ()])
def test_a_plan_that_cannot_be_obeyed_is_refused(prepared, decide, change, living) -> None:
    with pytest.raises(BadPlanValueError):
        decide(living, plan=change(rich_plan(prepared, "vgg", n=4)))
