"""Carries out what the session decides: one inference over links to agents.

`Coordinator.run` is one inference: a pass through the stages of the network (`forward_pass`), then their verification
if it is asked for (`verifying`). Both have their codewords computed by `Coordinator.drive`.

Everything happens in one event loop. Answers arrive as plain calls, become events, and the instructions that come back
are carried out at once: encoding and decoding take a millisecond or two and run in the loop; local stages and strips
that the host must compute itself run in a thread, so that lost agents are noticed meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, assert_never

from cocoi_agent.wire.messages import Answer, Status
from cocoi_cli.runtime.alarm import Alarm
from cocoi_cli.runtime.blocks import Blocks
from cocoi_cli.runtime.driving import ActiveStage, SentShare
from cocoi_cli.runtime.events import (
    AgentJoined,
    AgentLost,
    AgentOccupied,
    AgentReady,
    CancelWork,
    Codeword,
    ComputeLocally,
    DeadlinePassed,
    DecodeStrip,
    Event,
    HostComputed,
    Instruction,
    RequestCancelled,
    RequestFailed,
    SendShare,
    StageDone,
    StageStarted,
    StripArrived,
    StripFailed,
    TimePassed,
    WakeAt,
)
from cocoi_cli.runtime.experience import Experience
from cocoi_cli.runtime.failures import verdict
from cocoi_cli.runtime.forward_pass import ForwardPass
from cocoi_cli.runtime.host_share import HOST, HostShare
from cocoi_cli.runtime.inference import Inference, Job, Link, Outcome, Tally
from cocoi_cli.runtime.session import Session
from cocoi_cli.runtime.timeline import Timeline
from cocoi_cli.runtime.verifying import verify
from cocoi_cli.runtime.whole_model import WholeModel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cocoi_cli.runtime.host import Kernels
    from cocoi_cli.runtime.options import Progress
    from cocoi_cli.runtime.report import AnyArray

VERDICT_S = 0.25  # a killed process's socket closes within milliseconds; the rest is for a loaded machine


class Coordinator:
    """Drives inferences, one at a time, over a set of links.

    The session outlives an inference, so an agent that is still busy with a share that
    nobody wants any more is not given another one until it has answered.
    """

    def __init__(self, kernels: Kernels, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without links; `attach` adds them.

        Args:
            kernels: What the host computes with.
            clock: Monotonic seconds.
        """
        self._kernels, self._clock, self._blocks = kernels, clock, Blocks()
        self._host = HostShare(kernels, self)
        self.whole = WholeModel()
        self.experience = Experience()
        self._links: dict[str, Link] = {}
        self._session = Session(())
        self._causes: dict[str, str] = {}  # why each lost agent was lost
        self._distrusted: set[str] = set()
        self._untold: list[str] = []  # losses between inferences, for the next one's warnings
        self._inference: Inference | None = None
        self._active: ActiveStage | None = None
        self._requests = itertools.count(1)
        self._next_codeword = 1
        self._alarm = Alarm(clock, lambda: self._feed(TimePassed()))

    def attach(self, links: Sequence[Link]) -> None:
        """Set the fleet, in order; to be called once, before the first inference."""
        self._links = {link.id: link for link in links}
        self._session = Session(tuple(self._links))

    def join(self, link: Link) -> None:
        """Add an agent, or the new link to one that was lost; between inferences."""
        self._links[link.id] = link
        self._causes.pop(link.id, None)
        self.experience.forget(link.id)
        self._feed(AgentJoined(link.id))

    def forget(self) -> None:
        """Begin anew with the links as they are, remembering neither slow agents nor those that are busy."""
        living = self.living
        self.experience = Experience()
        self._session = Session(tuple(self._links))
        for agent in (*self._links, HOST):  # the host may still compute a share of before
            if agent not in living:
                self._session.handle(AgentLost(agent), self._clock())

    def distrust(self, agent: str, cause: str) -> None:
        """Have nothing to do with an agent any more, not even when it comes back."""
        self._distrusted.add(agent)
        self._causes[agent] = cause
        if agent in self._session.living:
            self._feed(AgentLost(agent))

    @property
    def distrusted(self) -> frozenset[str]:
        """Agents that are not to be asked again."""
        return frozenset(self._distrusted)

    def homes(self, order: Sequence[str]) -> tuple[str, ...]:
        """The agents that can be given work, those that `order` names first; share `i` is at home at the i-th."""
        living = self.living
        named = [agent for agent in order if agent in living]
        return (*named, *(agent for agent in living if agent not in named))

    def close(self) -> None:
        """Let go of the host's own thread."""
        self._host.close()

    @property
    def living(self) -> tuple[str, ...]:
        """Agents that can be given work, in fleet order."""
        return tuple(agent for agent in self.helpers if agent != HOST)

    async def run(self, job: Job, progress: Progress | None = None, *, trace: bool = False) -> Outcome:
        """Run one inference; `trace` asks for a timeline.

        Raises:
            NoAgentsError, CannotDecodeError, DeadlineError: Without fallback only.
            LocalStageError: ONNX Runtime failed on the host.
        """
        start = self._clock()
        inference = Inference(
            request=next(self._requests),
            job=job,
            homes=self.homes(job.order),
            timeline=Timeline(start, enabled=trace),
            progress=progress,
            ends_at=start + job.deadline_s,
            tallies={agent: Tally() for agent in (*self._links, *((HOST,) if job.plan.uses_host else ()))},
        )
        self._inference = inference
        while self._untold:
            inference.warn(self._untold.pop(0))
        deadline = asyncio.get_running_loop().call_later(job.deadline_s, self._deadline, inference)
        try:
            tensors = await ForwardPass(inference, self, self._kernels, self._blocks, self._clock).run()
            latency = self._clock() - start
            deadline.cancel()
            verification = await verify(inference, self, self._clock) if job.verify else None
            inference.give_up_leftovers()
            return Outcome(
                outputs=tensors,
                latency_s=latency,
                stages=tuple(row.report() for row in inference.rows),
                agents=inference.agent_reports(self._session.living, self._causes),
                warnings=tuple(inference.warnings),
                trace=inference.timeline.trace({agent: link.clock for agent, link in self._links.items()}),
                verification=verification,
                unsent=inference.unsent(),
            )
        finally:
            deadline.cancel()
            self._alarm.cancel()
            self.withdraw(inference.request)
            self._inference = None
            for task in inference.threads:
                task.cancel()

    # --- codewords in work; see `driving.Driver` ------------------------------------------

    @property
    def helpers(self) -> tuple[str, ...]:
        """Living agents in fleet order, then the host while it is included."""
        living = self._session.living
        return tuple(agent for agent in (*self._links, HOST) if agent in living)

    def include_host(self, *, wanted: bool) -> None:
        """Give the host shares like any agent from now on, or no more."""
        if wanted != (HOST in self._session.living):
            self._feed(AgentJoined(HOST) if wanted else AgentLost(HOST))

    def reserve(self, count: int) -> range:
        """Numbers for codewords, one after another, that no other has."""
        first = self._next_codeword
        self._next_codeword += count
        return range(first, self._next_codeword)

    async def drive(self, stage: ActiveStage, words: Sequence[Codeword]) -> None:
        """Have these codewords of a stage computed; return when the last is decoded."""
        self._active = stage
        try:
            self._feed(StageStarted(tuple(words)))
            await stage.done
        finally:
            self._active = None
            self.experience.stage_over(self._unanswered(stage))

    def _unanswered(self, stage: ActiveStage) -> list[tuple[str, float]]:
        """Agents that hold shares of a stage, and since when, in seconds."""
        now, sent = self._clock(), {} if self._inference is None else self._inference.sent
        return [
            (agent, now - each.at_s)
            for (agent, _, _), each in sent.items()
            if agent != HOST and each.work is stage.work
        ]

    def withdraw(self, request: int) -> None:
        """Want nothing more of what agents still compute for a request."""
        for instruction in self._session.handle(RequestCancelled(request), self._clock()):
            if isinstance(instruction, CancelWork):
                self._drop(instruction.agent, instruction.codeword, instruction.share)

    # --- the host's own shares --------------------------------------------------------

    def host_answered(self, codeword: int, share: int, answer: AnyArray | None, started_s: float) -> None:
        """A share that the host was to compute is there, or was dropped; see `host_share.Owner`."""
        inference, sent = self._inference, self._claim(HOST, codeword, share)
        if inference is not None and sent is not None:
            if answer is not None:
                inference.timeline.host("run", started_s, self._clock(), stage=sent.work.name, strip=sent.strip)
            inference.take_from_host(HOST, answer, sent, share, self._active)
        arrived, dropped = StripArrived(HOST, codeword, share), StripFailed(HOST, codeword, share, "skipped")
        self._feed(dropped if answer is None else arrived)

    def host_failed(self, codeword: int, share: int, error: BaseException) -> None:
        """The host could not compute a share that it was given: a stage that wants it fails; see `host_share.Owner`."""
        active, sent = self._active, self._claim(HOST, codeword, share)
        if active is not None and sent is not None and sent.work is active.work:
            active.fail(error)
        self._feed(StripFailed(HOST, codeword, share, "failed"))

    # --- events in ------------------------------------------------------------------

    def answered(self, link: Link, answer: Answer, tensors: Sequence[AnyArray]) -> None:
        """An agent answered a share; the links call this."""
        if self.whole.take(link.id, answer, tensors):
            return
        inference, sent = self._inference, self._claim(link.id, answer.codeword, answer.part)
        outcome = "late"
        if inference is not None and sent is not None:
            now = self._clock()
            try:
                outcome = inference.take(link.id, answer, tensors, sent, self._active)
            except Exception as error:  # our own bug: it must end the stage, not the connection
                self._give_up(error)
                return
            inference.timeline.answer(link.id, link.clock, answer, sent, now, outcome)
            if answer.status is Status.DONE and self._active is not None and sent.work is self._active.work:
                run_s, size = answer.finished_s - answer.started_s, sum(each.size for each in tensors)
                self.experience.answered(link.id, run_s, now - sent.at_s, size)
        if answer.status is Status.DONE and outcome != "malformed":
            self._feed(StripArrived(link.id, answer.codeword, answer.part))
        else:
            self._feed(StripFailed(link.id, answer.codeword, answer.part, answer.code or answer.status.value))

    def lost(self, link: Link, cause: str) -> None:
        """A link broke; the links call this."""
        self.whole.lost(link.id, cause)
        if link.id in self._distrusted:  # it is out already, for another reason
            return
        self._causes[link.id] = cause
        inference, text = self._inference, f"{link.id} was lost: {cause}"
        if inference is None:
            self._untold.append(text)
        else:
            inference.lose(link.id)
            inference.warn(text)
        self._feed(AgentLost(link.id))

    def occupied(self, agent: str) -> None:
        """An agent is not ready for shares; those that it would be sent go to others."""
        self._feed(AgentOccupied(agent))

    def ready(self, agent: str) -> None:
        """An agent can take shares, from this moment on if it could not before."""
        self._feed(AgentReady(agent))

    def _deadline(self, inference: Inference) -> None:
        inference.pass_deadline()
        self._feed(DeadlinePassed(inference.request))

    # --- instructions out -----------------------------------------------------------

    def _feed(self, event: Event) -> None:
        """Let the session decide, and do what it says; a failure ends the stage, not the loop."""
        try:
            for instruction in self._session.handle(event, self._clock()):
                self._carry_out(instruction)
            if isinstance(event, StripArrived) and self._inference is not None and self._active is not None:
                self._inference.note_answer(self._active)
        except Exception as error:  # our own bug: it must end the stage, not the loop
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Hand an error to whoever waits for the stage; raise it if nobody does."""
        if self._active is None or self._active.done.done():
            raise error
        self._active.fail(error)

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case SendShare():
                self._send(instruction)
            case CancelWork(agent, codeword, share):
                self._drop(agent, codeword, share)
            case DecodeStrip():
                self._decode(instruction)
            case ComputeLocally():
                self._compute(instruction)
            case WakeAt(moment_s):
                self._alarm.set(moment_s)
            case StageDone():
                self._expect()[1].finish()
            case RequestFailed():
                self._fail(instruction)
            case _:
                assert_never(instruction)

    def _send(self, instruction: SendShare) -> None:
        inference, active = self._expect()
        work, agent, share = active.work, instruction.agent, instruction.share
        start, strip = self._clock(), active.strip_of(instruction.codeword)
        if agent == HOST:
            inference.sent[agent, instruction.codeword, share] = SentShare(start, work, strip)
            self._host.begin(work, strip, instruction.codeword, share)
            return
        outgoing = work.share(strip, share)
        sent = self._clock()
        inference.timeline.host("encode", start, sent, stage=work.name, strip=strip, share=share)
        inference.sent[agent, instruction.codeword, share] = SentShare(sent, work, strip)
        inference.tallies[agent].bytes_out += outgoing.x.nbytes
        work.counts.bytes_out += outgoing.x.nbytes
        self._links[agent].send_share(
            stream=inference.request,
            codeword=instruction.codeword,
            share=share,
            program=active.programs[outgoing.variant],
            x=outgoing.x,
            scale=outgoing.scale,
            axis=outgoing.axis,
            reply=outgoing.reply,
            deadline_s=max(inference.ends_at - sent, 0.0) if not inference.overdue else None,
        )

    def _drop(self, agent: str, codeword: int, share: int) -> None:
        if agent == HOST:
            self._host.cancel(codeword, share)
        else:
            self._links[agent].cancel(codeword, share)

    def _decode(self, instruction: DecodeStrip) -> None:
        inference, active = self._expect()
        start, strip = self._clock(), active.strip_of(instruction.codeword)
        if active.work.decode(strip, instruction.shares, self._kernels):
            inference.timeline.host("decode", start, self._clock(), stage=active.work.name, strip=strip)
        inference.note_decoded(active)

    def _compute(self, instruction: ComputeLocally) -> None:
        inference, active = self._expect()
        if active.number is not None:
            inference.host_steps_in(active.work.name)
        task = asyncio.get_running_loop().create_task(self._compute_on_host(inference, active, instruction))
        inference.threads.add(task)
        task.add_done_callback(inference.threads.discard)

    async def _compute_on_host(self, inference: Inference, active: ActiveStage, instruction: ComputeLocally) -> None:
        start, work, strip = self._clock(), active.work, active.strip_of(instruction.codeword)
        try:
            answers = await asyncio.to_thread(work.convolve, self._kernels, strip, instruction.shares)
        except Exception as error:  # handed to whoever waits for the stage
            active.fail(error)
            return
        inference.timeline.host("local", start, self._clock(), stage=work.name, strip=strip)
        for share, answer in zip(instruction.shares, answers, strict=True):
            if active.wants(work, strip, share):
                active.accept(HOST, strip, share, answer, 1.0)
                work.counts.host += 1
        self._feed(HostComputed(instruction.codeword, instruction.shares))

    def _fail(self, failed: RequestFailed) -> None:
        """Name the failure a moment later: agents that die together are noticed one after another."""
        inference, active = self._expect()

        def name() -> None:
            active.fail(verdict(failed, len(self.living), inference.job.deadline_s))

        asyncio.get_running_loop().call_later(VERDICT_S, name)

    # --- bookkeeping ------------------------------------------------------------------

    def _expect(self) -> tuple[Inference, ActiveStage]:
        """The running inference and stage: instructions come only while there are both."""
        assert self._inference is not None  # noqa: S101 - an invariant of the session
        assert self._active is not None  # noqa: S101 - an invariant of the session
        return self._inference, self._active

    def _claim(self, agent: str, codeword: int, share: int) -> SentShare | None:
        """A share of the running inference that was on its way until now."""
        return self._inference.sent.pop((agent, codeword, share), None) if self._inference is not None else None
