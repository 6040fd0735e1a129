"""Scenarios: which faults stand while a cell is measured, and which come in the middle of an inference. Pure.

A scenario is a list of steps; a step is a word of the faults script with its arguments and says how many
devices it hits. Which ones, the seed of the benchmark draws: for faults that stand, once per model and
scenario; for faults in the middle of an inference, once per repetition. All rows of a repetition meet the same.

Source: the scenarios are those of CoCoI (arXiv 2501.06856), section on evaluation: 1 random delay, 2 failures, 3 both;
the bimodal trace is that of docs/methods.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cocoi_cli.benchmark.errors import ScenarioTooLargeError, UnknownDeviceError, UnknownScenarioError
from cocoi_cli.benchmark.schedule import generator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

AWAY: Final = frozenset({"kill", "freeze", "cut"})
"""Words after which a device answers nothing."""

SEED_PLACE: Final = "{seed}"
"""An argument that stands for a number drawn for each device."""

_UNDOING: Final = MappingProxyType(
    {
        "kill": ("revive",),
        "freeze": ("thaw",),
        "cut": ("heal",),
        "slow": ("slow", "1"),
        "loss": ("loss", "0"),
        "delay": ("delay", "none"),
        "lie": ("lie", "none"),
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One call of the faults script: `WORD DEVICE ARGUMENT…`."""

    word: str
    device: str
    arguments: tuple[str, ...] = ()

    @property
    def call(self) -> tuple[str, ...]:
        """The words of the call."""
        return (self.word, self.device, *self.arguments)

    @property
    def undoing(self) -> Fault:
        """The call that undoes this one; a word that undoes is its own."""
        word, *arguments = _UNDOING.get(self.word, (self.word, *self.arguments))
        return Fault(word, self.device, tuple(arguments))


@dataclass(frozen=True, slots=True)
class TimedFault:
    """A fault in the middle of an inference.

    Attributes:
        fault: What happens.
        at: When, as a part of the row's usual latency.
    """

    fault: Fault
    at: float


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a scenario.

    Attributes:
        word: Word of the faults script.
        devices: How many are hit, drawn by the seed; the names of those; None for all.
        arguments: What follows the device's name.
        at: When, as a part of the usual latency, for faults in the middle; None draws it from `SPAN`.
    """

    word: str
    devices: int | tuple[str, ...] | None
    arguments: tuple[str, ...] = ()
    at: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps that stand before a cell is measured, and steps in the middle of each of its inferences."""

    name: str
    text: str
    before: tuple[Step, ...] = ()
    during: tuple[Step, ...] = ()

    @property
    def words(self) -> frozenset[str]:
        """Words of the faults script that it needs."""
        return frozenset(step.word for step in (*self.before, *self.during))


SPAN: Final = (0.2, 0.8)  # a fault outside would hardly meet the distributed part of an inference

_DELAY = Step("delay", None, ("exp", "0.5"))
_ALL = (
    Scenario("none", "nothing happens"),
    Scenario("delay", "every task takes a random part of 0.5 longer in the mean", (_DELAY,)),
    Scenario("dead-1", "one device is dead, and its connection says so", (Step("kill", 1),)),
    Scenario("dead-2", "two devices are dead, and their connections say so", (Step("kill", 2),)),
    Scenario("frozen-1", "one device answers nothing, and its connection stands", (Step("freeze", 1),)),
    Scenario("frozen-2", "two devices answer nothing, and their connections stand", (Step("freeze", 2),)),
    Scenario("dying-1", "one device dies in the middle of each inference", (), (Step("kill", 1),)),
    Scenario("dying-2", "two devices die in the middle of each inference", (), (Step("kill", 2),)),
    Scenario("both-1", "random delay, and one device is dead", (_DELAY, Step("kill", 1))),
    Scenario("both-2", "random delay, and two devices are dead", (_DELAY, Step("kill", 2))),
    Scenario("two-slow", "two devices are three times slower", (Step("slow", 2, ("3",)),)),
    Scenario("bimodal", "every task is drawn from a bimodal trace", (Step("delay", None, ("trace", SEED_PLACE)),)),
)
SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType({scenario.name: scenario for scenario in _ALL})
"""The scenarios that come with cocoi, by name."""

