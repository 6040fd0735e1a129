"""The planner: for every layer or run of layers the option that makes the whole inference quickest.

Layers are gone through in their order. The quickest way up to layer j is the quickest way up to some earlier
layer i followed by the best option of what lies between: one layer, or a segment (dynamic programming). For a
quantile that is not exact, since quantiles do not add up; so plans are made for several weights on the
spread of each stage, added up draw by draw, and compared as wholes.

Where the best plan is not clearly quicker than the host alone, everything stays there and the model runs as it
is. Weights that devices have no room for get a price per byte, raised until what is left fits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.model.weights import FLOAT
from cocoi_cli.planning.estimates import Estimator, compute_phase
from cocoi_cli.planning.loads import weight_bytes, whole
from cocoi_cli.planning.options import USABLE, Option, Table
from cocoi_cli.planning.plan import AUTO, FUSED, LOCAL, ConvPlan, Plan, Prediction, SegmentPlan
from cocoi_cli.planning.reasons import kept_reason, milliseconds, option_words, stage_reason
from cocoi_cli.planning.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.model.segments import Segment
    from cocoi_cli.planning.estimates import Times
    from cocoi_cli.planning.fleet_model import DeviceModel, FleetModel

__all__ = ["Decided", "Request", "Step", "decide", "make_plan", "ranked"]

SPREADS: Final = (0.0, 0.25, 0.5, 1.0)  # weights on the spread of a stage that are tried for a quantile
PRICE_STEPS: Final = 24
TIE: Final = 0.99  # a layer leaves the host only for one part in a hundred, at least


@dataclass(frozen=True, slots=True)
class Step:
    """One decision: a layer, or a segment with its layers.

    Attributes:
        layers: The convolutions it covers.
        segment: The segment; None for a single layer.
        option: How it is computed.
        others: The other options of the same layers, the quickest first.
        host_s: Seconds of the layers on the host.
        apart_s: Seconds of the layers one by one, each as is best for it.
    """

    layers: tuple[ConvLayer, ...]
    segment: Segment | None
    option: Option
    others: tuple[Option, ...]
    host_s: float
    apart_s: float


@dataclass(frozen=True, slots=True)
class Decided:
    """A plan with what led to it.

    Attributes:
        plan: The plan.
        steps: Its decisions in order, also where the plan as a whole was not worth it.
        fleet: The devices in the order in which the plan uses them.
        worth: Whether the steps are the plan; False where everything stays on the host although they were found.
        rest_s: Seconds of what is no convolution: a part of every latency.
    """

    plan: Plan
    steps: tuple[Step, ...]
    fleet: FleetModel
    worth: bool
    rest_s: float


def make_plan(layers: Sequence[ConvLayer], segments: Sequence[Segment], fleet: FleetModel, request: Request) -> Plan:
    """The plan for a model on a fleet.

    Args:
        layers: Every convolution in the order of the graph.
        segments: Runs of them that may be computed as one.
        fleet: The devices; a plan uses the quickest first, see `ranked`.
        request: What it is to be good at.
    """
    return decide(layers, segments, fleet, request).plan


def decide(layers: Sequence[ConvLayer], segments: Sequence[Segment], fleet: FleetModel, request: Request) -> Decided:
    """The plan together with every decision and its alternatives; arguments as of `make_plan`."""
    fleet = ranked(fleet, layers)
    estimator = Estimator(fleet)
    table = Table(estimator, request, layers)
    search = _Search(layers, segments, table, request)
    steps = search.best()
    total, local = _objective(steps, table, request), _objective(search.all_local(), table, request)
    prediction = _prediction(layers, fleet, table.rest_s, Prediction(request.objective, total, local, "", None, None))
    worth = any(step.option.candidate for step in steps) and total < (1 - request.gain) * local
    if worth:
        plan = _plan(steps, fleet, request, prediction)
    else:
        plan = _all_local(layers, steps, request, replace(prediction, latency_s=local), total)
    return Decided(plan, tuple(steps), fleet, worth, table.rest_s)


def ranked(fleet: FleetModel, layers: Sequence[ConvLayer]) -> FleetModel:
    """The fleet with its quickest devices first, links included; of equal ones the order stays."""
    count = max(len(fleet.devices), 1)
    moved = sum(FLOAT / 2 * (np.prod(layer.input_shape) + np.prod(layer.output_shape)) for layer in layers)

    def seconds(device: DeviceModel) -> float:
        wire = (device.send.mean(1) + device.receive.mean(1)) / 2 * float(moved)
        fixed = device.mean_slowdown * device.task_s + device.rtt_s
        return (_alone(device, layers) + wire) / count + len(layers) * fixed

    return replace(fleet, devices=tuple(sorted(fleet.devices, key=lambda device: round(seconds(device), 9))))


class _Search:
    """Dynamic programming over the order of the layers."""

    def __init__(
        self, layers: Sequence[ConvLayer], segments: Sequence[Segment], table: Table, request: Request
    ) -> None:
        self._layers, self._table, self._request = tuple(layers), table, request
        allowed = LOCAL in request.schemes
        self._own = [self._choices(layer, local=allowed) for layer in self._layers]
        self._host = _sums(self._table.local(layer).mean for layer in self._layers)
        self._apart = _sums(min(_total(option) for option in options) for options in self._own)
        self._runs = self._find_runs(segments) if FUSED in request.schemes else {}

    def all_local(self) -> list[Step]:
        """Everything on the host."""
        locals_ = [self._table.local(layer) for layer in self._layers]
        return [
            Step((layer,), None, option, (), option.mean, option.mean)
            for layer, option in zip(self._layers, locals_, strict=True)
        ]

    def best(self) -> list[Step]:
        """The decisions that suit the objective best and fit into the devices' memory."""
        weights = (0.0,) if self._request.quantile is None else SPREADS
        found = [self._fitting(spread) for spread in weights]
        return min(found, key=lambda steps: _objective(steps, self._table, self._request))

    def _fitting(self, spread: float) -> list[Step]:
        """The best decisions whose weights fit: the price of a byte rises until they do."""
        steps = self._cheapest(spread, 0.0)
        if self._fits(steps):
            return steps
        held = sum(step.option.weights for step in steps)
        price = sum(step.option.mean for step in steps) / max(held, 1) / 1024
        for _ in range(PRICE_STEPS):
            steps = self._cheapest(spread, price)
            if self._fits(steps):
                break
            price *= 2
        return steps if self._fits(steps) else self.all_local()

    def _cheapest(self, spread: float, price: float) -> list[Step]:
        count = len(self._layers)
        chain: list[Step | None] = [None] * (count + 1)
        reached = [0.0] + [float("inf")] * count
        for end in range(1, count + 1):
            for start, segment, options in self._ending(end):
                option = min(options, key=lambda each: _cost(each, spread, price))
                cost = reached[start] + _cost(option, spread, price)
                if cost < reached[end]:
                    others = tuple(sorted((each for each in options if each is not option), key=_total))
                    reached[end] = cost
                    host_s, apart_s = self._host[end] - self._host[start], self._apart[end] - self._apart[start]
                    chain[end] = Step(self._layers[start:end], segment, option, others, host_s, apart_s)
        steps: list[Step] = []
        end = count
        while end:
            step = chain[end]
            if step is None:  # every layer has an option
                message = f"no way to compute layer {end}"
                raise RuntimeError(message)
            steps.append(step)
            end -= len(step.layers)
        return steps[::-1]

    def _ending(self, end: int) -> list[tuple[int, Segment | None, Sequence[Option]]]:
        """What may come last on the way to `end`: where it starts, the segment, its options."""
        alone: list[tuple[int, Segment | None, Sequence[Option]]] = [(end - 1, None, self._own[end - 1])]
        return alone + [(start, segment, options) for start, segment, options in self._runs.get(end, ())]

    def _find_runs(self, segments: Sequence[Segment]) -> dict[int, list[tuple[int, Segment, Sequence[Option]]]]:
        """By the place behind their last layer: segments whose layers follow one another."""
        place = {layer.name: number for number, layer in enumerate(self._layers)}
        runs: dict[int, list[tuple[int, Segment, Sequence[Option]]]] = {}
        for segment in segments:
            places = sorted(place[name] for name in segment.layers)
            start, end = places[0], places[-1] + 1
            if end - start != len(places):
                continue
            options = self._table.segment(segment, self._layers[start:end], self._apart[end] - self._apart[start])
            if options:
                runs.setdefault(end, []).append((start, segment, options))
        return runs

    def _choices(self, layer: ConvLayer, *, local: bool) -> tuple[Option, ...]:
        options = self._table.layer(layer)
        return options if local or len(options) == 1 else options[1:]

    def _fits(self, steps: Sequence[Step]) -> bool:
        """Whether every device has room for the weights of all that it takes part in, and for one share."""
        for number, room in enumerate(self._table.memory):
            mine = [step.option for step in steps if number < self._table.holders(step.option)]
            working = max((each.candidate.load.working for each in mine if each.candidate is not None), default=0.0)
            if sum(option.weights for option in mine) + working > room:
                return False
        return True


