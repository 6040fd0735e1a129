"""From a model and tensors to a report: prepare, plan, cut, load agents, run, compare.

The engine lives in one event loop. It keeps what is expensive to make (folded models,
cut networks, opened sessions, programs on agents), so that a second inference of the
same model starts at once.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from cocoi_agent.wire.messages import Binding
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import bytes_of
from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.network import ConvStage, LocalStage, Network
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.slices import slice_program
from cocoi_cli.model.stages import cut
from cocoi_cli.model.tensors import check_tensors
from cocoi_cli.planning.defaults import LOCAL, default_plan
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.runtime.check import compare, is_half
from cocoi_cli.runtime.connecting import HURRY, open_all, open_living
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.deployed import DeployedFleet, absence_warnings
from cocoi_cli.runtime.embedded import EmbeddedFleet
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.link import AgentLink, Program
from cocoi_cli.runtime.placing import Placing
from cocoi_cli.runtime.rehearsal import stricter, within_budget
from cocoi_cli.runtime.rehearsals import key_of, verdict_of
from cocoi_cli.runtime.report import InferenceReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cocoi_cli.errors import CocoiError
    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.plan import ConvPlan, Plan
    from cocoi_cli.runtime.addresses import Absentee
    from cocoi_cli.runtime.host import Baseline
    from cocoi_cli.runtime.options import Options, Progress
    from cocoi_cli.runtime.rehearsals import Rehearsals
    from cocoi_cli.runtime.report import AnyArray, CheckReport


@dataclass(frozen=True, slots=True)
class Loading:
    """What agents must hold for a network.

    Attributes:
        programs: Conv stage name to its program.
        blobs: Every blob the programs name, by SHA-256.
    """

    programs: Mapping[str, Program]
    blobs: Mapping[str, bytes | memoryview]


class Engine:
    """A fleet, the sessions of the host, and the coordinator between them."""

    def __init__(
        self, fleet: EmbeddedFleet | DeployedFleet | None = None, rehearsals: Rehearsals | None = None
    ) -> None:
        """Plan for a fleet; None for no agents. `start` starts them, or connects to those that are there.

        Args:
            fleet: Where agents come from; an embedded one belongs to the engine from here on.
            rehearsals: What is known of plans from earlier processes; None to find everything out anew.
        """
        self._kernels = HostKernels()
        self._coordinator = Coordinator(self._kernels)
        self._placing = Placing(self._coordinator)
        self._fleet = fleet
        self._rehearsals = rehearsals
        self._links: tuple[AgentLink, ...] = ()
        self._absent: tuple[Absentee, ...] = ()
        self._untold: tuple[str, ...] = ()  # of absent members, for the next inference's warnings
        self._prepared: dict[tuple[object, ...], Prepared] = {}
        self._networks: dict[tuple[object, ...], tuple[Network, Loading]] = {}
        self._settled: dict[tuple[object, ...], Plan] = {}

    async def start(self) -> None:
        """Start the agents and connect to them; of a deployed fleet to those that answer.

        Raises:
            AgentStartError, LinkError: If one of an embedded fleet does not come up.
            BadKeysError: If this host has no usable key for a deployed one.
        """
        fleet = self._fleet
        if fleet is None:
            return
        try:
            if isinstance(fleet, EmbeddedFleet):
                await fleet.__aenter__()
                self._links = self._links_to(fleet)
                await open_all(self._links, fleet.addresses, fleet.host_identity)
            else:
                await self._connect(fleet)
        except BaseException:
            await self.aclose()
            raise
        self._coordinator.attach(self._links)

    async def _connect(self, fleet: DeployedFleet) -> None:
        """Keep the links that open; remember who is missing, and why."""
        links = self._links = self._links_to(fleet)
        failures = await open_living(links, fleet.addresses, fleet.identity, patience=HURRY)
        self._links = tuple(link for link in links if link.id not in failures)
        self._absent = fleet.absentees(failures)
        self._untold = absence_warnings(self._absent)

    def _links_to(self, fleet: EmbeddedFleet | DeployedFleet) -> tuple[AgentLink, ...]:
        return tuple(AgentLink(address.id, self._coordinator) for address in fleet.addresses)

    async def aclose(self) -> None:
        """Close every link and stop every agent that was started; idempotent."""
        links, self._links = self._links, ()
        await self._placing.aclose()
        await asyncio.gather(*(link.aclose() for link in links))
        fleet, self._fleet = self._fleet, None
        if isinstance(fleet, EmbeddedFleet):
            await fleet.__aexit__(None, None, None)

    def process_ids(self) -> dict[str, int]:
        """Agent id to process id, of an embedded fleet."""
        fleet = self._fleet
        return {a.id: fleet.process_id(a.id) for a in fleet.addresses} if isinstance(fleet, EmbeddedFleet) else {}

    async def infer(
        self,
        model: LoadedModel,
        tensors: Mapping[str, AnyArray],
        name: str,
        options: Options,
        progress: Progress | None,
        observe: Callable[[str, AnyArray], None] | None,
    ) -> InferenceReport:
        """Run one inference; see `Fleet.infer`."""
        check_tensors(model, tensors, name or model.name)
        warnings = self._greet(progress, options)
        shapes = {key: tuple(array.shape) for key, array in tensors.items()}
        prepared = await asyncio.to_thread(self._prepare, model, shapes)
        plan = self._plan(prepared, options)
        baseline = await asyncio.to_thread(self._kernels.baseline, model, tensors)
        settled = await self._settle(prepared, plan, tensors, baseline, self._key(model, shapes, plan))
        half = is_half(prepared.layers)
        kill = options.kill
        while True:
            outcome = await self._run(prepared, settled, tensors, options, kill, progress, observe)
            check = compare(outcome.outputs, baseline.outputs, options.transport, half=half)
            if check.passed and check.top1_equal is not False:
                break
            if not settled.distributed:
                warnings.append(f"two runs on this machine alone differ by {check.max_rel_error:.0e}")
                break
            # The model was rehearsed on another input, on which its rounding did less.
            warnings.append(f"rounding errs by {check.max_rel_error:.0e} on this input; it is computed again")
            settled = await self._tighten(prepared, plan, settled, tensors, baseline, check)
            self._remember(self._key(model, shapes, plan), plan, settled)
            kill = 0
        return self._report(
            model, name, outcome, baseline, check if options.check else None, (*warnings, *outcome.warnings)
        )

    async def _run(
        self,
        prepared: Prepared,
        plan: Plan,
        tensors: Mapping[str, AnyArray],
        options: Options,
        kill: int,
        progress: Progress | None,
        observe: Callable[[str, AnyArray], None] | None,
    ) -> Outcome:
        """Load the agents and run the inference by one plan."""
        network, loading = await asyncio.to_thread(self._cut, prepared, plan)
        if progress is not None:
            progress.planned(plan, [stage.name for stage in network.stages])
        await asyncio.to_thread(self._open_stages, network)
        late = await self._load(loading, plan)
        if progress is not None:
            for text in late:
                progress.warning(text)
        job = Job(
            network=network,
            plan=plan,
            programs={stage: program.id for stage, program in loading.programs.items()},
            tensors=tensors,
            deadline_s=options.deadline_s,
            fallback=options.fallback,
            on_first_strip=self._killer(network, kill),
            observe=observe,
        )
        outcome = await self._coordinator.run(job, progress, trace=options.trace)
        return replace(outcome, warnings=(*late, *outcome.warnings))

    def _greet(self, progress: Progress | None, options: Options) -> list[str]:
        """Tell the watcher who is up and, once, who is not; the latter is returned for the report."""
        living = len(self._coordinator.living)
        warnings, self._untold = list(self._untold), ()
        if not living and isinstance(self._fleet, DeployedFleet) and options.fallback and options.scheme != LOCAL:
            warnings.append("no agent of the fleet can be used; this machine computes alone")
        if progress is not None:
            progress.fleet_ready(living)
            for text in warnings:
                progress.warning(text)
        return warnings

    # --- preparation -----------------------------------------------------------------

    def _plan(self, prepared: Prepared, options: Options) -> Plan:
        """Decide every layer for the agents that are up."""
        living = len(self._coordinator.living)
        try:
            plan = default_plan(
                prepared.layers,
                agents=living,
                scheme=options.scheme,
                n=options.n,
                k=options.k,
                transport=options.transport,
            )
        except TooFewAgentsError as error:
            self._explain(error)
            raise
        if not living and options.scheme != LOCAL and not options.fallback:
            nobody = NoAgentsError(plan.k or 1)
            self._explain(nobody)
            raise nobody
        return plan

    def _explain(self, error: CocoiError) -> None:
        """Add to a refusal who is missing, and why."""
        if self._absent:
            error.details["absent"] = {absent.id: absent.reason for absent in self._absent}

    def _prepare(self, model: LoadedModel, shapes: Mapping[str, tuple[int, ...]]) -> Prepared:
        key = (model.sha256, *sorted(shapes.items()))
        if key not in self._prepared:
            self._prepared.clear()  # one model at one size at a time: weights may be large
            self._networks.clear()
            self._settled.clear()
            self._kernels.forget_stages()
            self._prepared[key] = find_layers(model, resolve_input_shapes(model, shapes))
        return self._prepared[key]

    def _cut(self, prepared: Prepared, plan: Plan) -> tuple[Network, Loading]:
        key = (id(prepared), plan)
        if key not in self._networks:
            network = cut(prepared, plan.distributed)
            self._networks[key] = (network, loading_of(network, plan))
        return self._networks[key]

    def _cutter(self, prepared: Prepared) -> Callable[[Plan], Awaitable[Network]]:
        """Cuts in a thread: large weights take seconds, and links must be served meanwhile."""

        async def cut_by(plan: Plan) -> Network:
            return (await asyncio.to_thread(self._cut, prepared, plan))[0]

        return cut_by

    async def _settle(
        self, prepared: Prepared, plan: Plan, tensors: Mapping[str, AnyArray], baseline: Baseline, kept_as: str
    ) -> Plan:
        """Rehearse a new plan once; later inferences of the same model at the same size rely on it."""
        key = (id(prepared), plan)
        if key not in self._settled:
            verdict = self._rehearsals.find(kept_as) if self._rehearsals is not None else None
            if verdict is not None:
                self._settled[key] = verdict.apply(plan)
            else:
                self._settled[key] = await within_budget(
                    plan, plan.transport, self._cutter(prepared), self._kernels, tensors, baseline.outputs
                )
                self._remember(kept_as, plan, self._settled[key])
        return self._settled[key]

    def _key(self, model: LoadedModel, shapes: Mapping[str, tuple[int, ...]], plan: Plan) -> str:
        """What later processes find a settled plan by; empty where nothing is kept."""
        return "" if self._rehearsals is None else key_of(model.sha256, shapes, plan)

    def _remember(self, key: str, plan: Plan, settled: Plan) -> None:
        verdict = verdict_of(plan, settled)
        if self._rehearsals is not None and verdict is not None and plan.distributed:
            self._rehearsals.keep(key, verdict)

    async def _tighten(
        self,
        prepared: Prepared,
        plan: Plan,
        settled: Plan,
        tensors: Mapping[str, AnyArray],
        baseline: Baseline,
        check: CheckReport,
    ) -> Plan:
        """A stricter plan than the settled one, for this input and those to come."""
        found = await within_budget(
            settled, plan.transport, self._cutter(prepared), self._kernels, tensors, baseline.outputs
        )
        if found == settled:
            found = stricter(settled, check.max_rel_error)
        self._settled[id(prepared), plan] = found
        return found

    def _open_stages(self, network: Network) -> None:
        for stage in network.stages:
            if isinstance(stage, LocalStage):
                self._kernels.open_stage(stage)

    async def _load(self, loading: Loading, plan: Plan) -> tuple[str, ...]:
        """Bring the living agents up to date; returns a sentence about each that is not waited for."""
        programs = tuple(loading.programs.values())
        if not programs:
            return ()
        living = set(self._coordinator.living)
        links = [link for link in self._links if link.id in living]
        late = await self._placing.place(links, programs, loading.blobs, plan.k)
        return tuple(f"{agent} is not waited for: it has not taken the weights in time" for agent in late)

    # --- faults on request -------------------------------------------------------------

    def _killer(self, network: Network, count: int) -> Callable[[int], None] | None:
        """SIGKILL `count` agents after the first strip of the middle distributed stage."""
        fleet = self._fleet
        if not isinstance(fleet, EmbeddedFleet) or count == 0:
            return None
        middle = sum(isinstance(stage, ConvStage) for stage in network.stages) // 2
        victims = self._coordinator.living[:count]

        def kill(number: int) -> None:
            if number == middle:
                fleet.kill(victims)

        return kill

    # --- the report ----------------------------------------------------------------------

    def _report(
        self,
        model: LoadedModel,
        name: str,
        outcome: Outcome,
        baseline: Baseline,
        check: CheckReport | None,
        warnings: tuple[str, ...],
    ) -> InferenceReport:
        fleet, agents = self._fleet, outcome.agents
        if isinstance(fleet, EmbeddedFleet):
            agents = tuple(replace(each, state="killed") if fleet.was_killed(each.id) else each for each in agents)
        elif fleet is not None:
            agents = fleet.with_absentees(agents, self._absent)
        return InferenceReport(
            model=model.name,
            input=name,
            outputs=outcome.outputs,
            latency_s=outcome.latency_s,
            baseline_s=baseline.seconds,
            stages=outcome.stages,
            agents=agents,
            warnings=warnings,
            check=check,
            trace=outcome.trace,
        )


def loading_of(network: Network, plan: Plan) -> Loading:
    """The programs and blobs that agents need for the conv stages of a network."""
    plans: dict[str, ConvPlan] = {layer.layer: layer for layer in plan.layers}
    programs: dict[str, Program] = {}
    blobs: dict[str, bytes | memoryview] = {}
    for stage in network.stages:
        if not isinstance(stage, ConvStage):
            continue
        decided = plans[stage.name]
        graph = slice_program(stage.spec, decided.axis, decided.transport)
        weights = bytes_of(np.ascontiguousarray(stage.weight))
        graph_hash, blob_hash = (hashlib.sha256(data).hexdigest() for data in (graph, weights))
        blobs[graph_hash], blobs[blob_hash] = graph, weights
        bindings = (Binding("w", blob_hash, "f32", stage.weight.shape, "input"),)
        programs[stage.name] = Program(program_id(graph_hash, bindings, linear=True), graph_hash, bindings)
    return Loading(programs, blobs)
