"""From a model and tensors to a report: decide, cut, load agents, run, compare.

The engine lives in one event loop. It keeps what is expensive to make (folded models,
cut networks, opened sessions, programs on agents), so that a second inference of the
same model starts at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from cocoi_cli.model.network import LocalStage
from cocoi_cli.model.tensors import check_tensors
from cocoi_cli.planning.errors import TooFewAgentsError
from cocoi_cli.planning.plan import AUTO, LOCAL
from cocoi_cli.runtime.check import Tolerance, compare, is_half
from cocoi_cli.runtime.connecting import HURRY, open_all, open_living
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.deciding import Decider
from cocoi_cli.runtime.deployed import DeployedFleet, absence_warnings
from cocoi_cli.runtime.embedded import EmbeddedFleet
from cocoi_cli.runtime.failures import NoAgentsError
from cocoi_cli.runtime.host import HostKernels
from cocoi_cli.runtime.inference import Job, Outcome
from cocoi_cli.runtime.link import AgentLink
from cocoi_cli.runtime.placing import Placing
from cocoi_cli.runtime.preparing import Preparations
from cocoi_cli.runtime.report import InferenceReport
from cocoi_cli.runtime.returning import Returning
from cocoi_cli.runtime.settling import Case, Settler
from cocoi_cli.runtime.whole_model import link_to

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cocoi_cli.errors import CocoiError
    from cocoi_cli.model.layers import Prepared
    from cocoi_cli.model.network import LoadedModel, Network
    from cocoi_cli.planning.fleet_model import FleetModel
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.addresses import Absentee
    from cocoi_cli.runtime.host import Baseline, Kernels
    from cocoi_cli.runtime.loading import Loading
    from cocoi_cli.runtime.options import Options, Progress
    from cocoi_cli.runtime.rehearsals import Rehearsals
    from cocoi_cli.runtime.report import AnyArray, CheckReport, Verification


class Engine:
    """A fleet, the sessions of the host, and the coordinator between them."""

    def __init__(
        self,
        fleet: EmbeddedFleet | DeployedFleet | None = None,
        rehearsals: Rehearsals | None = None,
        model: FleetModel | None = None,
        kernels: Kernels | None = None,
        study: Kernels | None = None,
    ) -> None:
        """Plan for a fleet; None for no agents. `start` starts them, or connects to those that are there.

        Args:
            fleet: Where agents come from; an embedded one belongs to the engine from here on.
            rehearsals: What is known of plans from earlier processes; None to find everything out anew.
            model: What was measured of the fleet, for the planner; None where nothing was.
            kernels: What the host computes with; None for its own ONNX Runtime. Closed with the engine.
            study: What rehearsals compute with; None for the same. Not closed.
        """
        self._kernels = HostKernels() if kernels is None else kernels
        self._coordinator = Coordinator(self._kernels)
        self._placing = Placing(self._coordinator)
        self._preparations = Preparations(self._kernels)
        self._decider = Decider(model)
        self._settler = Settler(self._preparations, study or self._kernels, rehearsals)
        self._returning: Returning | None = None
        self._fleet = fleet
        self._links: tuple[AgentLink, ...] = ()
        self._absent: tuple[Absentee, ...] = ()
        self._untold: tuple[str, ...] = ()  # of absent members, for the next inference's warnings
        self._baselines: dict[tuple[object, ...], float] = {}

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
        for link in self._links:
            link.share_port(len(fleet.addresses))
        self._absent = fleet.absentees(failures)
        self._untold = absence_warnings(self._absent)
        self._returning = Returning(fleet, self._coordinator)

    def _links_to(self, fleet: EmbeddedFleet | DeployedFleet) -> tuple[AgentLink, ...]:
        return tuple(AgentLink(address.id, self._coordinator) for address in fleet.addresses)

    async def aclose(self) -> None:
        """Close every link and stop every agent that was started; idempotent."""
        links, self._links = self._links, ()
        returning, self._returning = self._returning, None
        if returning is not None:
            await returning.aclose()
        await self._placing.aclose()
        self._coordinator.close()
        await asyncio.gather(*(link.aclose() for link in links))
        fleet, self._fleet = self._fleet, None
        if isinstance(fleet, EmbeddedFleet):
            await fleet.__aexit__(None, None, None)
        self._kernels.close()

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
        await self._welcome_back()
        if options.forget:
            self._coordinator.forget()
        warnings = self._greet(progress, options)
        shapes = {key: tuple(array.shape) for key, array in tensors.items()}
        prepared = await asyncio.to_thread(self._preparations.prepare, model, shapes)
        if options.device:
            return await self._on_device(model, prepared, tensors, name, options, warnings)
        first = await self._first_baseline(model, shapes, tensors, options)
        alone_s = self._baselines.get(self._key(model, shapes))
        plan = await asyncio.to_thread(self._decide, prepared, options, alone_s)
        case = Case(model, shapes, plan, Tolerance(plan.transport, options.tolerance))
        baseline = first or await self._baseline(case, tensors, options)
        if baseline is None:
            settled = self._settler.known(case)
            outcome = await self._run_verified(settled, tensors, options, progress, observe)
            self._decider.took(plan, outcome.latency_s)
            seconds = self._baselines[self._key(model, shapes)]
            return self._report(model, name, outcome, seconds, None, (*warnings, *outcome.warnings))
        settled = await self._settler.settle(case, tensors, baseline)
        half = is_half(prepared.layers)
        once = options
        while True:
            outcome = await self._run_verified(settled, tensors, once, progress, observe)
            check = compare(outcome.outputs, baseline.outputs, case.tolerance, half=half)
            if check.passed and check.top1_equal is not False:
                break
            if settled.is_local:
                warnings.append(f"two runs on this machine alone differ by {check.max_rel_error:.0e}")
                break
            # The model was rehearsed on another input, on which its rounding did less.
            warnings.append(f"rounding errs by {check.max_rel_error:.0e} on this input; it is computed again")
            settled = await self._settler.tighten(case, tensors, baseline, check)
            once = replace(options, kill=0)
        self._decider.took(plan, outcome.latency_s)
        return self._report(
            *(model, name, outcome, baseline.seconds),
            check if options.check else None,
            (*warnings, *outcome.warnings),
        )

    async def _run_verified(
        self,
        plan: Plan,
        tensors: Mapping[str, AnyArray],
        options: Options,
        progress: Progress | None,
        observe: Callable[[str, AnyArray], None] | None,
    ) -> Outcome:
        """Run a plan; where answers contradict each other, again without the agent that stands against the rest.

        With one spare answer nobody knows who errs: then the host computes alone.
        """
        warnings: list[str] = []
        liars: list[str] = []
        found: Verification | None = None
        while True:
            outcome = await self._run(plan, tensors, options, progress, observe)
            verification = outcome.verification
            if verification is None or verification.passed:
                shown = found if verification is None else verification
                if shown is not None:
                    shown = replace(shown, distrusted=tuple(liars))
                return replace(outcome, warnings=(*warnings, *outcome.warnings), verification=shown)
            found, liar = verification, verification.liar
            options = replace(options, kill=0)
            if liar is None:
                text = f"answers contradict each other in {found.counted(found.inconsistent)}; the host computes alone"
                plan, options = plan.all_local("agents contradict each other"), replace(options, verify=0)
            else:
                cause = f"its answers contradict those of the others in {found.counted(found.suspects[liar])}"
                self._coordinator.distrust(liar, cause)
                liars.append(liar)
                text = f"{liar} is not used any more: {cause}; what it had a part in is computed again"
            warnings.append(text)
            if progress is not None:
                progress.warning(text)

    async def _first_baseline(
        self,
        model: LoadedModel,
        shapes: Mapping[str, tuple[int, ...]],
        tensors: Mapping[str, AnyArray],
        options: Options,
    ) -> Baseline | None:
        """Plain ONNX Runtime before anything is decided: the planner must know what it is to beat."""
        key = self._key(model, shapes)
        if options.plan is not None or options.scheme != AUTO or key in self._baselines:
            return None
        baseline = await asyncio.to_thread(self._kernels.baseline, model, tensors)
        self._baselines[key] = baseline.seconds
        return baseline

    async def _baseline(self, case: Case, tensors: Mapping[str, AnyArray], options: Options) -> Baseline | None:
        """Plain ONNX Runtime on this input; None where it was run before and need not be again."""
        key = self._key(case.model, case.shapes)
        wanted = options.compare or options.check or not self._settler.is_known(case)
        if not wanted and key in self._baselines:
            return None
        baseline = await asyncio.to_thread(self._kernels.baseline, case.model, tensors)
        self._baselines[key] = baseline.seconds
        return baseline

    def _key(self, model: LoadedModel, shapes: Mapping[str, tuple[int, ...]]) -> tuple[object, ...]:
        return (model.sha256, *sorted(shapes.items()))

    async def _on_device(
        self,
        model: LoadedModel,
        prepared: Prepared,
        tensors: Mapping[str, AnyArray],
        name: str,
        options: Options,
        warnings: list[str],
    ) -> InferenceReport:
        """The whole unmodified model on one agent."""
        link = link_to(self._links, options.device, self._coordinator.living)
        outputs, seconds = await self._coordinator.whole.run(link, model, tensors, options.deadline_s)
        shapes = {key: tuple(array.shape) for key, array in tensors.items()}
        key, check = self._key(model, shapes), None
        if options.compare or options.check or key not in self._baselines:
            baseline = await asyncio.to_thread(self._kernels.baseline, model, tensors)
            self._baselines[key] = baseline.seconds
            check = compare(
                outputs, baseline.outputs, Tolerance("f32", options.tolerance), half=is_half(prepared.layers)
            )
        outcome = Outcome(outputs, seconds, (), (), (), None)
        return self._report(
            model, name, outcome, self._baselines[key], check if options.check else None, tuple(warnings)
        )

    async def _run(
        self,
        plan: Plan,
        tensors: Mapping[str, AnyArray],
        options: Options,
        progress: Progress | None,
        observe: Callable[[str, AnyArray], None] | None,
    ) -> Outcome:
        """Load the agents and run the inference by one plan."""
        cut = await asyncio.to_thread(self._preparations.cut, plan)
        network, loading = cut.network, cut.loading
        if progress is not None:
            progress.planned(plan, [stage.name for stage in network.stages])
        late = await self._load(loading, plan)
        if progress is not None:
            for text in late:
                progress.warning(text)
        job = Job(
            network=network,
            plan=plan,
            programs=loading.stages,
            tensors=tensors,
            deadline_s=options.deadline_s,
            fallback=options.fallback,
            verify=options.verify,
            order=plan.agents,
            on_first_strip=self._killer(network, options.kill),
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

    async def _welcome_back(self) -> None:
        """Take in agents that have come back, and go on asking for those that have not."""
        if self._returning is None:
            return
        distrusted = self._coordinator.distrusted
        for link in self._returning.returned():
            replaced = [each for each in self._links if each.id == link.id]
            if link.id in distrusted:
                replaced = [link]
            else:
                link.share_port(len(self._returning.addresses))
                self._coordinator.join(link)
                self._links = (*(each for each in self._links if each.id != link.id), link)
                self._absent = tuple(absent for absent in self._absent if absent.id != link.id)
            for each in replaced:
                await each.aclose()
        self._returning.seek({*self._coordinator.living, *distrusted})

    def _decide(self, prepared: Prepared, options: Options, alone_s: float | None) -> Plan:
        """The plan for the agents that are up; a refusal is told who is missing."""
        try:
            living = self._coordinator.living
            shown = self._coordinator.experience.shown()
            return self._decider.decide(prepared, self._preparations.segments, options, living, alone_s, shown)
        except (TooFewAgentsError, NoAgentsError) as error:
            self._explain(error)
            raise

    def _explain(self, error: CocoiError) -> None:
        """Add to a refusal who is missing, and why."""
        if self._absent:
            error.details["absent"] = {absent.id: absent.reason for absent in self._absent}

    async def _load(self, loading: Loading, plan: Plan) -> tuple[str, ...]:
        """Bring the living agents up to date; returns a sentence about each that is not waited for."""
        if not loading.programs:
            return ()
        homes = self._coordinator.homes(plan.agents)
        links = [link for link in self._links if link.id in homes]
        programs = {agent: loading.at(home) for home, agent in enumerate(homes)}
        # Of tiles any agent can take all; but to go without half of the fleet would be slow.
        fewest = min((layer.k for layer in plan.layers if layer.distributed), default=1)
        enough = max(fewest, (len(links) + 1) // 2) if plan.segments or plan.k <= 1 else plan.k
        late = await self._placing.place(links, programs, loading.blobs, min(enough, len(links)))
        return tuple(f"{agent} is not waited for: it has not taken the weights in time" for agent in late)

    # --- faults on request -------------------------------------------------------------

    def _killer(self, network: Network, count: int) -> Callable[[int], None] | None:
        """SIGKILL `count` agents after the first strip of the middle distributed stage."""
        fleet = self._fleet
        if not isinstance(fleet, EmbeddedFleet) or count == 0:
            return None
        middle = sum(not isinstance(stage, LocalStage) for stage in network.stages) // 2
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
        baseline_s: float,
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
            baseline_s=baseline_s,
            stages=outcome.stages,
            agents=agents,
            warnings=warnings,
            check=check,
            trace=outcome.trace,
            verification=outcome.verification,
        )