def _total(option: Option) -> float:
    return option.mean + option.spread


def _cost(option: Option, spread: float, price: float) -> float:
    cost = option.mean + spread * option.spread + price * option.weights
    return cost * TIE if option.candidate is None else cost


def _objective(steps: Sequence[Step], table: Table, request: Request) -> float:
    """Seconds of the whole inference: the mean, or the quantile of the sum of independent stages."""
    if not steps:
        return table.rest_s
    if request.quantile is None:
        return table.rest_s + sum(step.option.mean for step in steps)
    rng = np.random.default_rng(len(steps))
    total: Times = sum((step.option.samples[rng.permutation(len(step.option.samples))] for step in steps), np.zeros(1))
    return table.rest_s + float(np.quantile(total, request.quantile))


# --- what is handed out -----------------------------------------------------------------


def _plan(steps: Sequence[Step], fleet: FleetModel, request: Request, prediction: Prediction) -> Plan:
    layers: list[ConvPlan] = []
    segments: list[SegmentPlan] = []
    for step in steps:
        if step.segment is None:
            layers.append(_layer_plan(step, request))
        else:
            segments.append(_segment_plan(step, step.segment))
            layers += [_fused_plan(layer, step.segment, segments[-1]) for layer in step.layers]
    used = [step.option.candidate for step in steps if step.option.candidate is not None]
    largest = max(used, key=lambda each: (each.n, each.k), default=None)
    n, k = (0, 0) if largest is None else (largest.n, largest.k)
    return Plan(
        scheme=AUTO,
        n=n,
        k=k,
        transport=request.transport,
        layers=tuple(layers),
        segments=tuple(segments),
        agents=tuple(device.name for device in fleet.devices),
        prediction=prediction,
    )


