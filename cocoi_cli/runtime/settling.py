"""Plans that have been rehearsed: what rounding allows of what was decided.

A plan is rehearsed once per model and size; what came of it is kept for the process,
and on disk where a folder is given.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cocoi_cli.runtime.rehearsal import stricter, within_budget
from cocoi_cli.runtime.rehearsals import key_of, verdict_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cocoi_cli.model.network import LoadedModel, Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.check import Tolerance
    from cocoi_cli.runtime.host import Baseline, Kernels
    from cocoi_cli.runtime.preparing import Preparations
    from cocoi_cli.runtime.rehearsals import Rehearsals
    from cocoi_cli.runtime.report import AnyArray, CheckReport


@dataclass(frozen=True, slots=True)
class Case:
    """What is settled: a plan for a model at a size, to a tolerance.

    Attributes:
        model: As loaded.
        shapes: Input name to shape.
        plan: Before its rehearsal.
        tolerance: What its rounding must keep to.
    """

    model: LoadedModel
    shapes: Mapping[str, tuple[int, ...]]
    plan: Plan
    tolerance: Tolerance

    @property
    def key(self) -> str:
        """A digest of all of it; `key_of` remembers it."""
        return key_of(self.model.sha256, self.shapes, self.plan, self.tolerance)


class Settler:
    """Turns plans into settled ones; the model that is prepared is the one that is meant."""

    def __init__(self, preparations: Preparations, kernels: Kernels, rehearsals: Rehearsals | None) -> None:
        """Nothing is settled yet.

        Args:
            preparations: Where networks are cut.
            kernels: What shares are computed with in rehearsals.
            rehearsals: What is known from earlier processes; None to find everything out anew.
        """
        self._preparations, self._kernels, self._rehearsals = preparations, kernels, rehearsals
        self._settled: dict[str, Plan] = {}

    def is_known(self, case: Case) -> bool:
        """Whether a plan was settled in this process."""
        return case.key in self._settled

    def known(self, case: Case) -> Plan:
        """What a plan was settled to."""
        return self._settled[case.key]

    async def settle(self, case: Case, tensors: Mapping[str, AnyArray], baseline: Baseline) -> Plan:
        """Rehearse a new plan once; later inferences of the same model at the same size rely on it."""
        if not self.is_known(case):
            verdict = self._rehearsals.find(case.key) if self._rehearsals is not None else None
            if verdict is not None:
                self._settled[case.key] = verdict.apply(case.plan)
            else:
                self._keep(case, await self._rehearsed(case.plan, case.tolerance, tensors, baseline))
        return self.known(case)

    async def tighten(
        self, case: Case, tensors: Mapping[str, AnyArray], baseline: Baseline, check: CheckReport
    ) -> Plan:
        """A stricter plan than the settled one, for this input and those to come."""
        settled = self.known(case)
        found = await self._rehearsed(settled, case.tolerance, tensors, baseline)
        self._keep(case, found if found != settled else stricter(settled, check.max_rel_error))
        return self.known(case)

    async def _rehearsed(
        self, plan: Plan, tolerance: Tolerance, tensors: Mapping[str, AnyArray], baseline: Baseline
    ) -> Plan:
        return await within_budget(plan, tolerance, self._cut, self._kernels, tensors, baseline.outputs)

    async def _cut(self, plan: Plan) -> Network:
        """Cuts in a thread: large weights take seconds, and links must be served meanwhile."""
        return (await asyncio.to_thread(self._preparations.cut, plan)).network

    def _keep(self, case: Case, settled: Plan) -> None:
        self._settled[case.key] = settled
        verdict = verdict_of(case.plan, settled)
        if self._rehearsals is not None and verdict is not None and not case.plan.is_local:
            self._rehearsals.keep(case.key, verdict)
