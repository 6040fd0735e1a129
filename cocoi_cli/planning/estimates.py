"""How long a stage takes on a modelled fleet: quick enough to compare thousands of decisions. Pure.

The same small set of draws serves every decision (common random numbers), stratified, so that two decisions
are compared under the same luck and the same question always has the same answer. For each draw the stage is
followed through these steps:

* The host cuts, encodes and sends shares one after another over its one network card: `step_up` apart.
* An agent that has answered is sent the next share, as long as shares are needed (`Load.needed`). Where each
  has one only, shares sent at once share the wire, so all arrive when the last one does.
* A share whose holder is late, after 1.5 times what is usual, is computed once more by whoever is free.
* Answers queue at the host's card and at the host: `step_down` apart.

What a rest saves the first share of a stage (`DeviceModel.rest_gain_s`) is not counted on: how long a device rests
depends on the stages around, and between many short ones it hardly does.

Source: docs/methods.md, "Pulled strips" and the latency model.

Notation: S draws, D devices (the host among them where it takes part), J shares that a device may take.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from cocoi_cli.planning.fleet_model import Phase
from cocoi_cli.planning.loads import whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.model.network import ConvLayer
    from cocoi_cli.planning.fleet_model import DeviceModel, FleetModel, HostModel
    from cocoi_cli.planning.loads import Load, Slice

Times = NDArray[np.float64]

DRAWS: Final = 64  # of each random time; the mean of a stage is then within 1 % of that over thousands
FEW_DRAWS: Final = 16  # for large fleets, where a stage's time is an average over many devices already
LARGE: Final = 24  # devices
ROUNDS: Final = 16  # shares of one device with draws of their own
SEED: Final = 20250112

LATE: Final = 1.5  # times what is usual: then somebody else is given the share too
SHORTEST_LATE_S: Final = 0.010
# Tiles that wait in a queue took 2 to 8 % longer than coded strips of the same size, without and with stragglers:
# the last of them has one holder, where any spare share completes a codeword (docs/methods.md, "Pulled strips").
QUEUE_TAIL: Final = 1.03

# A share of the host takes so many times longer than its convolutions alone would: the host cuts, casts, sends and
# joins beside. Tiles of VGG16 took 1.2 to 1.35 times as long as that on the rig (docs/methods.md, the planner).
BESIDE: Final = 1.3

COMPUTE: Final = "computing"
SENDING: Final = "sending"
RECEIVING: Final = "receiving"
HOST: Final = "this machine"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage is expected to take.

    Attributes:
        samples: Seconds, one for each draw.
        up: Bytes sent.
        down: Bytes received.
        bound_s: No schedule is quicker: computing and wire with perfect overlap, no other cost.
        limit: What decides the time: `COMPUTE`, `SENDING`, `RECEIVING` or `HOST`.
    """

    samples: Times = field(repr=False)
    up: float
    down: float
    bound_s: float
    limit: str

    @property
    def mean(self) -> float:
        """Seconds in the mean."""
        return float(self.samples.mean())


@dataclass(frozen=True, slots=True)
class _Row:
    """Times of one share on each device: computing is shift + excess x exponential, and so are the ways."""

    shift: Times
    excess: Times
    send: Times
    send_excess: Times
    receive: Times
    receive_excess: Times
    rtt: Times
    task: Times
    carrying: Times


