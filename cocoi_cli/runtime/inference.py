"""One running inference: the job, what is on its way, and what is counted for the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cocoi_agent.wire.messages import Answer, Status
from cocoi_cli.runtime.report import AgentReport, StageReport, Verification

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping, Sequence

    from cocoi_cli.model.network import LocalStage, Network
    from cocoi_cli.planning.plan import ConvPlan, Plan
    from cocoi_cli.runtime.driving import ActiveStage, KeptStage, SentShare
    from cocoi_cli.runtime.options import Progress
    from cocoi_cli.runtime.report import AnyArray, Trace
    from cocoi_cli.runtime.timeline import Timeline
    from cocoi_cli.runtime.works import DistributedStage, Work

DROPPED = frozenset({Status.CANCELLED, Status.SKIPPED, Status.EXPIRED})


@dataclass(frozen=True, slots=True)
class Clock:
    """Agent clock minus host clock, and how wrong that may be, in seconds."""

    offset_s: float
    uncertainty_s: float


class Link(Protocol):
    """What the coordinator needs of a connection to an agent."""

    @property
    def id(self) -> str:
        """Name in the fleet."""
        ...

    @property
    def clock(self) -> Clock:
        """How the agent's clock relates to ours."""
        ...

    def send_share(
        self,
        *,
        stream: int,
        codeword: int,
        share: int,
        program: str,
        x: AnyArray,
        scale: float,
        axis: int,
        reply: str,
        deadline_s: float | None,
    ) -> None:
        """Send one share to be computed."""

    def cancel(self, codeword: int, share: int) -> None:
        """Drop a share, as soon as the agent can."""


class LinkOwner(Protocol):
    """Who hears from a link; both are called in the event loop."""

    def answered(self, link: Link, answer: Answer, tensors: Sequence[AnyArray]) -> None:
        """An answer arrived, of whatever status."""

    def lost(self, link: Link, cause: str) -> None:
        """The link is gone; called once, after which nothing else is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One inference to run.

    Attributes:
        network: Cut by the plan.
        plan: What is distributed and how.
        programs: Stage name to the ids of the programs that agents hold for it, in the order of its variants.
        tensors: Inputs by ONNX name; arrays are borrowed.
        deadline_s: Seconds until agents are given up.
        fallback: Whether the host may compute what agents cannot.
        verify: Answers beyond those needed that are asked for after the last stage and must agree; 0 for none.
        order: Agents in the order in which they are given shares; those that it does not name follow.
        on_first_strip: Called once per conv stage when its first answer arrives, with its number among conv stages.
        observe: Called with name and result of every distributed stage: raw sums of conv stages, which are then
            finished at once instead of row by row.
    """

    network: Network
    plan: Plan
    programs: Mapping[str, Sequence[str]]
    tensors: Mapping[str, AnyArray]
    deadline_s: float
    fallback: bool = True
    verify: int = 0
    order: tuple[str, ...] = ()
    on_first_strip: Callable[[int], None] | None = None
    observe: Callable[[str, AnyArray], None] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job; see `InferenceReport` for the fields."""

    outputs: Mapping[str, AnyArray]
    latency_s: float
    stages: tuple[StageReport, ...]
    agents: tuple[AgentReport, ...]
    warnings: tuple[str, ...]
    trace: Trace | None
    verification: Verification | None = None
    unsent: frozenset[str] = frozenset()  # stages that the host computed because their input could not be sent


@dataclass(slots=True)
class Tally:
    """One agent's part; the fields are those of `AgentReport`."""

    used: int = 0
    late: int = 0
    cancelled: int = 0
    failed: int = 0
    bytes_out: int = 0
    bytes_in: int = 0


@dataclass(frozen=True, slots=True)
class StageRow:
    """What the report of a stage is made of; counts may still change while late answers come."""

    name: str
    reason: str
    wall_s: float
    work: DistributedStage | None

    def report(self) -> StageReport:
        """The row as it stands now."""
        if self.work is None:
            return StageReport(self.name, "local", "local", 0, 0, 0, self.reason, self.wall_s, 0, 0, 0, 0, 0, 1.0, 0, 0)
        work, counts = self.work, self.work.counts
        return StageReport(
            *(self.name, work.kind, work.scheme, work.n, work.k, work.strips, self.reason, self.wall_s),
            *(counts.arrived, counts.late, counts.lost, counts.host, counts.decoded, counts.gain),
            *(counts.bytes_out, counts.bytes_in),
        )


