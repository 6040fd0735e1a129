"""Plans that have been rehearsed: what rounding allows of what was decided.

A plan is rehearsed once per model and size; what came of it is kept for the process,
and on disk where a folder is given.
"""

from __future__ import annotations

import asyncio
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

    def is_known(
        self, model: LoadedModel, shapes: Mapping[str, tuple[int, ...]], plan: Plan, tolerance: Tolerance
    ) -> bool:
        """Whether a plan was settled in this process."""
        return key_of(model.sha256, shapes, plan, tolerance) in self._settled

    def known(
        self, model: LoadedModel, shapes: Mapping[str, tuple[int, ...]], plan: Plan, tolerance: Tolerance
    ) -> Plan:
        """What a plan was settled to."""
        return self._settled[key_of(model.sha256, shapes, plan, tolerance)]

    async def settle(
        self,
        model: LoadedModel,
        shapes: Mapping[str, tuple[int, ...]],
        plan: Plan,
        tolerance: Tolerance,
        tensors: Mapping[str, AnyArray],
        baseline: Baseline,
    ) -> Plan:
        """Rehearse a new plan once; later inferences of the same model at the same size rely on it."""
        key = key_of(model.sha256, shapes, plan, tolerance)
        if key not in self._settled:
            verdict = self._rehearsals.find(key) if self._rehearsals is not None else None
            found = verdict.apply(plan) if verdict is not None else None
            if found is None:
                found = await within_budget(plan, tolerance, self._cut, self._kernels, tensors, baseline.outputs)
                self._remember(key, plan, found)
            self._settled[key] = found
        return self._settled[key]

    async def tighten(
        self,
        model: LoadedModel,
        shapes: Mapping[str, tuple[int, ...]],
        plan: Plan,
        tolerance: Tolerance,
        settled: Plan,
        tensors: Mapping[str, AnyArray],
        baseline: Baseline,
        check: CheckReport,
    ) -> Plan:
        """A stricter plan than the settled one, for this input and those to come."""
        found = await within_budget(settled, tolerance, self._cut, self._kernels, tensors, baseline.outputs)
        if found == settled:
            found = stricter(settled, check.max_rel_error)
        key = key_of(model.sha256, shapes, plan, tolerance)
        self._settled[key] = found
        self._remember(key, plan, found)
        return found

    async def _cut(self, plan: Plan) -> Network:
        """Cuts in a thread: large weights take seconds, and links must be served meanwhile."""
        return (await asyncio.to_thread(self._preparations.cut, plan)).network

    def _remember(self, key: str, plan: Plan, settled: Plan) -> None:
        verdict = verdict_of(plan, settled)
        if self._rehearsals is not None and verdict is not None and not plan.is_local:
            self._rehearsals.keep(key, verdict)
