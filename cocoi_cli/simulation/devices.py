"""Simulated devices: a link each way, one processor, one share after another.

What a share will cost is drawn when it is sent, so that it depends on the device, the inference and the number
of the share there, and on nothing that other devices do.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cocoi_cli.planning.profile import REST_S
from cocoi_cli.simulation.numbers import Numbers
from cocoi_cli.simulation.resources import Server, stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.planning.fleet_model import DeviceModel, Phase
    from cocoi_cli.simulation.clock import Clock
    from cocoi_cli.simulation.shapes import SharedShape, Sizes
    from cocoi_cli.simulation.straggling import Straggling

# Columns of a share's numbers; those of the effects follow.
_COMPUTE, _SEND, _BACK, _SLOWDOWN, _EFFECTS = range(5)


@dataclass(slots=True)
class Task:
    """One share on its way to a device and back.

    Attributes:
        device: Index in the fleet.
        stage: What it is a part of.
        codeword: Of the session.
        strip: Which codeword of the stage that is.
        share: Of the codeword.
        sizes: What it takes.
        compute_s: What the device will need for it.
        rest_gain_s: What it needs less after a rest.
        send_s: What its link will need for it.
        back_s: What its link will need for the answer.
        done_at: When it was computed.
        unwanted: Whether the device was told to drop it.
    """

    device: int
    stage: SharedShape
    codeword: int
    strip: int
    share: int
    sizes: Sizes
    compute_s: float
    rest_gain_s: float
    send_s: float
    back_s: float
    done_at: float = 0.0
    unwanted: bool = False


class Luck:
    """How long each share takes on one device, drawn from its model and the straggling."""

    def __init__(self, model: DeviceModel, device: int, seed: int, layers: int, straggling: Straggling) -> None:
        """Prepare for a fleet's device.

        Args:
            model: How it behaves.
            device: Its index in the fleet.
            seed: Of the simulation.
            layers: Layers of the model, whichever of them are distributed.
            straggling: What goes wrong; slow devices are the caller's matter.
        """
        self._model, self._device, self._seed, self._layers = model, device, seed, layers
        self._effects = tuple(straggling.effects)
        self._staged = sum(effect.per_stage for effect in self._effects)
        self._numbers: Numbers | None = None
        self.times = 1.0

    def begin(self, inference: int) -> None:
        """A new inference: its own stream of numbers."""
        self._numbers = Numbers(
            self._seed, self._device, inference,
            layers=self._layers, effects=self._staged, columns=_EFFECTS + len(self._effects),
        )  # fmt: skip

    def task(self, stage: SharedShape, strip: int, share: int, codeword: int, phase: Phase, sizes: Sizes) -> Task:
        """The next share of this device."""
        assert self._numbers is not None  # noqa: S101 - `begin` comes before the first share
        model, row = self._model, self._numbers.share()
        narrow, whole = self._factors(stage.layer, row)
        slowdown = _one_of(model.slowdown, row[_SLOWDOWN]) if len(model.slowdown) > 1 else model.slowdown[0][1]
        whole *= slowdown * self.times
        wire = 1 + model.carrying * (whole - 1)
        return Task(
            device=self._device,
            stage=stage,
            codeword=codeword,
            strip=strip,
            share=share,
            sizes=sizes,
            compute_s=(model.compute_s(phase, row[_COMPUTE]) * narrow + model.task_s) * whole,
            rest_gain_s=model.rest_gain_s * whole,
            send_s=model.send_s(sizes.bytes_out, row[_SEND]) * wire,
            back_s=model.receive_s(sizes.bytes_in, row[_BACK]) * wire,
        )

    def whole_model(self, phases: Sequence[Phase]) -> float:
        """Seconds for a whole model: its convolutions one after the other."""
        assert self._numbers is not None  # noqa: S101 - `begin` comes before
        model, spent = self._model, 0.0
        for layer, phase in enumerate(phases):
            row = self._numbers.share()
            narrow, whole = self._factors(layer, row)
            slowdown = _one_of(model.slowdown, row[_SLOWDOWN])
            spent += model.compute_s(phase, row[_COMPUTE]) * narrow * whole * slowdown * self.times
        return spent

    def _factors(self, layer: int, row: list[float]) -> tuple[float, float]:
        """Of the convolution alone, and of everything."""
        narrow = whole = 1.0
        assert self._numbers is not None  # noqa: S101 - `begin` comes before
        staged = 0
        for place, effect in enumerate(self._effects, _EFFECTS):
            if effect.per_stage:
                number = self._numbers.layers[staged][layer]
                staged += 1
            else:
                number = row[place]
            factor = effect.factor(self._device, number)
            if effect.whole:
                whole *= factor
            else:
                narrow *= factor
        return narrow, whole


@dataclass(frozen=True, slots=True)
class Port:
    """Where the answers of all devices go in.

    Attributes:
        server: The host's port, shared by all of them.
        bytes_per_s: Its speed.
        answer: Is told of every answer that is whole, and whether it was computed or dropped.
    """

    server: Server
    bytes_per_s: float
    answer: Callable[[Task, bool], None]


class Device:
    """A device while time passes.

    Attributes:
        index: In the fleet.
        name: In the fleet.
        half_s: Seconds from the host to the device, or back, for a few bytes.
        up: Its link from the host.
        luck: Its draws.
        holds: Shares that it was sent and has not answered, by codeword and share.
        computed_s: Seconds of finished work.
        dropped: Shares whose rows it did not send because it was told so in time.
        dead: Whether it has died.
    """

    __slots__ = (
        "_answer", "_clock", "_down", "_idle_since", "_port_down", "_port_rate", "_waiting", "_working",
        "computed_s", "dead", "dropped", "half_s", "holds", "index", "luck", "name", "up",
    )  # fmt: skip

    def __init__(self, index: int, model: DeviceModel, luck: Luck, clock: Clock, port: Port) -> None:
        """An idle device.

        Args:
            index: In the fleet.
            model: How it behaves.
            luck: Its draws.
            clock: The simulation's.
            port: Where its answers go.
        """
        self.index, self.name, self.luck = index, model.name, luck
        self.up = Server()
        self._down = Server()
        self.half_s = model.rtt_s / 2
        self._clock = clock
        self._port_down, self._port_rate, self._answer = port.server, port.bytes_per_s, port.answer
        self._waiting: deque[Task] = deque()
        self._working: Task | None = None
        self._idle_since = -math.inf
        self.holds: dict[tuple[int, int], Task] = {}
        self.computed_s = 0.0
        self.dropped = 0
        self.dead = False

    @property
    def busy(self) -> bool:
        """Whether it computes."""
        return self._working is not None

    def arrive(self, task: Task) -> None:
        """A share is here, whole."""
        if self.dead:
            return
        self._waiting.append(task)
        if self._working is None:
            self._begin()

    def die(self) -> None:
        """Everything that it held is lost, and nothing comes from it any more."""
        self.dead = True
        self._waiting.clear()
        self._working = None

    def _begin(self) -> None:
        """Take the next share; those that were dropped meanwhile are answered at once."""
        while self._waiting:
            task = self._waiting.popleft()
            if not task.unwanted:
                self._working = task
                rest = min((self._clock.now - self._idle_since) / REST_S, 1.0)
                task.compute_s -= rest * task.rest_gain_s
                self._clock.at(self._clock.now + task.compute_s, self._done, task)
                return
            self.dropped += 1
            self._clock.at(self._clock.now + self.half_s, self._answer, task, False)  # noqa: FBT003 - skipped

    def _done(self, task: Task) -> None:
        if self._working is not task:  # it died over it
            return
        self._working, self._idle_since = None, self._clock.now
        self.computed_s += task.compute_s
        task.done_at = self._clock.now
        if task.unwanted:
            self.dropped += 1
            self._clock.at(self._clock.now + self.half_s, self._answer, task, False)  # noqa: FBT003 - without rows
        elif self._down.free_at > self._clock.now:
            self._clock.at(self._down.free_at, self._return, task)
        else:
            self._return(task)
        self._begin()

    def _return(self, task: Task) -> None:
        """Send the answer; it queues at the host's port in the order in which answers begin."""
        if self.dead:
            return
        port_s = task.sizes.bytes_in / self._port_rate
        there = stream(self._clock.now, self._port_down, port_s, self._down, task.back_s)
        self._clock.at(there + self.half_s, self._answer, task, True)  # noqa: FBT003 - computed


def _one_of(choices: tuple[tuple[float, float], ...], number: float) -> float:
    """The factor whose probability the number falls into."""
    for probability, factor in choices:
        if number < probability:
            return factor
        number -= probability
    return choices[-1][1]