def _layer_plan(step: Step, request: Request) -> ConvPlan:
    (layer,), option = step.layers, step.option
    chosen, runner_up = option.candidate, _runner_up(step)
    if chosen is None:
        reason = kept_reason(layer, step.others)
        return _local(layer, request.transport, reason, option.mean, runner_up)
    return ConvPlan(
        layer=layer.name,
        scheme=chosen.scheme,
        n=chosen.n,
        k=chosen.k,
        axis=chosen.axis,
        strips=chosen.strips,
        transport=chosen.transport,
        reason=stage_reason(option, step.host_s),
        reply=chosen.reply,
        host=chosen.host,
        filters=chosen.filters,
        seconds=option.mean,
        runner_up=runner_up,
    )


def _segment_plan(step: Step, segment: Segment) -> SegmentPlan:
    option, chosen = step.option, step.option.candidate
    if chosen is None:  # a segment is only ever an option on agents
        message = f"segment `{segment.name}` on the host"
        raise RuntimeError(message)
    return SegmentPlan(
        name=segment.name,
        layers=tuple(segment.layers),
        input=segment.input,
        output=segment.output,
        tiles=chosen.strips,
        n=chosen.n,
        transport=chosen.transport,
        reason=stage_reason(option, step.host_s),
        reply=chosen.reply,
        host=chosen.host,
        seconds=option.mean,
        runner_up=_runner_up(step),
    )


