"""Who computes which strip: the decisions of an inference, without any input or output.

Feed `Session.handle` one event after another, each with the time it happened; carry
out the instructions it returns, in order. Time is an argument, nothing here waits,
and the same object drives real agents and those inside the host. What happens to a
codeword is here; `assignment` has the rules by which shares are given out, `agents` what
each agent holds.

Theory of operation (docs/methods.md, "Pulled strips"):

* Each strip index is a codeword of its own. Share `i` is at home at one agent, which
  begins with codeword `floor(i * strips / n)`, so agents start at different strips.
* An agent that has nothing in flight is given the codeword that lacks most, counting
  what is in flight elsewhere and on time; ties go to the next in cyclic order.
* An agent that answers more slowly than the others (`pace`) is left out where they finish before it would.
* A holder is *late* after 1.5 times the median answering time of the stage (`LATE`).
  What is late no longer counts as in flight, so that an idle agent is given a
  redundant share, or, where the code has no spare one, the same share again.
* A share whose home is gone may be computed by any living agent (resend). Where no
  agent can help any more, or the deadline has passed, the host computes.
* A running convolution cannot be stopped: an agent stays busy until it has answered
  or refused each share it holds, whether or not somebody still wants it. One that is
  occupied otherwise (it still takes weights) counts as busy with an unwanted share.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from cocoi_cli.runtime.agents import Agents
from cocoi_cli.runtime.assignment import Assignment
from cocoi_cli.runtime.codewords import Group, Open
from cocoi_cli.runtime.events import (
    AgentJoined,
    AgentLost,
    AgentOccupied,
    AgentReady,
    CancelWork,
    ComputeLocally,
    DeadlinePassed,
    DecodeStrip,
    Event,
    HostComputed,
    Instruction,
    RequestCancelled,
    RequestFailed,
    StageDone,
    StageStarted,
    StripArrived,
    StripFailed,
    TimePassed,
    WakeAt,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.codes.code import Counting

HARMLESS = frozenset({"cancelled", "skipped", "expired"})  # an agent that drops what it was told to drop did not fail


class Session:
    """The state of all codewords in work and of the agents that compute them."""

    def __init__(self, agents: Sequence[str], *, window: int = 1) -> None:
        """Begin with living agents.

        Args:
            agents: Ids; free agents are served in this order.
            window: Shares that an agent may hold at once.
        """
        self._agents = Agents(agents, window)
        self._open: dict[int, Open] = {}
        self._groups: dict[int, Group] = {}
        self._overdue: set[int] = set()
        self._answered: dict[int, set[str]] = {}  # request -> agents that answered anything
        self._woken_at: float | None = None
        self._now = 0.0  # moment of the event in hand

    def __repr__(self) -> str:
        """Living agents and, for each open codeword, what arrived and what flies."""
        words = ", ".join(
            f"{key}: {sorted(state.arrived)} + {sorted(state.flying)}" for key, state in sorted(self._open.items())
        )
        return f"<Session {len(self.living)}/{len(self._agents.order)} agents, open {{{words}}}>"

    @property
    def living(self) -> frozenset[str]:
        """Agents that have not been lost."""
        return frozenset(self._agents.living)

    def handle(self, event: Event, now: float) -> list[Instruction]:
        """Take one event; return what the driver must do, in order.

        Args:
            event: What happened.
            now: When, in seconds of a monotonic clock of the caller's choice.
        """
        out: list[Instruction] = []
        self._now = now
        match event:
            case StageStarted():
                self._start(event, out)
            case StripArrived():
                self._arrived(event, out)
            case StripFailed():
                self._failed(event)
            case AgentLost():
                self._lost(event.agent)
            case AgentJoined():
                self._lost(event.agent)  # what it held before, if it was never told to be lost, does not come any more
                self._agents.join(event.agent)
            case AgentOccupied():
                self._agents.occupy(event.agent, now)
            case AgentReady():
                self._agents.free(event.agent)
            case HostComputed():
                self._host_computed(event, out)
            case DeadlinePassed():
                self._overdue.add(event.request)
            case RequestCancelled():
                self._cancel(event.request, out)
            case TimePassed():
                self._woken_at = None
            case _:
                assert_never(event)
        self._assign(out)
        self._rescue(out)
        self._wake(out)
        return out

    # --- events ---------------------------------------------------------------

    def _start(self, event: StageStarted, out: list[Instruction]) -> None:
        for word in event.codewords:
            group = self._groups.setdefault(word.group, Group(patient=word.patient))
            group.left += 1
            self._open[word.id] = Open(word, group)
        for word in event.codewords:
            if word.given:
                self._settle(self._open[word.id], out)

    def _arrived(self, event: StripArrived, out: list[Instruction]) -> None:
        seconds = self._agents.answer(event.agent, event.codeword, event.share, self._now)
        state = self._open.get(event.codeword)
        if seconds is None or state is None:  # nobody asked for it, or waits for it any more
            return
        state.flying.pop((event.agent, event.share), None)
        state.group.answered_in(seconds)
        self._agents.learn(event.agent, seconds, state.group.typical_s)
        for request in state.word.requests:
            self._answered.setdefault(request, set()).add(event.agent)
        if event.share not in state.arrived:
            state.arrived.append(event.share)
        self._settle(state, out)

    def _failed(self, event: StripFailed) -> None:
        self._agents.refuse(event.agent, event.codeword, event.share)
        state = self._open.get(event.codeword)
        if state is None:
            return
        state.flying.pop((event.agent, event.share), None)
        state.provided_since = -math.inf
        state.refused.add((event.agent, event.share))
        if event.code not in HARMLESS:
            state.group.barred.add(event.agent)

    def _lost(self, agent: str) -> None:
        self._agents.lose(agent)
        for state in self._open.values():
            for key in [key for key in state.flying if key[0] == agent]:
                del state.flying[key]
                state.provided_since = -math.inf

    def _host_computed(self, event: HostComputed, out: list[Instruction]) -> None:
        state = self._open.get(event.codeword)
        if state is None:
            return
        for share in event.shares:
            state.hosted.discard(share)
            if share not in state.arrived:
                state.arrived.append(share)
        self._settle(state, out)

    def _cancel(self, request: int, out: list[Instruction]) -> None:
        for state in list(self._open.values()):
            if request not in state.word.requests:
                continue
            others = state.word.requests - {request}
            if others:
                state.word = replace(state.word, requests=others)
            else:
                self._close(state, out)
        self._overdue.discard(request)
        self._answered.pop(request, None)

    # --- decisions ------------------------------------------------------------

    def _settle(self, state: Open, out: list[Instruction]) -> None:
        """Decode as soon as the arrived shares suffice."""
        if not state.word.code.ready(frozenset(state.arrived)):
            return
        out.append(DecodeStrip(state.word.id, tuple(state.arrived)))
        self._close(state, out)
        if state.group.left == 0:
            out.append(StageDone(state.word.group))

    def _close(self, state: Open, out: list[Instruction]) -> None:
        for agent, share in state.flying:
            out.append(CancelWork(agent, state.word.id, share))
            self._agents.hold_in_vain(agent, state.word.id, share, state.group.typical_s, self._now)
        del self._open[state.word.id]
        state.group.left -= 1
        if state.group.left == 0:
            del self._groups[state.word.group]
            self._agents.fade(state.group.begun)

    def _assign(self, out: list[Instruction]) -> None:
        """Give each agent that has room the share that is needed most."""
        idle = self._agents.with_room()
        if idle:
            wanting = [
                state for state in self._open.values() if not state.is_provided(self._now) and not self._given_up(state)
            ]
            if wanting:
                out += Assignment(self._agents, self._open, self._now).give(idle, wanting)

    # --- when agents are not enough --------------------------------------------

    def _given_up(self, state: Open) -> bool:
        """Whether agents get no further share of this codeword."""
        overdue = bool(self._overdue) and state.word.requests <= self._overdue
        return overdue or (not state.word.fallback and self._able(state) < _fewest(state.word.code))

    def _able(self, state: Open) -> int:
        return len(self._agents.living - state.group.barred)

    def _rescue(self, out: list[Instruction]) -> None:
        """Find codewords that no agent can finish; let the host compute, or fail."""
        failed: set[int] = set()
        for state in list(self._open.values()):
            will_come = state.word.fallback and not self._overdue and state.is_provided(self._now)
            if will_come or not self._stuck(state):
                continue
            if state.word.fallback:
                self._compute_on_host(state, out)
            else:
                failed |= state.word.requests
        for request in sorted(failed):
            out.append(self._failure(request))
            self._cancel(request, out)

    def _stuck(self, state: Open) -> bool:
        given_up = self._given_up(state)
        if not given_up and self._may_come(state):
            return False
        if state.word.code.deficit(state.have()) == 0:
            return False
        return given_up or not any(self._could_ever(agent, state) for agent in self._agents.living)

    def _may_come(self, state: Open) -> bool:
        """Whether something flies; what is hopelessly late need not be waited for by a host that may help."""
        age = state.newest_age(self._now)
        return age is not None and not (state.word.fallback and age >= state.group.hopeless_s)

    def _could_ever(self, agent: str, state: Open) -> bool:
        """Whether an agent may take a share of this codeword, now or when it is free."""
        if agent in state.group.barred:
            return False
        # Without a fallback nothing is won by giving up before the deadline.
        if state.word.fallback and self._agents.is_held_up(agent, self._open, self._now, hopeless=True):
            return False
        code, have = state.word.code, state.have()
        if code.shares is None:
            return True
        own = state.home_of.get(agent)
        shares = range(code.shares) if code.movable else () if own is None else (own,)
        return any(state.may_go(agent, share) and code.useful(share, have) for share in shares)

    def _compute_on_host(self, state: Open, out: list[Instruction]) -> None:
        """Have the host compute what makes the code content; what arrived already is kept."""
        added = state.word.code.completing(state.have())
        state.hosted.update(added)
        out.append(ComputeLocally(state.word.id, added))

    def _failure(self, request: int) -> RequestFailed:
        states = [state for state in self._open.values() if request in state.word.requests]
        overdue = request in self._overdue
        answering = len(self._answered.get(request, set())) if overdue else min(self._able(state) for state in states)
        return RequestFailed(request, answering, max(_fewest(state.word.code) for state in states), overdue)

    def _wake(self, out: list[Instruction]) -> None:
        """Ask to be woken when the next share becomes overdue, in either sense."""
        moment = min((state.next_overdue(self._now) for state in self._open.values()), default=math.inf)
        if self._open and all(not state.flying for state in self._open.values()):
            moment = min(moment, self._agents.next_hopeless(self._open, self._now))
        if moment != self._woken_at and moment < math.inf:
            self._woken_at = moment
            out.append(WakeAt(moment))


def _fewest(code: Counting) -> int:
    """Agents without which a code cannot be decoded; of a rateless one each agent answers as often as needed."""
    return code.needed if code.shares is not None else 1