class Estimator:
    """Predictions for one fleet. Devices are used from the first on; the host may be one more."""

    def __init__(self, fleet: FleetModel) -> None:
        """Prepare the draws; the devices that are to be used first stand in front."""
        self.fleet = fleet
        count = 1 + len(fleet.devices)  # the host is column 0
        self.draws = DRAWS if count <= LARGE else FEW_DRAWS
        self._exponential = _exponentials(self.draws, count)
        self._factor = _factors(fleet.devices, self.draws, count)
        self._kinds, self._kind_of = _kinds(fleet.devices)
        self._links = _Links(fleet)
        self._speeds: dict[tuple[Slice, ...], tuple[Times, Times]] = {}

    def local(self, layer: ConvLayer) -> Times:
        """Seconds of a convolution on the host, one for each draw."""
        part = whole(layer)
        phase = compute_phase(self.fleet.host, part)
        return phase[0] + phase[1] * self._exponential[0][:, 0, 0]

    def stage(self, load: Load, *, agents: int, host: bool) -> Estimate:
        """Seconds of a distributed stage.

        Args:
            load: What it asks for.
            agents: The first so many devices take part.
            host: Whether the host takes part too.
        """
        row = self._row(load, agents, host=host)
        model = self.fleet.host
        work_up = model.task_s / 2 + load.up_pass / model.pass_bytes_per_s
        work_down = model.task_s / 2 + load.down_pass / model.pass_bytes_per_s
        step_up = max(work_up, load.up / model.nic_up)
        step_down = max(work_down, load.down / model.nic_down)
        after = load.after_pass / model.pass_bytes_per_s + model.task_s
        taken, answered, usual = self._shares(load, row, step_up, agents, host=host)
        ends, remote = _answers(load, taken, answered, usual, host=host)
        last = _queue(ends, step_down)
        sent = float(agents) if load.eager else remote
        send_limit = sent * step_up + float((row.shift + row.task + row.receive).min())
        host_limit = sent * work_up + load.needed * work_down
        tail = QUEUE_TAIL if load.capacity >= load.needed > 1 else 1.0
        finish = tail * np.maximum(last, max(send_limit, host_limit)) + after
        return Estimate(
            samples=finish,
            up=sent * load.up,
            down=min(remote, load.needed) * load.down,
            bound_s=self.bound(load, agents=agents, host=host),
            limit=_limit(load, row, sent * load.up / model.nic_up, remote * load.down / model.nic_down, host_limit),
        )

    def bound(self, load: Load, *, agents: int, host: bool) -> float:
        """Seconds below which no schedule of this stage can be: computing and wire with perfect overlap."""
        shift, excess = self._speed(load, agents, host=host)
        rates = 1 / np.maximum(shift + excess, 1e-15)
        compute = load.needed / float(rates.sum())
        away = load.needed * (1 - float(rates[0] / rates.sum())) if host else float(load.needed)
        return max(compute, away * load.up / self.fleet.host.nic_up, away * load.down / self.fleet.host.nic_down)

    # --- the steps -------------------------------------------------------------

    def _row(self, load: Load, agents: int, *, host: bool) -> _Row:
        shift, excess = self._speed(load, agents, host=host)
        links, columns = self._links, slice(0 if host else 1, agents + 1)
        return _Row(
            shift=shift,
            excess=excess,
            send=load.up * links.send[columns],
            send_excess=load.up * links.send_excess[columns],
            receive=load.down * links.receive[columns],
            receive_excess=load.down * links.receive_excess[columns],
            rtt=links.rtt[columns],
            task=links.task[columns],
            carrying=links.carrying[columns],
        )

    def _shares(self, load: Load, row: _Row, step_up: float, agents: int, *, host: bool) -> tuple[Times, Times, Times]:
        """When each device takes each share that it may take, and answers it, (S, D, J); and what is usual, (S,)."""
        devices = len(row.task)
        shares = _rounds(load, devices)
        columns = slice(0 if host else 1, agents + 1)
        first, second, third = (each[:, columns, :shares] for each in self._exponential)
        work = (row.shift + row.task)[:, None] + row.excess[:, None] * first
        send = row.send[:, None] + row.send_excess[:, None] * second
        receive = row.receive[:, None] + row.receive_excess[:, None] * third
        if self._factor is not None:
            factor = self._factor[:, columns, :shares]
            wire = 1 + row.carrying[:, None] * (factor - 1)
            work, send, receive = work * factor, send * wire, receive * wire
        half = row.rtt[:, None] / 2
        turn = step_up * (np.arange(devices)[:, None] + (not host))  # nothing is sent to the host
        usual = _middle((work + send + receive + 2 * half)[:, :, 0])
        if shares == 1:
            away = float(agents if load.eager else min(agents, load.needed))
            begin = np.maximum(step_up * away * (row.send[:, None] > 0), send) + half
            return turn + np.zeros_like(work), begin + work + receive + half, usual
        cycle = work + send + receive + 2 * half
        reached = np.cumsum(cycle, axis=2) + turn
        return reached - cycle, reached, usual

    def _speed(self, load: Load, agents: int, *, host: bool) -> tuple[Times, Times]:
        """Seconds of one share on each device that takes part: least time, and mean of what is random."""
        found = self._speeds.get(load.slices)
        if found is None:
            own = tuple(BESIDE * each for each in _compute(self.fleet.host, load.slices))
            kinds = np.array([own, *(_compute(device, load.slices) for device in self._kinds)])
            found = self._speeds[load.slices] = (kinds[self._kind_of, 0], kinds[self._kind_of, 1])
        columns = slice(0 if host else 1, agents + 1)
        return found[0][columns], found[1][columns]


