"""Who computes which strip: the decisions of an inference, without any input or output.

Feed `Session.handle` one event after another, each with the time it happened; carry
out the instructions it returns, in order. Time is an argument, nothing here waits,
and the same object drives real agents and those inside the host.

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

from cocoi_cli.runtime.codewords import HOPELESS, LATE, Group, Need, Open
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
    SendShare,
    StageDone,
    StageStarted,
    StripArrived,
    StripFailed,
    TimePassed,
    WakeAt,
)
from cocoi_cli.runtime.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.codes.code import Counting

OTHER_WORK = (-1, -1)  # stands among an agent's shares for what is no share; codewords begin at 0
MOST_SKIPPED = 16  # shares of a rateless code that are passed over because they would add nothing
HARMLESS = frozenset({"cancelled", "skipped", "expired"})  # an agent that drops what it was told to drop did not fail


class Session:
    """The state of all codewords in work and of the agents that compute them."""

    def __init__(self, agents: Sequence[str], *, window: int = 1) -> None:
        """Begin with living agents.

        Args:
            agents: Ids; free agents are served in this order.
            window: Shares that an agent may hold at once.
        """
        self.window = window
        self.pace = Pace()
        self._agents = tuple(agents)
        self._living = set(agents)
        self._open: dict[int, Open] = {}
        self._groups: dict[int, Group] = {}
        self._busy: dict[str, dict[tuple[int, int], float]] = {agent: {} for agent in agents}
        self._overdue: set[int] = set()
        self._free_since: dict[str, float] = {}  # agent -> when it last answered
        self._unwanted: dict[tuple[str, int, int], float] = {}  # shares held in vain -> the usual time for them
        self._left_out: frozenset[str] = frozenset()  # agents that are too slow for what is lacking now
        self._answered: dict[int, set[str]] = {}  # request -> agents that answered anything
        self._woken_at: float | None = None
        self._now = 0.0  # moment of the event in hand

    def __repr__(self) -> str:
        """Living agents and, for each open codeword, what arrived and what flies."""
        words = ", ".join(
            f"{key}: {sorted(state.arrived)} + {sorted(state.flying)}" for key, state in sorted(self._open.items())
        )
        return f"<Session {len(self._living)}/{len(self._agents)} agents, open {{{words}}}>"

    @property
    def living(self) -> frozenset[str]:
        """Agents that have not been lost."""
        return frozenset(self._living)

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
                self._joined(event.agent)
            case AgentOccupied():
                self._busy[event.agent][OTHER_WORK] = now
            case AgentReady():
                self._busy[event.agent].pop(OTHER_WORK, None)
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

    def _joined(self, agent: str) -> None:
        if agent not in self._agents:
            self._agents = (*self._agents, agent)
        self._living.add(agent)
        self._busy[agent] = {}
        self.pace.forget(agent)

    def _arrived(self, event: StripArrived, out: list[Instruction]) -> None:
        sent = self._busy[event.agent].pop((event.codeword, event.share), None)
        if sent is None:  # nobody asked for it
            return
        seconds = self._now - max(sent, self._free_since.get(event.agent, 0.0))
        self._free_since[event.agent] = self._now
        state = self._open.get(event.codeword)
        if state is None:  # nobody waits for it
            self._learn(event.agent, seconds, self._unwanted.pop((event.agent, event.codeword, event.share), 0.0))
            return
        state.flying.pop((event.agent, event.share), None)
        state.group.answered_in(seconds)
        self._learn(event.agent, seconds, state.group.typical_s)
        for request in state.word.requests:
            self._answered.setdefault(request, set()).add(event.agent)
        if event.share not in state.arrived:
            state.arrived.append(event.share)
        self._settle(state, out)

    def _learn(self, agent: str, seconds: float, typical_s: float) -> None:
        if typical_s > 0:
            self.pace.answered(agent, seconds / typical_s)

    def _failed(self, event: StripFailed) -> None:
        self._busy[event.agent].pop((event.codeword, event.share), None)
        self._unwanted.pop((event.agent, event.codeword, event.share), None)
        state = self._open.get(event.codeword)
        if state is None:
            return
        state.flying.pop((event.agent, event.share), None)
        state.refused.add((event.agent, event.share))
        if event.code not in HARMLESS:
            state.group.barred.add(event.agent)

    def _lost(self, agent: str) -> None:
        self._living.discard(agent)
        for word, share in self._busy.setdefault(agent, {}):
            self._unwanted.pop((agent, word, share), None)
        self._busy[agent].clear()
        for state in self._open.values():
            for key in [key for key in state.flying if key[0] == agent]:
                del state.flying[key]

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
            self._unwanted[agent, state.word.id, share] = typical = state.group.typical_s
            held = self._now - max(self._busy[agent][state.word.id, share], self._free_since.get(agent, 0.0))
            if typical > 0 and LATE.limit(typical) < held:
                self.pace.overdue(agent, held / typical)
        del self._open[state.word.id]
        state.group.left -= 1
        if state.group.left == 0:
            del self._groups[state.word.group]
            self.pace.fade(agent for agent in self._agents if agent not in state.group.begun)

    def _assign(self, out: list[Instruction]) -> None:
        """Give each agent that has room the share that is needed most."""
        idle = [agent for agent in self._agents if agent in self._living and len(self._busy[agent]) < self.window]
        if not idle:
            return
        needs = {key: need for key, state in self._open.items() if (need := self._need(state)) is not None}
        if not needs:
            return
        self._left_out = self._dispensable(idle, needs)
        quick = [agent for agent in idle if agent not in self._left_out]
        self._serve(quick, needs, out)
        if needs and self._left_out and any(not self._busy[agent] for agent in quick):
            rest, self._left_out = sorted(self._left_out, key=self.pace.of), frozenset()
            self._serve(rest, needs, out)  # the others can or may not do it

    def _serve(self, idle: Sequence[str], needs: dict[int, Need], out: list[Instruction]) -> None:
        """A first share for everybody who has none, then a second, up to the window."""
        for room in range(1, self.window + 1):
            for agent in idle:
                if needs and len(self._busy[agent]) < room:
                    self._give(agent, needs, out)

    def _give(self, agent: str, needs: dict[int, Need], out: list[Instruction]) -> None:
        """Send an agent one share, if it can contribute to anything."""
        choice = self._choose(agent, needs)
        if choice is None:
            return
        state, share = choice
        self._send(agent, state, share, out)
        need = self._need(state)
        if need is None:
            del needs[state.word.id]
        else:
            needs[state.word.id] = need

    def _dispensable(self, idle: Sequence[str], needs: dict[int, Need]) -> frozenset[str]:
        """Idle agents that are so slow that the others finish what is lacking before they would."""
        slow = [agent for agent in self.pace.slow(idle) if not self._busy[agent]]
        if not slow or any(need.state.group.patient or need.state.word.eager for need in needs.values()):
            return frozenset()
        barred = frozenset[str]().union(*(need.state.group.barred for need in needs.values()))
        free = {agent: self._until_free(agent) for agent in self._living - barred}
        return self.pace.dispensable(slow, free, sum(need.lacking for need in needs.values()))

    def _until_free(self, agent: str) -> float:
        """Median answering times until an agent has answered what it holds; infinite where that is overdue."""
        wait, pace = 0.0, self.pace.of(agent)
        for (word, _), sent in self._busy[agent].items():
            state = self._open.get(word)
            age = (self._now - sent) / state.group.typical_s if state is not None else 0.0
            if state is None or age > LATE.factor:
                return math.inf
            wait += max(pace - age, 0.0)
        return wait

    def _send(self, agent: str, state: Open, share: int, out: list[Instruction]) -> None:
        state.flying[agent, share] = self._now
        state.group.begun.add(agent)
        self._busy[agent][state.word.id, share] = self._now
        out.append(SendShare(agent, state.word.id, share))

    def _need(self, state: Open) -> Need | None:
        """What a codeword lacks beyond what has arrived or is on its way in time."""
        if self._given_up(state):
            return None
        expected = state.expected(self._now)
        lacking = state.word.code.deficit(expected)
        if not lacking and state.word.eager and self._unsent(state):
            lacking = 1
        return Need(state, expected, lacking) if lacking else None

    def _unsent(self, state: Open) -> bool:
        """Whether a living agent has not been sent the share that is at home there."""
        return any(
            agent in self._living and agent not in state.group.barred and self._may_send(agent, share, state)
            for share, agent in enumerate(state.word.homes)
        )

    def _choose(self, agent: str, needs: dict[int, Need]) -> tuple[Open, int] | None:
        """The neediest codeword to which this agent can contribute, and the share."""
        for need in sorted(needs.values(), key=lambda need: self._rank(agent, need)):
            if agent in need.state.group.barred:
                continue
            share = self._share_for(agent, need)
            if share is not None:
                return need.state, share
        return None

    def _rank(self, agent: str, need: Need) -> tuple[int, int]:
        """Smallest first: an agent begins at its own start, then goes where most is lacking."""
        lacking = need.lacking if agent in need.state.group.begun else 0
        return -lacking, need.state.distance(agent)

    def _share_for(self, agent: str, need: Need) -> int | None:
        """The agent's own share, else one that cannot be expected from its home."""
        state, code = need.state, need.state.word.code
        if code.shares is None:
            return self._fresh_share(need)
        own = state.home_of.get(agent)
        wanted = own is not None and (state.word.eager or code.useful(own, need.expected))
        if own is not None and wanted and self._may_send(agent, own, state):
            return own
        homes = state.word.homes
        if not code.movable or self._will_come_from_home(agent, need):
            return None
        for share in range(code.shares):
            if not code.useful(share, need.expected) or not self._may_send(agent, share, state):
                continue
            home = homes[share] if share < len(homes) else None
            late = any(held == share for _, held in state.flying)
            if late or home is None or (home, share) in state.refused or self._absent(home, state):
                return share
        return None

    def _fresh_share(self, need: Need) -> int:
        """Of a rateless code: the next share that adds something, as far as that is found soon."""
        state, code = need.state, need.state.word.code
        first = state.next_share
        share = next((each for each in range(first, first + MOST_SKIPPED) if code.useful(each, need.expected)), first)
        state.next_share = share + 1
        return share

    def _will_come_from_home(self, agent: str, need: Need) -> bool:
        """Whether the agents at which the useful shares are at home suffice without this one."""
        state, useful = need.state, need.state.word.code.useful
        coming = 0
        for share, home in enumerate(state.word.homes):
            if home == agent or not useful(share, need.expected):
                continue
            if self._may_send(home, share, state) and not self._absent(home, state):
                coming += 1
                if coming == need.lacking:
                    return True
        return False

    def _may_send(self, agent: str, share: int, state: Open) -> bool:
        key = (agent, share)
        return share not in state.arrived and key not in state.flying and key not in state.refused

    def _absent(self, agent: str, state: Open, *, hopeless: bool = False) -> bool:
        """Whether an agent is gone, unwilling, left out, or held up by overdue or unwanted shares."""
        if agent not in self._living or agent in state.group.barred:
            return True
        if agent in self._left_out and not hopeless:
            return True
        busy = self._busy[agent]
        return len(busy) >= self.window and all(
            self._is_stale(word, sent, hopeless=hopeless) for (word, _), sent in busy.items()
        )

    def _is_stale(self, codeword: int, sent: float, *, hopeless: bool) -> bool:
        state = self._open.get(codeword)
        if state is None:  # unwanted: it counts as late at once, but its agent may soon be free
            return not hopeless or self._now - sent >= HOPELESS.shortest_s
        return self._now - sent >= (state.group.hopeless_s if hopeless else state.group.late_s)

    # --- when agents are not enough --------------------------------------------

    def _given_up(self, state: Open) -> bool:
        """Whether agents get no further share of this codeword."""
        overdue = bool(self._overdue) and state.word.requests <= self._overdue
        return overdue or (not state.word.fallback and self._able(state) < _fewest(state.word.code))

    def _able(self, state: Open) -> int:
        return len(self._living - state.group.barred)

    def _rescue(self, out: list[Instruction]) -> None:
        """Find codewords that no agent can finish; let the host compute, or fail."""
        failed: set[int] = set()
        for state in list(self._open.values()):
            if not self._stuck(state):
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
        return given_up or not any(self._could_ever(agent, state) for agent in self._living)

    def _may_come(self, state: Open) -> bool:
        """Whether something flies; what is hopelessly late need not be waited for by a host that may help."""
        age = state.newest_age(self._now)
        return age is not None and not (state.word.fallback and age >= state.group.hopeless_s)

    def _could_ever(self, agent: str, state: Open) -> bool:
        """Whether an agent may take a share of this codeword, now or when it is free."""
        if agent in state.group.barred:
            return False
        # Without a fallback nothing is won by giving up before the deadline.
        if state.word.fallback and self._absent(agent, state, hopeless=True):
            return False
        code, have = state.word.code, state.have()
        if code.shares is None:
            return True
        own = state.home_of.get(agent)
        shares = range(code.shares) if code.movable else () if own is None else (own,)
        return any(self._may_send(agent, share, state) and code.useful(share, have) for share in shares)

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
            moment = min(moment, self._next_hopeless())
        if moment != self._woken_at and moment < math.inf:
            self._woken_at = moment
            out.append(WakeAt(moment))

    def _next_hopeless(self) -> float:
        """When the next agent that holds an unwanted share is not waited for any more; infinite where none does."""
        moments = (
            sent + HOPELESS.shortest_s
            for busy in self._busy.values()
            for (word, _), sent in busy.items()
            if word not in self._open
        )
        return min((moment for moment in moments if moment > self._now), default=math.inf)


def _fewest(code: Counting) -> int:
    """Agents without which a code cannot be decoded; of a rateless one each agent answers as often as needed."""
    return code.needed if code.shares is not None else 1
