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

from cocoi_agent.transport import host_context
from cocoi_agent.wire.messages import Binding
from cocoi_agent.wire.programs import program_id
from cocoi_agent.wire.tensors import bytes_of
from cocoi_cli.model.layers import Prepared, find_layers
from cocoi_cli.model.network import ConvStage, LocalStage, Network
from cocoi_cli.model.shapes import resolve_input_shapes
from cocoi_cli.model.slices import slice_program
from cocoi_cli.model.stages import cut
from cocoi_cli.model.tensors import check_tensors
from cocoi_cli.planning.defaults import default_plan
from cocoi_cli.runtime.check import compare, is_half
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.embedded import EmbeddedFleet
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.link import AgentLink, LinkError, Program, tcp
from cocoi_cli.runtime.rehearsal import stricter, within_budget
from cocoi_cli.runtime.report import InferenceReport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from cocoi_cli.model.network import LoadedModel
    from cocoi_cli.planning.plan import ConvPlan, Plan
    from cocoi_cli.runtime.embedded import AgentAddress
    from cocoi_cli.runtime.host import Baseline
    from cocoi_cli.runtime.options import Options, Progress
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

    def __init__(self, agents: int) -> None:
        """Plan for so many embedded agents; 0 for none. `start` starts them."""
        self._kernels = HostKernels()
        self._coordinator = Coordinator(self._kernels)
        self._fleet = EmbeddedFleet(agents) if agents else None
        self._links: tuple[AgentLink, ...] = ()
        self._prepared: dict[tuple[object, ...], Prepared] = {}
        self._networks: dict[tuple[object, ...], tuple[Network, Loading]] = {}
        self._settled: dict[tuple[object, ...], Plan] = {}

    @staticmethod
    def check_size(agents: int) -> None:
        """Raise `FleetSizeError` if an embedded fleet cannot have so many agents."""
        EmbeddedFleet(agents)

    async def start(self) -> None:
        """Start the agents and connect to them.

        Raises:
            AgentStartError, LinkError: If one does not come up.
        """
        if self._fleet is None:
            return
        await self._fleet.__aenter__()
        try:
            self._links = tuple(AgentLink(address.id, self._coordinator) for address in self._fleet.addresses)
            async with asyncio.TaskGroup() as group:
                for link, address in zip(self._links, self._fleet.addresses, strict=True):
                    group.create_task(self._open(link, address))
        except BaseExceptionGroup as failures:
            await self.aclose()
            raise failures.exceptions[0] from None
        except BaseException:
            await self.aclose()
            raise
        self._coordinator.attach(self._links)

    async def aclose(self) -> None:
        """Close every link and stop every agent; idempotent."""
        links, self._links = self._links, ()
        await asyncio.gather(*(link.aclose() for link in links))
        fleet, self._fleet = self._fleet, None
        if fleet is not None:
            await fleet.__aexit__(None, None, None)

    def process_ids(self) -> dict[str, int]:
        """Agent id to process id."""
        fleet = self._fleet
        return {} if fleet is None else {a.id: fleet.process_id(a.id) for a in fleet.addresses}

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
        living = self._coordinator.living
        if progress is not None:
            progress.fleet_ready(len(living))
        shapes = {key: tuple(array.shape) for key, array in tensors.items()}
        prepared = await asyncio.to_thread(self._prepare, model, shapes)
        plan = default_plan(
            prepared.layers,
            agents=len(living),
            scheme=options.scheme,
            n=options.n,
            k=options.k,
            transport=options.transport,
        )
        if not living and options.scheme != "local" and not options.fallback:
            raise NoAgentsError(plan.k or 1)
        baseline = await asyncio.to_thread(self._kernels.baseline, model, tensors)
        settled = await self._settle(prepared, plan, tensors, baseline)
        half = is_half(prepared.layers)
        warnings: list[str] = []
        while True:
            kill = 0 if warnings else options.kill
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
        await self._load(loading)
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
        return await self._coordinator.run(job, progress, trace=options.trace)

    # --- preparation -----------------------------------------------------------------

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
        self, prepared: Prepared, plan: Plan, tensors: Mapping[str, AnyArray], baseline: Baseline
    ) -> Plan:
        """Rehearse a new plan once; later inferences of the same model at the same size rely on it."""
        key = (id(prepared), plan)
        if key not in self._settled:
            self._settled[key] = await within_budget(
                plan, plan.transport, self._cutter(prepared), self._kernels, tensors, baseline.outputs
            )
        return self._settled[key]

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

    async def _load(self, loading: Loading) -> None:
        """Bring every living agent up to date; one that refuses is given up, with its reason kept."""
        programs = tuple(loading.programs.values())
        if not programs:
            return
        living = set(self._coordinator.living)
        await asyncio.gather(
            *(self._load_one(link, programs, loading.blobs) for link in self._links if link.id in living)
        )

    async def _load_one(
        self, link: AgentLink, programs: tuple[Program, ...], blobs: Mapping[str, bytes | memoryview]
    ) -> None:
        try:
            await link.prepare(programs, blobs)
        except LinkError as error:
            await link.aclose()
            self._coordinator.lost(link, error.cause)

    async def _open(self, link: AgentLink, address: AgentAddress) -> None:
        assert self._fleet is not None  # noqa: S101 - only called from `start`
        identity = self._fleet.host_identity
        assert identity is not None  # noqa: S101 - made when the fleet started
        context = host_context(identity.certificate, identity.key, address.certificate)
        await link.open(f"{address.host}:{address.port}", tcp(address.host, address.port, context))

    # --- faults on request -------------------------------------------------------------

    def _killer(self, network: Network, count: int) -> Callable[[int], None] | None:
        """SIGKILL `count` agents after the first strip of the middle distributed stage."""
        fleet = self._fleet
        if fleet is None or count == 0:
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
        fleet = self._fleet
        agents = tuple(
            replace(agent, state="killed") if fleet is not None and fleet.was_killed(agent.id) else agent
            for agent in outcome.agents
        )
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