class _Links:
    """Seconds per byte and per share of the host, to which nothing travels, and of all devices, as arrays."""

    def __init__(self, fleet: FleetModel) -> None:
        devices = fleet.devices
        self.send = np.array([0.0, *(each.send.shift_s for each in devices)])
        self.send_excess = np.array([0.0, *(each.send.excess_s for each in devices)])
        self.receive = np.array([0.0, *(each.receive.shift_s for each in devices)])
        self.receive_excess = np.array([0.0, *(each.receive.excess_s for each in devices)])
        self.rtt = np.array([0.0, *(each.rtt_s for each in devices)])
        self.task = np.array([fleet.host.task_s, *(each.task_s for each in devices)])
        self.carrying = np.array([0.0, *(each.carrying for each in devices)])


def compute_phase(model: DeviceModel | HostModel, part: Slice) -> tuple[float, float]:
    """Seconds of a slice: least time, and mean of what is random beyond."""
    phase = model.compute(
        part.macs,
        kernel=part.kernel,
        in_channels=part.in_channels,
        out_channels=part.out_channels,
        width=part.width,
        rows=part.rows,
    )
    return phase.shift_s, phase.excess_s


def _compute(model: DeviceModel | HostModel, slices: Sequence[Slice]) -> tuple[float, float]:
    phases = [compute_phase(model, part) for part in slices]
    together = model.steadied(Phase(sum(shift for shift, _ in phases), sum(excess for _, excess in phases)))
    return together.shift_s, together.excess_s


def _rounds(load: Load, devices: int) -> int:
    """Shares that one device may take: enough that the quickest never lacks one."""
    if load.capacity == 1 or load.eager:
        return 1
    return min(load.capacity, 2 * math.ceil(load.needed / devices) + 2)


def _answers(load: Load, taken: Times, answered: Times, usual: Times, *, host: bool) -> tuple[Times, float]:
    """Moments of the answers that count, ascending, (S, needed); and how many shares go over the wire in the mean."""
    draws, devices, _ = answered.shape
    flat = answered.reshape(draws, -1)
    if load.eager:
        if load.copies > 1:
            flat = flat[:, : load.copies * load.needed].reshape(draws, load.copies, -1).min(axis=1)
        return np.sort(flat, axis=1)[:, : load.needed], float(load.needed)
    needed = min(load.needed, flat.shape[1])
    moments = taken.reshape(draws, -1)
    chosen = moments <= np.partition(moments, needed - 1, axis=1)[:, needed - 1 : needed]
    if not load.patient:
        flat = _hedged(flat, moments, usual, chosen, devices)
    ends = np.sort(np.where(chosen, flat, np.inf), axis=1)[:, :needed]
    own = float(chosen.reshape(answered.shape)[:, 0].sum(axis=1).mean()) if host else 0.0
    return ends, needed - own


