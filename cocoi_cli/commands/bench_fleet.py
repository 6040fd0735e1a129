"""The fleet of a benchmark: opened anew for every scenario, and after every fault that broke connections.

A new fleet knows nothing of earlier inferences, so no scenario profits from another. Whoever runs inferences
asks for `generation`, and warms up again when it has changed.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

from cocoi_cli.benchmark.errors import AgentsStayAwayError
from cocoi_cli.benchmark.faults import NoFaults, ScriptFaults, SignalFaults
from cocoi_cli.commands import bench
from cocoi_cli.interrupts import held_back
from cocoi_cli.runtime.addresses import AgentAddress
from cocoi_cli.runtime.inquiry import Inquiry

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cocoi_cli.api import Fleet
    from cocoi_cli.benchmark.faults import Faults
    from cocoi_cli.commands.request import Source
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.inquiry import Condition
    from cocoi_cli.runtime.trust import Identity

RETURN_S: Final = 120.0  # a slow device takes half a minute to import ONNX Runtime
PAUSE_S: Final = 0.5


class BenchFleet:
    """One fleet after the other, all of the same agents; a context manager.

    Attributes:
        faults: Who can harm these agents.
        generation: Rises whenever the agents are connected anew.
    """

    def __init__(self, source: Source, faults: str | None, host_kernels: str, model: FleetModel | None = None) -> None:
        """Plan the fleet; nothing is started yet.

        Args:
            source: Where agents come from.
            faults: The faults script; None for what needs none.
            host_kernels: `thread` or `process`.
            model: What was measured of the devices, for the planner; None where nothing was.
        """
        self._source, self._model = source, model
        self._fleet: Fleet | None = None
        self._host_kernels = host_kernels
        self._kernels: Kernels | None = None
        self.generation = 0
        self.faults: Faults
        if faults is not None:
            self.faults = ScriptFaults(faults)
        elif source.agents is None:
            self.faults = SignalFaults(self._process_ids)
        else:
            self.faults = NoFaults(tuple(member.id for member in self._members()))

    def __enter__(self) -> Self:
        """Undo what an earlier benchmark may have left; agents wait for `renew`.

        Raises:
            FaultsFailedError: If the script fails.
        """
        if isinstance(self.faults, ScriptFaults):
            self.faults.clear()
        return self

    def __exit__(self, *_: object) -> None:
        """Undo every fault, close the connections, stop what was started; neither Ctrl-C nor SIGTERM cuts it short."""
        with held_back(forget=True):  # devices must not stay slow because somebody asked twice
            try:
                if self._fleet is not None or isinstance(self.faults, ScriptFaults):
                    self.faults.clear()
            finally:
                self.close()

    @property
    def fleet(self) -> Fleet:
        """The one that is open."""
        assert self._fleet is not None  # noqa: S101 - `renew` comes first
        return self._fleet

    @property
    def kernels_process(self) -> int | None:
        """The process that computes for the coordinator; None where this one does."""
        return getattr(self._kernels, "pid", None)

    def names(self) -> tuple[str, ...]:
        """The agents that should be up."""
        if self._source.agents is None:
            return tuple(f"agent-{number}" for number in range(1, self._source.embedded + 1))
        return tuple(member.id for member in self._members())

    @property
    def is_embedded(self) -> bool:
        """Whether the agents are processes of this machine, which a new fleet starts afresh."""
        return self._source.agents is None

    def renew(self, *, away: Collection[str] = (), within_s: float = RETURN_S) -> None:
        """Wait until every agent answers, and connect to all of them anew.

        Args:
            away: Agents that are not waited for.
            within_s: Seconds to wait.

        Raises:
            AgentsStayAwayError: If one does not answer in time.
            FaultsFailedError: If the script has no place for the coordinator's kernels.
            FleetError: If an agent on this machine does not start.
        """
        self.close()
        self._wait(away, within_s)
        kernels = self._kernels = bench.make_kernels(self._host_kernels)
        try:
            if isinstance(self.faults, ScriptFaults) and self.kernels_process is not None:
                self.faults.place_kernels(self.kernels_process)
            agents = self._source.agents
            if agents is None:
                fleet = bench.open_embedded(self._source.embedded, kernels)
            else:
                fleet = bench.open_deployed(agents, kernels, self._model)
        except BaseException:
            kernels.close()
            raise
        self._fleet = fleet
        fleet.__enter__()  # from here on the kernels belong to it
        self.generation += 1

    def close(self) -> None:
        """Close what is open; idempotent."""
        if self._fleet is not None:
            # Forgotten afterwards: what an interrupt leaves open, `__exit__` closes.
            self._fleet.__exit__(None, None, None)
            self._fleet = None

    def conditions(self) -> dict[str, Any]:
        """What each device says of itself: processor, temperature, whether it is throttled."""
        if self._source.agents is None:
            return {}
        return {name: _facts(each) for name, each in self._ask().items()}

    def _wait(self, absent: Collection[str], within_s: float) -> None:
        """Ask agents on devices until all answer; those on this machine are started anew anyway."""
        if self._source.agents is None:
            return
        ends = time.monotonic() + within_s
        while True:
            away = [name for name, each in self._ask().items() if each.state != "up" and name not in absent]
            if not away:
                return
            if time.monotonic() > ends:
                raise AgentsStayAwayError(away, within_s)
            time.sleep(PAUSE_S)

    def _process_ids(self) -> Mapping[str, int]:
        return self.fleet.process_ids()

    def _ask(self) -> Mapping[str, Condition]:
        agents = self._source.agents
        assert agents is not None  # noqa: S101 - only asked of agents on devices
        return ask_agents(self._members(), agents.identity)

    def _members(self) -> tuple[AgentAddress, ...]:
        agents = self._source.agents
        members = () if agents is None else agents.members
        return tuple(member for member in members if isinstance(member, AgentAddress))


def _facts(condition: Condition) -> dict[str, Any]:
    vitals = condition.vitals
    facts: dict[str, Any] = {"state": condition.state, **condition.machine}
    with suppress(AttributeError):
        facts |= {key: getattr(vitals, key) for key in ("temperature_c", "throttled", "undervolted", "load")}
    return facts


def ask_agents(members: Sequence[AgentAddress], identity: Identity | None) -> Mapping[str, Condition]:
    """How the agents on devices are. A module-level name, so that tests can put a fake in its place."""

    async def ask() -> dict[str, Condition]:
        async with Inquiry(members, identity) as inquiry:
            return await inquiry.ask()

    return asyncio.run(ask())
