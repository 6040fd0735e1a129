"""Inferences in a row under a simulated clock, decided by the session that also drives real agents.

The host is two servers: a serial part (the coordinator's loop: cut, encode, cast, send, receive, decode, join)
and its kernels (local stages, its own shares, what no agent can compute). Its port is shared by all devices in
each direction; every device has a link and one processor. The session outlives an inference, so work that is
not wanted any more holds its device into the next stage and the next inference, as it does in reality.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Final

from cocoi_cli.planning.estimates import BESIDE
from cocoi_cli.runtime.events import (
    AgentJoined,
    AgentLost,
    CancelWork,
    Codeword,
    ComputeLocally,
    DeadlinePassed,
    DecodeStrip,
    Event,
    HostComputed,
    Instruction,
    RequestCancelled,
    SendShare,
    StageDone,
    StageStarted,
    StripArrived,
    StripFailed,
    TimePassed,
    WakeAt,
)
from cocoi_cli.runtime.session import Session
from cocoi_cli.simulation.clock import Clock
from cocoi_cli.simulation.costs import decode_passes, local_seconds, summed, take_passes
from cocoi_cli.simulation.devices import Device, Port, Task
from cocoi_cli.simulation.resources import Backlog, Server, stream
from cocoi_cli.simulation.results import Result, Span, StageResult
from cocoi_cli.simulation.running import OpenWord, RunningStage, Tally
from cocoi_cli.simulation.shapes import LocalShape, SharedShape
from cocoi_cli.simulation.shelf import Casualties, make_devices
from cocoi_cli.simulation.straggling import NONE, Straggling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.planning.fleet_model import DeviceModel, FleetModel, Phase
    from cocoi_cli.planning.loads import Slice
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.simulation.results import AgentResult
    from cocoi_cli.simulation.shapes import Sizes, StageShape

HOST: Final = "host"
DEADLINE_S: Final = 60.0  # the default of an inference


def simulate(
    plan: Plan,
    stages: Sequence[StageShape],
    fleet: FleetModel,
    straggling: Straggling = NONE,
    *,
    seed: int = 1,
    inferences: int = 200,
    deadline_s: float = DEADLINE_S,
    spans: bool = False,
) -> Result:
    """Run a plan on a fleet that is only computed.

    The same seed gives the same result, and two plans of the same model meet the same luck.

    Args:
        plan: What `stages` were made from.
        stages: In order; from `waves.stage_shapes`.
        fleet: Devices and host.
        straggling: What goes wrong.
        seed: Of everything that is drawn.
        inferences: How many, one right after the other; at least 1.
        deadline_s: Seconds after which an inference waits for agents no longer.
        spans: Whether to keep what happened in the last inference.

    Raises:
        ValueError: If `inferences` is below 1.
    """
    if inferences < 1:
        raise ValueError(f"at least 1 inference is simulated, not {inferences}")
    layers = len(plan.layers) or 1
    run = _Run(stages, plan.agents, fleet, straggling, seed, layers, deadline_s)
    for number in range(inferences):
        run.infer(number, keep_spans=spans and number == inferences - 1)
    return run.result()


class _Run:
    """One simulation; the moments that are handed around are those of the simulated clock."""

    def __init__(
        self, stages: Sequence[StageShape], preferred: Sequence[str], fleet: FleetModel, straggling: Straggling,
        seed: int, layers: int, deadline_s: float,
    ) -> None:  # fmt: skip
        self._stages, self._preferred, self._fleet, self._deadline_s = stages, preferred, fleet, deadline_s
        self._host = fleet.host
        self._clock = Clock()
        self._loop = Backlog(self._clock)
        self._kernels = Backlog(self._clock)
        self._port_up = Server()
        self._phases: dict[tuple[int, int], Phase] = {}
        casualties = Casualties(straggling, [device.name for device in fleet.devices], seed)
        port = Port(Server(), fleet.host.nic_down, self._answer)
        self._devices = make_devices(fleet, casualties, straggling, seed, layers, self._clock, port)
        self._of_index = {device.index: device for device in self._devices.values()}
        for index, dying in casualties.dying.items():
            if index in self._of_index:
                self._clock.at(dying.at_s, self._die, self._of_index[index], dying.noticed_s)
        self._takes_part = any(isinstance(stage, SharedShape) and stage.host for stage in stages)
        self._session = Session(tuple(self._devices))
        self._tallies = {name: Tally() for name in (*self._devices, HOST)}
        self._host_holds: set[tuple[int, int]] = set()
        self._codewords, self._groups = itertools.count(1), itertools.count(1)
        self._walls: list[list[float]] = [[] for _ in stages]
        self._latencies: list[float] = []
        self._spans: list[Span] | None = None
        self._rescued = 0
        self._request = 0
        self._place = 0
        self._begun_at = 0.0
        self._ready_at = 0.0
        self._running = False
        self._homes: tuple[str, ...] = ()
        self._stage: RunningStage | None = None
        self._wakes_at: float | None = None

    # --- inferences and stages ---------------------------------------------------

    def infer(self, number: int, *, keep_spans: bool) -> None:
        """One inference, from its first stage to its last."""
        self._request = number + 1
        self._begun_at = self._ready_at
        self._running = True
        self._place = -1
        self._spans = [] if keep_spans else None
        living = [name for name in self._devices if name in self._session.living]
        named = [name for name in self._preferred if name in living]
        self._homes = (*named, *(name for name in living if name not in named))
        for device in self._devices.values():
            device.luck.begin(number)
        self._clock.at(self._begun_at + self._deadline_s, self._deadline, self._request)
        self._clock.at(self._begun_at, self._enter)
        while self._running:
            if not self._clock.step():
                raise RuntimeError(f"nothing happens any more in stage {self._place}: {self._session!r}")

    def result(self) -> Result:
        """What was found; shares that are still being computed are waited for first."""
        spans, self._spans = self._spans, None
        while self._clock.step():
            pass
        names = [model.name for model in self._fleet.devices]
        return Result(
            latencies_s=tuple(self._latencies),
            stages=tuple(
                StageResult(stage.name, stage.kind if isinstance(stage, SharedShape) else "local", tuple(walls))
                for stage, walls in zip(self._stages, self._walls, strict=True)
            ),
            agents=tuple(self._agent(name) for name in [*names, *([HOST] if self._takes_part else [])]),
            host_s=self._loop.busy_s,
            local_s=self._kernels.busy_s,
            rescued=self._rescued,
            spans=tuple(spans or ()),
        )

    def _agent(self, name: str) -> AgentResult:
        device = self._devices.get(name)
        return self._tallies.get(name, Tally()).result(name, 0 if device is None else device.dropped)

    def _enter(self) -> None:
        """Begin the next stage, or end the inference."""
        self._place += 1
        now = self._clock.now
        if self._place == len(self._stages):
            self._latencies.append(now - self._begun_at)
            self._ready_at = now
            self._running = False
            self._loop.add(partial(self._feed, RequestCancelled(self._request)))
            return
        stage = self._stages[self._place]
        if isinstance(stage, LocalShape):
            self._kernels.add(partial(self._run_local, stage, now))
        else:
            self._start(stage, now)

    def _run_local(self, stage: LocalShape, asked_at: float, start: float) -> float:
        end = start + local_seconds(stage, self._host)
        self._walls[self._place].append(end - asked_at)
        self._span(HOST, start, end, "local")
        self._clock.at(end, self._enter)
        return end

    def _start(self, shape: SharedShape, now: float) -> None:
        own = (HOST,) if shape.host else ()
        homes = (*self._homes[: shape.n - len(own)], *own)
        group = next(self._groups)
        words = tuple(
            Codeword(
                id=next(self._codewords),
                group=group,
                order=strip,
                strips=len(shape.strips),
                code=shape.code,
                homes=homes,
                requests=frozenset({self._request}),
                eager=shape.eager,
                patient=shape.patient,
            )
            for strip in range(len(shape.strips))
        )
        self._stage = RunningStage(shape, words[0].id, now)
        self._stage.open = {word.id: OpenWord(sizes) for word, sizes in zip(words, shape.strips, strict=True)}
        if shape.host != (HOST in self._session.living):
            self._loop.add(partial(self._feed, AgentJoined(HOST) if shape.host else AgentLost(HOST)))
        self._loop.add(partial(self._feed, StageStarted(words)))

    # --- the coordinator's loop ----------------------------------------------------

    def _feed(self, event: Event, start: float) -> float:
        """Let the session decide, and do what it says; returns when the loop is free again."""
        return self._carry_out(self._session.handle(event, start), start)

    def _carry_out(self, instructions: Sequence[Instruction], start: float) -> float:
        moment = start
        for instruction in instructions:
            match instruction:
                case SendShare():
                    moment = self._send(instruction, moment)
                case CancelWork():
                    self._cancel(instruction, moment)
                case DecodeStrip():
                    moment = self._decode(instruction, moment)
                case ComputeLocally():
                    self._compute(instruction, moment)
                case WakeAt():
                    self._wake_at(instruction.moment_s)
                case StageDone():
                    self._finish(moment)
                case _:  # with a fallback the session fails no request
                    raise RuntimeError(f"{instruction} in a simulation")
        return moment

    def _send(self, instruction: SendShare, moment: float) -> float:
        stage = self._expect()
        word = stage.open[instruction.codeword]
        sizes, host = word.sizes, self._host
        if instruction.agent == HOST:
            self._begin_on_host(instruction, sizes, moment)
            return moment
        passes = word.encoding.passes(stage.shape, sizes, instruction.share) + sizes.send_pass
        sent = moment + host.task_s / 2 + passes / host.pass_bytes_per_s
        self._span(HOST, moment, sent, "send")
        device = self._devices[instruction.agent]
        strip = instruction.codeword - stage.first
        phase = self._phase(device, self._fleet.devices[device.index], sizes)
        task = device.luck.task(stage.shape, strip, instruction.share, instruction.codeword, phase, sizes)
        there = stream(sent, self._port_up, sizes.bytes_out / host.nic_up, device.up, task.send_s)
        self._tallies[instruction.agent].bytes_out += sizes.bytes_out
        device.holds[instruction.codeword, instruction.share] = task
        self._clock.at(there + device.half_s, device.arrive, task)
        return sent

    def _begin_on_host(self, instruction: SendShare, sizes: Sizes, moment: float) -> None:
        """Compute a share here when its turn comes; nothing is cast and nothing sent."""
        key = (instruction.codeword, instruction.share)
        self._host_holds.add(key)
        seconds = BESIDE * self._host_s(sizes.slices)

        def compute(start: float) -> float:
            if key not in self._host_holds:  # it was told to drop it
                event = StripFailed(HOST, instruction.codeword, instruction.share, "skipped")
                self._loop.add(partial(self._feed, event))
                return start
            self._span(HOST, start, start + seconds, "local")
            self._clock.at(start + seconds, self._loop.add, partial(self._take_from_host, instruction, sizes, seconds))
            return start + seconds

        self._clock.at(moment, self._kernels.add, compute)

    def _take_from_host(self, instruction: SendShare, sizes: Sizes, seconds: float, start: float) -> float:
        self._host_holds.discard((instruction.codeword, instruction.share))
        word = self._stage.open.get(instruction.codeword) if self._stage is not None else None
        wanted = self._tallies[HOST].count(word, instruction.share, seconds)
        joined = start + (sizes.join_pass / self._host.pass_bytes_per_s if wanted else 0.0)
        return self._feed(StripArrived(HOST, instruction.codeword, instruction.share), joined)

    def _cancel(self, instruction: CancelWork, moment: float) -> None:
        key = (instruction.codeword, instruction.share)
        if instruction.agent == HOST:
            self._host_holds.discard(key)
            return
        device = self._devices[instruction.agent]
        task = device.holds.get(key)
        if task is not None:
            self._clock.at(moment + device.half_s, _forget, task)

    def _decode(self, instruction: DecodeStrip, moment: float) -> float:
        stage = self._expect()
        word = stage.open.pop(instruction.codeword)
        passes = decode_passes(stage.shape, word.sizes, instruction.shares)
        if not passes:
            return moment
        end = moment + passes / self._host.pass_bytes_per_s
        self._span(HOST, moment, end, "decode")
        return end

    def _compute(self, instruction: ComputeLocally, moment: float) -> None:
        sizes = self._expect().open[instruction.codeword].sizes
        seconds = len(instruction.shares) * self._host_s(sizes.slices)
        self._rescued += len(instruction.shares)

        def compute(start: float) -> float:
            self._span(HOST, start, start + seconds, "local")
            self._clock.at(start + seconds, self._loop.add, partial(self._rescue, instruction, sizes))
            return start + seconds

        self._clock.at(moment, self._kernels.add, compute)

    def _rescue(self, instruction: ComputeLocally, sizes: Sizes, start: float) -> float:
        joined = start + len(instruction.shares) * sizes.join_pass / self._host.pass_bytes_per_s
        return self._feed(HostComputed(instruction.codeword, instruction.shares), joined)

    def _finish(self, moment: float) -> None:
        stage = self._expect()
        self._walls[self._place].append(moment - stage.started_at)
        self._stage = None
        self._clock.at(moment, self._enter)

    # --- answers ---------------------------------------------------------------------

    def _answer(self, task: Task, computed: bool) -> None:  # noqa: FBT001 - a call that the clock makes
        """An answer of a device is at the host's door."""
        self._loop.add(partial(self._take if computed else self._skipped, task))

    def _take(self, task: Task, start: float) -> float:
        device, sizes, host = self._of_index[task.device], task.sizes, self._host
        device.holds.pop((task.codeword, task.share), None)
        tally = self._tallies[device.name]
        tally.bytes_in += sizes.bytes_in
        word = self._stage.open.get(task.codeword) if self._stage is not None else None
        passes = sizes.receive_pass
        if word is not None and task.share not in word.arrived:
            passes += take_passes(task.stage, sizes, task.share)
        end = start + host.task_s / 2 + passes / host.pass_bytes_per_s
        self._span(HOST, start, end, "receive")
        wanted = tally.count(word, task.share, task.compute_s)
        self._span(device.name, task.done_at - task.compute_s, task.done_at, "used" if wanted else "late")
        return self._feed(StripArrived(device.name, task.codeword, task.share), end)

    def _skipped(self, task: Task, start: float) -> float:
        device = self._of_index[task.device]
        device.holds.pop((task.codeword, task.share), None)
        end = start + self._host.task_s / 2
        return self._feed(StripFailed(device.name, task.codeword, task.share, "skipped"), end)

    # --- time and death ----------------------------------------------------------------

    def _wake_at(self, moment: float) -> None:
        """One timer; one that rings earlier is left alone, since the session then asks again."""
        if self._wakes_at is None or moment < self._wakes_at:
            self._wakes_at = moment
            self._clock.at(moment, self._tick, moment)

    def _tick(self, moment: float) -> None:
        if self._wakes_at == moment:
            self._wakes_at = None
            if self._running:
                self._loop.add(partial(self._feed, TimePassed()))

    def _deadline(self, request: int) -> None:
        if self._running and request == self._request:
            self._loop.add(partial(self._feed, DeadlinePassed(request)))

    def _die(self, device: Device, noticed_s: float) -> None:
        device.die()
        self._clock.at(self._clock.now + noticed_s, self._loop.add, partial(self._feed, AgentLost(device.name)))

    # --- what things take -----------------------------------------------------------------

    def _phase(self, device: Device, model: DeviceModel, sizes: Sizes) -> Phase:
        """Compute of one share on a device; looked up once, as records are kept for the whole simulation."""
        key = (device.index, id(sizes))
        phase = self._phases.get(key)
        if phase is None:
            phase = self._phases[key] = summed(model, sizes.slices)
        return phase

    def _host_s(self, slices: Sequence[Slice]) -> float:
        """Mean seconds on the host's own kernels."""
        return summed(self._host, slices).mean_s

    def _span(self, lane: str, start: float, end: float, kind: str) -> None:
        if self._spans is not None and end > start:
            self._spans.append(Span(lane, start - self._begun_at, end - self._begun_at, kind))

    def _expect(self) -> RunningStage:
        """The running stage: instructions come only while there is one."""
        assert self._stage is not None  # noqa: S101 - an invariant of the session
        return self._stage


def _forget(task: Task) -> None:
    task.unwanted = True