@dataclass(slots=True)
class Inference:
    """The state of one running job.

    Attributes:
        request: Its number in the session.
        job: What was asked for.
        homes: Agents alive at the start; share `i` is at home at `homes[i]`.
        timeline: Collects bars, if a trace was asked for.
        progress: Who watches.
        ends_at: Moment of the deadline on the coordinator's clock.
        tallies: By agent.
        warnings: In order, each once.
        rows: Of the stages that have ended.
        sent: Shares without an answer so far, by agent, codeword and share.
        threads: Host computations that run now.
        overdue: Whether the deadline has passed.
        host_helps: Whether the host has had to compute shares.
        kept: Stages with all that verifying them takes.
    """

    request: int
    job: Job
    homes: tuple[str, ...]
    timeline: Timeline
    progress: Progress | None
    ends_at: float
    tallies: dict[str, Tally]
    warnings: list[str] = field(default_factory=list)
    rows: list[StageRow] = field(default_factory=list)
    sent: dict[tuple[str, int, int], SentShare] = field(default_factory=dict)
    threads: set[asyncio.Task[None]] = field(default_factory=set)
    overdue: bool = False
    host_helps: bool = False
    kept: list[KeptStage] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Keep a warning and pass it on, once."""
        if text not in self.warnings:
            self.warnings.append(text)
            if self.progress is not None:
                self.progress.warning(text)

    def host_steps_in(self, stage: str) -> None:
        """Warn once that agents cannot finish a stage; a passed deadline has been told already."""
        if not (self.overdue or self.host_helps):
            self.host_helps = True
            self.warn(f"agents cannot finish {stage}; the host computes what they leave undone")

    def pass_deadline(self) -> None:
        """Agents are given up; say so where the host steps in."""
        self.overdue = True
        if self.job.fallback:
            self.warn(f"the deadline of {self.job.deadline_s:g} s passed; the host computes the rest")

    def began(self, index: int, name: str, kind: str, strips: int) -> None:
        """Tell the watcher of a new stage."""
        if self.progress is not None:
            self.progress.stage_started(index, name, kind, strips)

    def note_answer(self, active: ActiveStage) -> None:
        """Tell whoever asked for it that a stage has its first answer, unless the stage is only verified."""
        if active.number is None or active.answered:
            return
        active.answered = True
        if self.job.on_first_strip is not None:
            self.job.on_first_strip(active.number)

    def note_decoded(self, active: ActiveStage) -> None:
        """Count a strip that is decoded, and tell the watcher, unless the stage is only verified."""
        active.decoded += 1
        if self.progress is not None and active.number is not None:
            self.progress.strip_done(active.index, active.decoded, active.work.strips)

    def finish(self, index: int, row: StageRow) -> None:
        """Keep the row of a stage that has ended."""
        self.rows.append(row)
        if self.progress is not None:
            self.progress.stage_done(index, row.report())

    def take(
        self, agent: str, answer: Answer, tensors: Sequence[AnyArray], sent: SentShare, active: ActiveStage | None
    ) -> str:
        """Count an answer, keep its array if it is wanted, and say what became of it.

        Returns:
            `used`, `late`, `cancelled`, `failed`, or `malformed` where the arrays are
            not what the share asked for.
        """
        tally, work, counts = self.tallies[agent], sent.work, sent.work.counts
        size = sum(tensor.nbytes for tensor in tensors)
        tally.bytes_in += size
        counts.bytes_in += size
        if answer.status in DROPPED:
            tally.cancelled += 1
            counts.late += 1
            return "cancelled"
        if answer.status is not Status.DONE or not _fits(answer, tensors, work, sent.strip):
            tally.failed += 1
            counts.lost += 1
            code = answer.code or "bad-answer"
            self.warn(f"{agent} answered a share of {work.name} with `{code}`: {answer.message}")
            return "malformed" if answer.status is Status.DONE else "failed"
        if active is None or not active.wants(work, sent.strip, answer.part):
            tally.late += 1
            counts.late += 1
            return "late"
        active.accept(agent, sent.strip, answer.part, tensors[0], answer.tensors[0].scale)
        tally.used += 1
        counts.arrived += 1
        return "used"

    def take_from_host(
        self, host: str, answer: AnyArray | None, sent: SentShare, share: int, active: ActiveStage | None
    ) -> None:
        """Count an answer that the host computed itself, and keep it if it is wanted; None was dropped."""
        tally, work = self.tallies[host], sent.work
        if answer is None:
            tally.cancelled += 1
            return
        if active is None or not active.wants(work, sent.strip, share):
            tally.late += 1
            work.counts.late += 1
            return
        active.accept(host, sent.strip, share, answer, 1.0)
        tally.used += 1
        work.counts.arrived += 1

    def lose(self, agent: str) -> None:
        """Count the shares that a lost agent held."""
        for key in [key for key in self.sent if key[0] == agent]:
            self.sent.pop(key).work.counts.lost += 1

    def unsent(self) -> frozenset[str]:
        """Stages that the host computed because their input could not be sent."""
        return frozenset(row.name for row in self.rows if row.work is not None and not row.work.is_sendable)

    def give_up_leftovers(self) -> None:
        """Shares without an answer at the end count as late."""
        for (agent, _, _), sent in self.sent.items():
            sent.work.counts.late += 1
            self.tallies[agent].late += 1

    def agent_reports(self, living: frozenset[str], causes: Mapping[str, str]) -> tuple[AgentReport, ...]:
        """One row per agent, in fleet order; `causes` says why each of the others was lost."""
        return tuple(
            AgentReport(
                *(agent, "up" if agent in living else "lost"),
                *(tally.used, tally.late, tally.cancelled, tally.failed, tally.bytes_out, tally.bytes_in),
                causes.get(agent, ""),
            )
            for agent, tally in self.tallies.items()
        )


def _fits(answer: Answer, tensors: Sequence[AnyArray], work: Work, strip: int) -> bool:
    """Whether an answer is the one array that the share asked for."""
    return (
        len(tensors) == 1
        and answer.last
        and answer.row_start == 0
        and work.fits(strip, answer.part, tensors[0])
        and answer.tensors[0].dtype in ("f16", "f32")
    )


def local_reason(stage: LocalStage, plans: Mapping[str, ConvPlan]) -> str:
    """Why the conv layers of a local stage stay on the host; each distinct reason once."""
    return "; ".join(dict.fromkeys(plans[layer].reason for layer in stage.layers if layer in plans))
