"""Agents inside the host whose answers come, or do not come, as a random history has it.

Session, coordinator, works, codes, casts and programs are those of every inference; only the links are
of this file. Of each strip only those shares are ever answered that come first in a random order until they can
be decoded, the limit on the noise gain included; whoever is asked for another one drops it, and the session
looks further. The answers arrive in random order from agents of random speed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from cocoi_agent.wire.messages import Answer, Status
from cocoi_cli.codes.families.hedged import SCHEME
from cocoi_cli.codes.registry import make_code
from cocoi_cli.model.network import LocalStage
from cocoi_cli.planning.defaults import gain_limit
from cocoi_cli.planning.plan import ConvPlan
from cocoi_cli.runtime.coordinator import Coordinator
from cocoi_cli.runtime.inference import Job
from cocoi_cli.runtime.inner_link import InnerLink
from cocoi_cli.runtime.loading import code_of, stage_programs
from cocoi_cli.runtime.rehearsal import agents_of
from cocoi_cli.runtime.rungs import stages_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from cocoi_cli.codes.code import Code
    from cocoi_cli.model.network import Network
    from cocoi_cli.planning.plan import Plan
    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.inference import Clock, Link, LinkOwner, Outcome
    from cocoi_cli.runtime.report import AnyArray
    from cocoi_cli.runtime.rungs import StagePlan

ENDS_S: Final = 3600.0  # nothing can be late inside the host; a job must have some deadline


class Survivors:
    """A network on agents inside the host, for one history after the other."""

    def __init__(self, network: Network, plan: Plan, kernels: Kernels) -> None:
        """Give every agent its programs.

        Args:
            network: Cut by the plan, the sessions of its local stages open.
            plan: What is distributed, and how.
            kernels: What agents and host compute with.
        """
        self._network, self._plan = network, plan
        # A clock that stands: nobody is late, so what is asked of whom depends on the draws alone.
        self._coordinator = Coordinator(kernels, clock=lambda: 0.0)
        self._fate = Fate(self._coordinator, {name: code_for(stage) for name, stage in stages_of(plan).items()})
        inner = [InnerLink(f"inner-{home + 1}", self._fate, kernels) for home in range(agents_of(plan))]
        plans = {layer.layer: layer for layer in plan.layers}
        programs: dict[str, tuple[str, ...]] = {}
        for stage in network.stages:
            if not isinstance(stage, LocalStage):
                sources = stage_programs(stage, plans.get(stage.name))
                programs[stage.name] = tuple(f"{index} {stage.name}" for index in range(len(sources)))
                for program, source in zip(programs[stage.name], sources, strict=True):
                    for link in inner:
                        link.hold(program, source)
        self._programs = programs
        self._coordinator.attach([FatedLink(link, self._fate) for link in inner])

    async def infer(self, tensors: Mapping[str, AnyArray], rng: np.random.Generator) -> Outcome:
        """One inference whose history is drawn from `rng`."""
        self._fate.begin(rng)
        job = Job(
            network=self._network,
            plan=self._plan,
            programs=self._programs,
            tensors=tensors,
            deadline_s=ENDS_S,
        )
        return await self._coordinator.run(job)

    def close(self) -> None:
        """Let go of the host's own thread."""
        self._coordinator.close()


class Fate:
    """Decides which answers are lost, and hands the others to the coordinator in an order of its own."""

    def __init__(self, owner: LinkOwner, codes: Mapping[str, tuple[Code, int]]) -> None:
        """Stand between links and their owner.

        Args:
            owner: Who hears of answers.
            codes: By stage: its code, and how many of its shares are at home at agents.
        """
        self._owner, self._codes = owner, codes
        self._kept: dict[int, frozenset[int]] = {}
        self._waiting: list[tuple[Link, Answer, Sequence[AnyArray]]] = []
        self._speeds: dict[str, float] = {}
        self._rng: np.random.Generator | None = None
        self._drawing = False

    def begin(self, rng: np.random.Generator) -> None:
        """Forget the history before; every draw of the next one comes from `rng`."""
        self._rng = rng
        self._kept.clear()
        self._speeds.clear()

    def keeps(self, stage: str, codeword: int, share: int) -> bool:
        """Whether an answer comes at all."""
        kept = self._kept.get(codeword)
        if kept is None:
            kept = self._kept[codeword] = survivors(*self._codes[stage], self._drawn())
        return share in kept

    def answered(self, link: Link, answer: Answer, tensors: Sequence[AnyArray]) -> None:
        """An agent is done; when that arrives is open."""
        self._waiting.append((link, answer, tensors))
        if not self._drawing:
            self._drawing = True
            asyncio.get_running_loop().call_soon(self._arrive)

    def lost(self, link: Link, cause: str) -> None:
        """A link is gone."""
        self._owner.lost(link, cause)

    def _arrive(self) -> None:
        """One of those that wait arrives; what agents do next is waited for before the next is drawn."""
        rng = self._drawn()
        for link, _, _ in self._waiting:
            if link.id not in self._speeds:
                self._speeds[link.id] = rng.exponential()
        weights = [self._speeds[link.id] for link, _, _ in self._waiting]
        total = sum(weights)
        place = int(rng.choice(len(weights), p=[weight / total for weight in weights]))
        self._owner.answered(*self._waiting.pop(place))
        self._drawing = bool(self._waiting)
        if self._drawing:
            asyncio.get_running_loop().call_soon(self._arrive)

    def _drawn(self) -> np.random.Generator:
        assert self._rng is not None, "`begin` comes first"
        return self._rng


class FatedLink:
    """The link of an agent inside the host that computes only what will arrive; see `inference.Link`."""

    def __init__(self, inner: InnerLink, fate: Fate) -> None:
        self._inner, self._fate = inner, fate
        self._dropped = 0

    @property
    def id(self) -> str:
        """Name in the fleet."""
        return self._inner.id

    @property
    def clock(self) -> Clock:
        """That of the agent."""
        return self._inner.clock

    def send_share(self, *, stream: int, codeword: int, share: int, program: str, **rest: Any) -> None:  # noqa: ANN401 - handed on as it is
        """Have a share computed, or dropped."""
        if self._fate.keeps(program.partition(" ")[2], codeword, share):
            self._inner.send_share(stream=stream, codeword=codeword, share=share, program=program, **rest)
            return
        self._dropped += 1
        answer = Answer(-self._dropped, stream, codeword, share, Status.SKIPPED)
        asyncio.get_running_loop().call_soon(self._fate.answered, self, answer, ())

    def cancel(self, codeword: int, share: int) -> None:
        """Every share is begun at once, so there is nothing to drop."""


def survivors(code: Code, homes: int, rng: np.random.Generator) -> frozenset[int]:
    """The shares of a strip that are answered: those that come first in a random order, until they can be decoded.

    Args:
        code: Of a fixed number of shares.
        homes: How many shares, from the first on, are at home at agents. Those of the host are always answered,
            but counted only where there is no decoding without them.
        rng: Draws the order.
    """
    assert code.shares is not None, "a code without a largest number of shares loses none for good"
    host = frozenset(range(homes, code.shares))
    kept = frozenset[int]() if code.ready(frozenset(range(homes))) else host
    for share in rng.permutation(homes).tolist():
        if code.ready(kept):
            break
        kept |= {share}
    return kept | host


def code_for(stage: StagePlan) -> tuple[Code, int]:
    """The code of a stage, and how many of its shares are at home at agents."""
    if isinstance(stage, ConvPlan):
        return code_of(stage), stage.n - stage.host
    return make_code(SCHEME, stage.n, 1, gain_limit=gain_limit(stage.transport)), stage.n - stage.host