def _fused_plan(layer: ConvLayer, segment: Segment, planned: SegmentPlan) -> ConvPlan:
    reason = f"inside {segment.name}"
    return ConvPlan(layer.name, FUSED, 0, 0, 0, 0, planned.transport, reason, segment=segment.name)


def _all_local(
    layers: Sequence[ConvLayer], steps: Sequence[Step], request: Request, prediction: Prediction, total: float
) -> Plan:
    """Everything on the host, each layer with its reason."""
    won = 1 - total / prediction.local_s if prediction.local_s > 0 else 0.0
    distributable = any(step.option.candidate for step in steps)
    note = f"agents would win {max(won, 0.0):.0%} in all: not worth it" if distributable else ""
    single = {step.layers[0].name: step for step in steps if step.segment is None}
    decided = []
    for layer in layers:
        step = single.get(layer.name)
        reason = layer.obstacle or note
        if not reason and step is not None:
            reason = kept_reason(layer, step.others)
        decided.append(_local(layer, request.transport, reason, None, ""))
    return Plan(LOCAL, 0, 0, request.transport, tuple(decided), prediction=prediction)


def _local(layer: ConvLayer, transport: str, reason: str, seconds: float | None, runner_up: str) -> ConvPlan:
    return ConvPlan(layer.name, LOCAL, 0, 0, 0, 0, transport, reason, seconds=seconds, runner_up=runner_up)


def _runner_up(step: Step) -> str:
    """The next best option of another kind, else of the same."""
    other = next((each for each in step.others if each.scheme != step.option.scheme), None)
    if step.segment is not None and len(step.layers) > 1 and (other is None or step.apart_s < other.mean):
        return f"layer by layer: {milliseconds(step.apart_s)}"
    other = other or next(iter(step.others), None)
    return "" if other is None else option_words(other)


def _sums(values: Iterable[float]) -> list[float]:
    """Running sums, from 0 on."""
    return [0.0, *itertools.accumulate(values)]


def _prediction(layers: Sequence[ConvLayer], fleet: FleetModel, rest_s: float, found: Prediction) -> Prediction:
    """What is expected of the plan and of what it is to be held against; what follows convolutions is like here."""
    held = sum(weight_bytes(layer) for layer in layers)
    picture = FLOAT * float(np.prod(layers[0].input_shape)) if layers and layers[0].input_shape else 0.0
    alone: dict[str, float] = {}
    for device in fleet.devices:
        if device.memory_bytes is None or held <= USABLE * device.memory_bytes:
            sent = max(device.send.mean(picture), picture / fleet.host.nic_up)
            alone[device.name] = _alone(device, layers) + rest_s + sent + device.rtt_s + device.task_s
    if not alone:
        return found
    name = min(alone, key=lambda each: alone[each])
    turn = max(1 / sum(1 / seconds for seconds in alone.values()), picture / fleet.host.nic_up)
    return replace(found, device=name, device_s=alone[name], round_robin_s=turn)


def _alone(device: DeviceModel, layers: Sequence[ConvLayer]) -> float:
    """Mean seconds of all convolutions on one device."""
    spent = sum(sum(compute_phase(device, whole(layer))) for layer in layers)
    return spent * device.mean_slowdown
