"""The options of every layer and segment with what each is expected to take: the table that a planner chooses from.

Layers of one geometry have the same options, so each geometry is gone through once. Candidates whose bound is
above what another one takes are not followed further.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from cocoi_cli.planning.candidates import (
    CHOICES,
    FRUGAL,
    LARGE,
    Candidate,
    Members,
    device_counts,
    frugal_candidates,
    layer_candidates,
    segment_candidates,
    with_members,
    with_types,
)
from cocoi_cli.planning.defaults import SMALLEST_MACS
from cocoi_cli.planning.estimates import COMPUTE, compute_phase
from cocoi_cli.planning.loads import FIRST_AXIS, weight_bytes, whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.model.segments import Segment
    from cocoi_cli.planning.estimates import Estimate, Estimator, Times
    from cocoi_cli.planning.fleet_model import DeviceModel
    from cocoi_cli.planning.loads import Load
    from cocoi_cli.planning.request import Request

KEPT: Final = 24  # options of a layer or segment, the quickest first
SLOW: Final = 1.5  # times as slow as the quickest device: then the host, or another device, may be in the way
REFINED: Final = 3  # of them are tried with other types on the wire
SLACK: Final = 1.0  # candidates are followed while their bound is below so many times the best
USABLE: Final = 0.5  # of a device's memory: the rest is the system's, the agent's and ONNX Runtime's
PAIRS: Final = (("f16", "f32"), ("f32", "f32"))


@dataclass(frozen=True, slots=True)
class Option:
    """One way to compute a layer or segment.

    Attributes:
        candidate: How on agents; None for the host alone.
        samples: Seconds for each draw.
        estimate: More about it; None for the host alone.
        mean: Seconds.
        spread: What the objective's quantile is above the mean; 0 where the mean itself is the objective.
    """

    candidate: Candidate | None
    samples: Times = field(repr=False)
    estimate: Estimate | None
    mean: float
    spread: float

    @property
    def weights(self) -> int:
        """Bytes that each agent must hold."""
        return 0 if self.candidate is None else self.candidate.load.weights

    @property
    def scheme(self) -> str:
        """`local`, `fused`, or the code family."""
        return "local" if self.candidate is None else self.candidate.scheme


class Table:
    """Options by geometry, for one fleet and request."""

    def __init__(self, estimator: Estimator, request: Request, layers: Sequence[ConvLayer]) -> None:
        self._estimator, self._request = estimator, request
        devices = estimator.fleet.devices
        self._alike = all(replace(device, name=devices[0].name) == devices[0] for device in devices)
        self._counts = device_counts(len(devices), alike=self._alike)
        self._is_large = len(devices) > LARGE
        self._able = _as_quick(devices, layers)
        self._all = self._members(layers)
        self._memory = [np.inf if each.memory_bytes is None else each.memory_bytes * USABLE for each in devices]
        held = sum(weight_bytes(layer) for layer in layers if layer.obstacle is None)
        self._is_tight = FRUGAL in request.schemes or held > min(self._memory, default=np.inf)
        self._by_geometry: dict[object, tuple[Option, ...]] = {}
        self._scale = self._host_scale(layers)
        self.rest_s = self._rest(layers)

    def local(self, layer: ConvLayer) -> Option:
        """The host alone."""
        return self._option(None, self._scale * self._estimator.local(layer), None)

    def layer(self, layer: ConvLayer) -> tuple[Option, ...]:
        """Options of a layer, the host alone first, then the quickest ones."""
        key = (layer.spec, layer.input_shape, layer.output_shape, layer.macs, layer.obstacle is None)
        found = self._by_geometry.get(key)
        if found is None:
            found = self._by_geometry[key] = (self.local(layer), *self._distributed(layer))
        return found

    def segment(self, segment: Segment, layers: Sequence[ConvLayer], below_s: float) -> tuple[Option, ...]:
        """Options of a segment, the quickest first; none that is certainly above `below_s`."""
        key = tuple((layer.spec, layer.input_shape) for layer in layers), segment.input_shape, segment.output_shape
        found = self._by_geometry.get(key)
        if found is None:
            found = self._by_geometry[key] = self._tiled(segment, layers, below_s)
        return found

    def _tiled(self, segment: Segment, layers: Sequence[ConvLayer], below_s: float) -> tuple[Option, ...]:
        """The number of tiles is settled with all devices and with the quick ones; then who takes them.

        A small fleet needs each device, but where one is slow a tile for each of the others is another number.
        """
        costs = lru_cache(maxsize=None)(segment.cost)
        wire = self._request.transport
        able = [(self._able, own) for _, own in self._all[:1]]
        members = self._all if self._is_large else list(dict.fromkeys([*self._all[:1], *able]))
        tried = segment_candidates(segment, layers, costs, members=members, transport=wire)
        found = self._followed(tried, below_s)
        best = next((option for option in found if option.candidate is not None), None)
        if best is None or best.candidate is None:
            return found
        others = [
            with_members(best.candidate, layers, costs, each) for each in self._others(best) if sum(each) > each[1]
        ]
        return _quickest([*found, *self._followed(others, best.mean + best.spread)])

    def _others(self, best: Option) -> Sequence[Members]:
        """Who else to try when this is the best with all: fewer win only where computing is not what takes long."""
        limit = COMPUTE if best.estimate is None else best.estimate.limit
        return self._all[1:] if limit != COMPUTE or not self._alike or self._is_large else ()

    def holders(self, option: Option) -> int:
        """Devices that keep the weights of an option: the first so many."""
        return 0 if option.candidate is None else option.candidate.agents

    @property
    def memory(self) -> Sequence[float]:
        """Bytes that weights and activations may take on each device."""
        return self._memory

    def _members(self, layers: Sequence[ConvLayer]) -> list[Members]:
        """Who may take part, everybody first. A host that is much slower than the devices is tried without, too."""
        plain: list[Members] = [(count, False) for count in self._counts]
        if not self._request.host:
            return plain
        own: list[Members] = [(count, True) for count in self._counts]
        return own + (plain if self._is_slow_host(layers) else plain[:1])

    def _is_slow_host(self, layers: Sequence[ConvLayer]) -> bool:
        devices, host = self._estimator.fleet.devices, self._estimator.fleet.host
        part = whole(max(layers, key=lambda layer: layer.macs)) if layers else None
        if part is None or not devices:
            return False
        return sum(compute_phase(host, part)) > SLOW * sum(compute_phase(devices[0], part))

    def _distributed(self, layer: ConvLayer) -> tuple[Option, ...]:
        request = self._request
        if layer.obstacle is not None or layer.spec is None or layer.macs < SMALLEST_MACS or not layer.output_shape:
            return ()
        wire = request.transport
        tried = layer_candidates(layer, members=self._all[:1], allowed=request.schemes, transport=wire)
        found = self._followed(tried, np.inf)
        others = self._others(found[0]) if found else self._all[1:]
        fewer = layer_candidates(layer, members=others, allowed=request.schemes, transport=wire)
        found = _quickest([*found, *self._followed(fewer, found[0].mean + found[0].spread if found else np.inf)])
        if self._is_tight or self._is_low(layer):
            frugal = frugal_candidates(layer, counts=self._counts, transport=request.transport)
            found = _quickest([*found, *self._followed(frugal, np.inf)])
        if request.transport == "f32":
            return found
        other = [
            with_types(option.candidate, layer, *pair)
            for option in found[:REFINED]
            for pair in PAIRS
            if option.candidate is not None and option.candidate.scheme != FRUGAL
        ]
        best = found[0].mean if found else np.inf
        return _quickest([*found, *self._followed(other, best)])

    def _is_low(self, layer: ConvLayer) -> bool:
        """Whether there are fewer rows than devices, so that the other families leave some without work.

        Such layers stand deep in a network, where every share would also have to go over all of the weights.
        """
        is_free = set(CHOICES) <= set(self._request.schemes)
        return is_free and layer.output_shape[FIRST_AXIS] < max(self._counts, default=0)

    def _followed(self, candidates: Iterable[Candidate], below_s: float) -> tuple[Option, ...]:
        """Estimates of the candidates that fit into memory and may be quicker than `below_s` and than each other."""
        bounded: list[tuple[float, int, Candidate]] = []
        for candidate in candidates:
            if self._fits(candidate.load, candidate.agents):
                bound = self._estimator.bound(candidate.load, agents=candidate.agents, host=candidate.host)
                bounded.append((bound, len(bounded), candidate))
        best = below_s
        found: list[Option] = []
        for bound, _, candidate in sorted(bounded, key=lambda each: each[:2]):
            if bound > best * SLACK:
                break
            estimate = self._estimator.stage(candidate.load, agents=candidate.agents, host=candidate.host)
            option = self._option(candidate, estimate.samples, estimate)
            best = min(best, option.mean + option.spread)
            found.append(option)
        return _quickest(found)

    def _fits(self, load: Load, agents: int) -> bool:
        return all(load.weights + load.working <= room for room in self._memory[:agents])

    def _option(self, candidate: Candidate | None, samples: Times, estimate: Estimate | None) -> Option:
        order, mean = self._request.quantile, float(samples.mean())
        spread = 0.0 if order is None else max(_quantile(samples, order) - mean, 0.0)
        return Option(candidate, samples, estimate, mean, spread)

    def _host_scale(self, layers: Sequence[ConvLayer]) -> float:
        """How far the host's model is too slow: its convolutions cannot take longer than the whole model did."""
        alone, own = self._request.alone_s, sum(float(self._estimator.local(layer).mean()) for layer in layers)
        return 1.0 if alone is None or own <= alone or own == 0 else alone / own

    def _rest(self, layers: Sequence[ConvLayer]) -> float:
        """Seconds of the model that are no convolutions: they stay on the host whatever the plan."""
        if self._request.alone_s is None:
            return self._request.bytes_beside / self._estimator.fleet.host.pass_bytes_per_s
        own = self._scale * sum(float(self._estimator.local(layer).mean()) for layer in layers)
        return max(self._request.alone_s - own, 0.0)


def _as_quick(devices: Sequence[DeviceModel], layers: Sequence[ConvLayer]) -> int:
    """How many devices, the first ones, take about as long for a share as the quickest."""
    if not layers:
        return len(devices)
    part = whole(max(layers, key=lambda layer: layer.macs))
    computing = (sum(compute_phase(device, part)) / len(devices) for device in devices)
    seconds = [(each + device.task_s) * device.mean_slowdown for each, device in zip(computing, devices, strict=True)]
    most_s = SLOW * min(seconds, default=0.0)
    return sum(each <= most_s for each in seconds)


def _quickest(options: Iterable[Option]) -> tuple[Option, ...]:
    """The quickest, and of every scheme the quickest: the runner-up may be another kind."""
    ordered = sorted(options, key=lambda option: option.mean + option.spread)
    kept = ordered[:KEPT]
    seen = {option.scheme for option in kept}
    for option in ordered[KEPT:]:
        if option.scheme not in seen:
            seen.add(option.scheme)
            kept.append(option)
    return tuple(kept)


def _quantile(samples: Times, order: float) -> float:
    place = min(math.ceil(order * len(samples)), len(samples)) - 1
    return float(np.partition(samples, place)[place])