def _hedged(answered: Times, taken: Times, usual: Times, chosen: NDArray[np.bool_], devices: int) -> Times:
    """Answers, late ones computed once more by the first device that has nothing left to do."""
    draws = len(answered)
    busy = np.where(chosen, answered, 0.0).reshape(draws, devices, -1).max(axis=2)
    free = busy.min(axis=1)
    patience = np.maximum(LATE * usual, SHORTEST_LATE_S)[:, None]
    again = np.maximum(taken + patience, free[:, None]) + usual[:, None]
    late = (chosen & (answered > again)).reshape(draws, devices, -1)
    helpers = np.maximum(devices - late.any(axis=2).sum(axis=1), 1)
    rounds = np.ceil(late.sum(axis=(1, 2)) / helpers)  # of shares that helpers compute again, one after another
    soonest: Times = np.minimum(answered, again + (usual * np.maximum(rounds - 1, 0))[:, None])
    return soonest


def _queue(ends: Times, step: float) -> Times:
    """When the last answer has passed the host, which takes `step` for each; `ends` ascending."""
    waiting = step * np.arange(ends.shape[1] - 1, -1, -1)
    passed: Times = (ends + waiting).max(axis=1)
    return passed


def _limit(load: Load, row: _Row, up: float, down: float, host: float) -> str:
    """What takes longest: the processors, the host's passes, or a way of the wire, the host's port or devices' own."""
    each = 1 / np.maximum(row.shift + row.excess, 1e-15)
    rounds = load.needed / max(len(row.send), 1)
    reached = {
        COMPUTE: load.needed / float(each.sum()),
        SENDING: max(up, rounds * float((row.send + row.send_excess).mean())),
        RECEIVING: max(down, rounds * float((row.receive + row.receive_excess).mean())),
        HOST: host,
    }
    return max(reached, key=lambda key: reached[key])


def _middle(times: Times) -> Times:
    """The median over devices, (S,)."""
    place = times.shape[1] // 2
    median: Times = np.partition(times, place, axis=1)[:, place]
    return median


def _kinds(devices: Sequence[DeviceModel]) -> tuple[list[DeviceModel], NDArray[np.intp]]:
    """One device for each kind of processor, and the kind of every column: most fleets have one."""
    found: dict[object, int] = {}
    kinds: list[DeviceModel] = []
    places = [0]  # the host
    for device in devices:
        if device.cells not in found:
            found[device.cells] = len(kinds)
            kinds.append(device)
        places.append(1 + found[device.cells])
    return kinds, np.array(places, dtype=np.intp)


@lru_cache(maxsize=8)
def _exponentials(draws: int, devices: int) -> tuple[Times, Times, Times]:
    """Exponential times of mean 1 for computing, sending and receiving, (S, D, J): one from each of S strata."""
    rng = np.random.default_rng(SEED)
    edges = (np.arange(draws) + 0.5) / draws
    strata = -np.log1p(-edges)
    strata /= strata.mean()
    tables = []
    for _ in range(3):
        order = rng.random((draws, devices, ROUNDS)).argsort(axis=0)
        tables.append(strata[order])
    return tables[0], tables[1], tables[2]


def _factors(devices: Sequence[DeviceModel], draws: int, count: int) -> Times | None:
    """How many times slower each share is computed, (S, D, J); None where nothing ever is."""
    if all(device.slowdown == ((1.0, 1.0),) for device in devices):
        return None
    rng = np.random.default_rng(SEED + 1)
    order = rng.random((draws, count, ROUNDS)).argsort(axis=0)
    edges = (order + rng.random((1, count, ROUNDS))) / draws
    factors = np.ones((draws, count, ROUNDS))
    for place, device in enumerate(devices):
        limits = np.cumsum([probability for probability, _ in device.slowdown])
        which = np.searchsorted(limits[:-1], edges[:, place + 1], side="right")
        factors[:, place + 1] = np.array([factor for _, factor in device.slowdown])[which]
    return factors
