"""Which plan an inference follows: one that was given, one by rule, or the planner's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Final

from cocoi_cli.errors import ConfigurationError
from cocoi_cli.model.weights import bytes_beside
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.planning.plan import AUTO, LOCAL
from cocoi_cli.planning.plan_check import check_inputs, check_plan
from cocoi_cli.planning.planner import make_plan
from cocoi_cli.planning.request import Request
from cocoi_cli.runtime.experience import Shown, has_changed
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.trials import Trials

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.segments import Segment
    from cocoi_cli.planning.fleet_model import DeviceModel, FleetModel
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.options import Options


# A new plan costs a second of planning, rehearsal and loading. An agent that is slow now and then must not cost one
# each time: whoever has changed a plan waits twice as long for the next change.
PATIENCE: Final = 2
MOST_PATIENCE: Final = 256
# A plan that does without slow agents, or without any, learns nothing of them: after so many inferences they are
# planned with as if they were well again, and after so many more what they have shown counts.
PARDON: Final = 64
MOST_PARDON: Final = 1024
PROBATION: Final = 8

_NOTHING: Final = Shown()


class NoProfileError(ConfigurationError):
    """The planner is to decide, and nothing was measured that it could decide by."""

    code: ClassVar[str] = "no-measurements"

    def __init__(self) -> None:
        super().__init__("the planner decides by measurements, and this fleet has none")


@dataclass(slots=True)
class _Kept:
    """A plan of the planner's, and what was tried beside it.

    Attributes:
        trials: Chooses between them.
        names: The devices that they are for.
        shown: What was known of them.
        believed: What of that the planner's plan was made by.
        patience: Inferences for which they are kept whatever their agents do.
        pardon: Inferences after which those that were slow are trusted again.
        uses: Inferences that followed one of them.
    """

    trials: Trials
    names: frozenset[str]
    shown: Shown
    believed: Shown
    patience: int
    pardon: int
    uses: int = 0

    def is_old(self, now: Shown) -> bool:
        """Whether agents compute so much otherwise by now that other plans are worth their time."""
        return self.shown.is_out_of_date(now) and self.uses >= self.patience

    def anew(self, plan: Plan, names: frozenset[str], now: Shown) -> Trials:
        """Trials of a plan that was made for these agents, as they compute now."""
        same = names == self.names and not has_changed(self.shown.slow, now.slow)
        return self.trials.anew(plan, same_agents=same)

    def is_to_pardon(self) -> bool:
        """Whether those that were slow have been done without for long enough."""
        return bool(self.shown.slow) and self.uses >= self.pardon


class Decider:
    """Makes plans; the planner's are kept while enough of their agents live and compute as they did.

    What their inferences take decides between the planner's first and others (`trials`).
    """

    def __init__(self, model: FleetModel | None) -> None:
        """Decide by what is known of the fleet; None where nothing was measured."""
        self._model = model
        self._kept: dict[tuple[object, ...], _Kept] = {}

    def decide(
        self,
        prepared: Prepared,
        segments: Callable[[], Sequence[Segment]],
        options: Options,
        living: tuple[str, ...],
        alone_s: float | None = None,
        shown: Shown = _NOTHING,
    ) -> Plan:
        """The plan for the agents that are up.

        Args:
            prepared: The model.
            segments: Gives what of it can be computed tile by tile, where that is asked for.
            options: What the caller wants.
            living: Agents that can be given work.
            alone_s: What the unmodified model takes on the host; None where that was not measured.
            shown: How agents compute otherwise than they were measured.

        Raises:
            UsageError: What is asked for does not exist or does not fit the model.
            TooFewAgentsError: More agents are asked for than live.
            NoAgentsError: No agent lives, and the host may not compute alone.
            NoProfileError: The planner is asked for and nothing was measured.
        """
        if options.plan is not None:
            _check_given(options.plan, options, prepared, segments(), len(living))
            return options.plan if living else options.plan.all_local("no agent is live")
        if options.scheme == AUTO:
            return self._planned(prepared, segments, options, living, alone_s, shown)
        plan = default_plan(
            prepared.layers,
            agents=len(living),
            scheme=options.scheme,
            n=options.n,
            k=options.k,
            transport=options.transport,
            strips=options.strips,
        )
        if not living and options.scheme != LOCAL and not options.fallback:
            raise NoAgentsError(plan.k or 1)
        return plan

    def took(self, plan: Plan, seconds: float) -> None:
        """An inference by a plan from `decide` has been made."""
        for kept in self._kept.values():
            kept.trials.took(plan, seconds)

    def _planned(
        self,
        prepared: Prepared,
        segments: Callable[[], Sequence[Segment]],
        options: Options,
        living: tuple[str, ...],
        alone_s: float | None,
        shown: Shown,
    ) -> Plan:
        if self._model is None:
            raise NoProfileError
        if not living and not options.fallback:
            raise NoAgentsError(1)
        wishes = (options.transport, options.tolerance, options.host)
        key = (prepared.model.sha256, *sorted(prepared.input_shapes.items()), *wishes)
        # Devices that were not measured are nothing to plan with; they take shares that nobody else has.
        known = tuple(device for device in self._model.devices if device.name in living)
        names = frozenset(device.name for device in known)
        kept = before = self._kept.get(key)
        patience, pardon = PATIENCE, PARDON
        if kept is not None and kept.is_old(shown):
            patience, pardon = min(2 * kept.patience, MOST_PATIENCE), kept.pardon
            kept = None
        elif kept is not None and kept.is_to_pardon():
            patience, pardon = PROBATION, min(2 * kept.pardon, MOST_PARDON)
            kept, shown = None, _NOTHING

        def plan_for(believed: Shown, error: float = 1.0) -> Plan:
            assert self._model is not None  # noqa: S101 - asked above
            beside = bytes_beside(prepared)
            request = Request(transport=options.transport, host=options.host, alone_s=alone_s, bytes_beside=beside)
            slow = believed.slow
            devices = tuple(_slowed(each, slow.get(each.name, 1.0) * error, believed.factors) for each in known)
            return make_plan(prepared.layers, segments(), replace(self._model, devices=devices), request)

        if kept is None or not _enough(kept.trials, kept.names, names):
            believed = shown
            plan = plan_for(believed)
            if plan.is_local and shown.varies:  # foreseen too late by up to a third: inferences decide that (`Trials`)
                believed = replace(shown, spread=())
                plan = plan_for(believed)
            trials = Trials(plan) if before is None else before.anew(plan, names, shown)
            kept = self._kept[key] = _Kept(trials, names, shown, believed, patience, pardon)
        elif (error := kept.trials.take_error()) is not None:
            # What was seen since may be what the error is made of: it is not to count twice.
            kept.trials.add(plan_for(kept.believed, error))
        kept.uses += 1
        return kept.trials.choose(alone_s)


def _slowed(device: DeviceModel, slower: float, factors: Sequence[float]) -> DeviceModel:
    """A device as it computes now: so many times slower, and each share by one of the factors."""
    found = tuple((1 / len(factors), slower * each) for each in factors)
    return device if found == device.slowdown else replace(device, slowdown=found)


def _check_given(plan: Plan, options: Options, prepared: Prepared, segments: Sequence[Segment], living: int) -> None:
    """Refuse a plan that was written down where it does not fit the model at these sizes, or the agents."""
    origin = options.origin
    source, text = ("the plan", "") if origin is None else (origin.source, origin.text)
    if origin is not None:
        check_inputs(origin.inputs, source, model=prepared.model.name, inputs=prepared.input_shapes)
    # Where the host may step in, it also may where nobody is up from the start.
    able = None if options.fallback else living
    check_plan(plan, prepared.layers, segments, able, source=source, text=text)


def _enough(trials: Trials, planned: frozenset[str], living: frozenset[str]) -> bool:
    """Whether plans still suit the devices that live: one more than they need, and none that they do not know."""
    if not living <= planned:
        return False
    if trials.planned.is_local or living == planned:
        return True
    return len(living) > max(_needed(plan) for plan in trials.plans)


def _needed(plan: Plan) -> int:
    """Agents without which a plan cannot be followed as it is; at least one."""
    return max([1, *(layer.k - layer.host for layer in plan.layers if layer.distributed)])