GROUPS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "failures": ("dead-1", "dead-2", "frozen-1", "frozen-2", "dying-1", "dying-2"),
        "both": ("both-1", "both-2"),
        "paper": ("none", "delay", "dead-1", "dead-2", "dying-1", "dying-2", "both-1", "both-2"),
        "bars": ("none", "delay", "two-slow", "dead-1"),
        "all": tuple(SCENARIOS),
    }
)
"""Names that stand for several scenarios."""


def choose(names: Iterable[str], own: Mapping[str, Scenario]) -> tuple[Scenario, ...]:
    """The scenarios of these names, each once, in order.

    Args:
        names: As typed; a group stands for its members.
        own: Those of the user's scenario file, which may replace ours.

    Raises:
        UnknownScenarioError: If there is none of a name.
    """
    known = {**SCENARIOS, **own}
    found: dict[str, Scenario] = {}
    for name in names:
        members = GROUPS[name] if name in GROUPS and name not in own else (name,)
        for member in members:
            if member not in known:
                raise UnknownScenarioError(member, (*known, *GROUPS))
            found[member] = known[member]
    return tuple(found.values())


def check_size(scenario: Scenario, devices: Sequence[str]) -> None:
    """Refuse a scenario that the fleet is too small for, or that names a device it has not.

    Raises:
        ScenarioTooLargeError, UnknownDeviceError: As they say.
    """
    for steps in (scenario.before, scenario.during):
        hit = sum(step.devices for step in steps if isinstance(step.devices, int))
        if hit > len(devices) or (hit == len(devices) and any(step.word in AWAY for step in steps)):
            raise ScenarioTooLargeError(scenario.name, hit, len(devices))
        for step in steps:
            for name in step.devices if isinstance(step.devices, tuple) else ():
                if name not in devices:
                    raise UnknownDeviceError(scenario.name, name, devices)


def standing_faults(scenario: Scenario, devices: Sequence[str], *, seed: int, model: str) -> tuple[Fault, ...]:
    """What is done before the rows of a cell run."""
    random = generator(seed, "before", model, scenario.name)
    return tuple(fault for fault, _ in _drawn(scenario.before, devices, random))


def passing_faults(
    scenario: Scenario, devices: Sequence[str], *, seed: int, model: str, repetition: int
) -> tuple[TimedFault, ...]:
    """What is done in the middle of each inference of a repetition, to devices that are not away anyway."""
    gone = {f.device for f in standing_faults(scenario, devices, seed=seed, model=model) if f.word in AWAY}
    left = [device for device in devices if device not in gone]
    random = generator(seed, "during", model, scenario.name, repetition)
    timed = []
    for fault, step in _drawn(scenario.during, left, random):
        drawn = float(random.uniform(*SPAN))
        timed.append(TimedFault(fault, drawn if step.at is None else step.at))
    return tuple(timed)


def _drawn(steps: Sequence[Step], devices: Sequence[str], random: np.random.Generator) -> list[tuple[Fault, Step]]:
    """The calls of steps; counts of different steps hit different devices as long as there are any."""
    shuffled = [devices[place] for place in random.permutation(len(devices))]
    faults: list[tuple[Fault, Step]] = []
    for step in steps:
        if step.devices is None:
            hit: Sequence[str] = devices
        elif isinstance(step.devices, tuple):
            hit = [name for name in step.devices if name in devices]
        else:
            hit, shuffled = shuffled[: step.devices], shuffled[step.devices :]
        for device in hit:
            number = str(int(random.integers(1, 2**31)))
            arguments = tuple(number if each == SEED_PLACE else each for each in step.arguments)
            faults.append((Fault(step.word, device, arguments), step))
    return faults
