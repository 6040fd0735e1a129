"""Who computes which strip: the decisions of an inference, without any input or output.

Feed `Session.handle` one event after another, each with the time it happened; carry
out the instructions it returns, in order. Time is an argument, nothing here waits,
and the same object drives real agents and simulated ones.

Theory of operation (docs/methods.md, "Pulled strips"):

* Each strip index is a codeword of its own. Share `i` is at home at one agent, which
  begins with codeword `floor(i * strips / n)`, so agents start at different strips.
* An agent that has nothing in flight is given the codeword that lacks most, counting
  what is in flight elsewhere and on time; ties go to the next in cyclic order.
* A holder is *late* after 1.5 times the median answering time of the stage (`LATE`).
  What is late no longer counts as in flight, so that an idle agent is given a
  redundant share, or, where the code has no spare one, the same share again.
* A share whose home is gone may be computed by any living agent (resend). Where no
  agent can help any more, or the deadline has passed, the host computes.
* A running convolution cannot be stopped: an agent stays busy until it has answered
  or refused each share it holds, whether or not somebody still wants it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, assert_never

from cocoi_cli.runtime.events import (
    AgentLost,
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cocoi_cli.runtime.events import Codeword

HARMLESS = frozenset({"cancelled", "skipped", "expired"})  # an agent that drops what it was told to drop did not fail


@dataclass(frozen=True, slots=True)
class Patience:
    """A share is overdue after `factor` times the median answering time of its stage, but not before `shortest_s`."""

    factor: float
    shortest_s: float


# Measured on the rig: earlier duplicates spill into the next stage, later ones wait in vain. A scheduler's
# hiccup of a few milliseconds must not count as a straggler.
LATE = Patience(1.5, 0.010)
# When no agent can be expected to help any more, the host does; it is not to be bothered by a mere hiccup of all.
HOPELESS = Patience(8.0, 1.0)


@dataclass(slots=True)
class _Open:
    """A codeword that has not been decoded.

    Invariants: `arrived`, the keys of `flying` and `hosted` are disjoint from each
    other except that a share flying at a late holder may also fly elsewhere or be hosted.
    """

    word: Codeword
    arrived: list[int] = field(default_factory=list)
    flying: dict[tuple[str, int], float] = field(default_factory=dict)  # (agent, share) -> sent at
    refused: set[tuple[str, int]] = field(default_factory=set)
    hosted: set[int] = field(default_factory=set)

    def on_time(self, now: float, patience: float | None) -> set[int]:
        """Shares in flight whose holder is not late yet, or that the host computes."""
        if patience is None:
            return {share for _, share in self.flying} | self.hosted
        return {share for (_, share), sent in self.flying.items() if now - sent < patience} | self.hosted


@dataclass(frozen=True, slots=True)
class _Need:
    """A codeword that lacks shares: `expected` are those that have come or will in time."""

    state: _Open
    expected: frozenset[int]
    lacking: int


class Session:
    """The state of all codewords in work and of the agents that compute them."""

    def __init__(self, agents: Sequence[str], *, window: int = 1) -> None:
        """Begin with living agents.

        Args:
            agents: Ids; free agents are served in this order.
            window: Shares that an agent may hold at once.
        """
        self.window = window
        self._agents = tuple(agents)
        self._living = set(agents)
        self._barred: dict[int, set[str]] = {}  # group -> agents that failed in it
        self._begun: dict[int, set[str]] = {}  # group -> agents that were given a share of it
        self._open: dict[int, _Open] = {}
        self._left: dict[int, int] = {}  # group -> codewords not yet decoded
        self._times: dict[int, list[float]] = {}  # group -> answering times so far
        self._typical: dict[int, float] = {}  # group -> their median; absent while there are none
        self._busy: dict[str, dict[tuple[int, int], float]] = {agent: {} for agent in agents}
        self._overdue: set[int] = set()
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
                self._start(event)
            case StripArrived():
                self._arrived(event, out)
            case StripFailed():
                self._failed(event)
            case AgentLost():
                self._lost(event.agent)
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

    def _start(self, event: StageStarted) -> None:
        for word in event.codewords:
            self._open[word.id] = _Open(word)
            self._left[word.group] = self._left.get(word.group, 0) + 1
            self._times.setdefault(word.group, [])
            self._barred.setdefault(word.group, set())
            self._begun.setdefault(word.group, set())

    def _arrived(self, event: StripArrived, out: list[Instruction]) -> None:
        sent = self._busy[event.agent].pop((event.codeword, event.share), None)
        state = self._open.get(event.codeword)
        if state is None:
            return
        state.flying.pop((event.agent, event.share), None)
        if sent is not None:
            times = self._times[state.word.group]
            times.append(self._now - sent)
            self._typical[state.word.group] = median(times)
        for request in state.word.requests:
            self._answered.setdefault(request, set()).add(event.agent)
        if event.share not in state.arrived:
            state.arrived.append(event.share)
        self._settle(state, out)

    def _failed(self, event: StripFailed) -> None:
        self._busy[event.agent].pop((event.codeword, event.share), None)
        state = self._open.get(event.codeword)
        if state is None:
            return
        state.flying.pop((event.agent, event.share), None)
        state.refused.add((event.agent, event.share))
        if event.code not in HARMLESS:
            self._barred[state.word.group].add(event.agent)

    def _lost(self, agent: str) -> None:
        self._living.discard(agent)
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
                if self._left[state.word.group] == 0:
                    self._forget(state.word.group)
        self._overdue.discard(request)
        self._answered.pop(request, None)

    # --- decisions ------------------------------------------------------------

    def _settle(self, state: _Open, out: list[Instruction]) -> None:
        """Decode as soon as the arrived shares suffice."""
        if not state.word.code.ready(frozenset(state.arrived)):
            return
        out.append(DecodeStrip(state.word.id, tuple(state.arrived)))
        self._close(state, out)
        if self._left[state.word.group] == 0:
            out.append(StageDone(state.word.group))
            self._forget(state.word.group)

    def _close(self, state: _Open, out: list[Instruction]) -> None:
        out.extend(CancelWork(agent, state.word.id, share) for agent, share in state.flying)
        del self._open[state.word.id]
        self._left[state.word.group] -= 1

    def _forget(self, group: int) -> None:
        self._left.pop(group)
        self._times.pop(group)
        self._typical.pop(group, None)
        self._barred.pop(group)
        self._begun.pop(group)

    def _limit(self, group: int, patience: Patience) -> float | None:
        """Seconds after which a share is overdue; None while there is nothing to compare with."""
        typical = self._typical.get(group)
        return None if typical is None else max(patience.factor * typical, patience.shortest_s)

    def _assign(self, out: list[Instruction]) -> None:
        """Give each agent that has room the share that is needed most."""
        needs = {key: need for key, state in self._open.items() if (need := self._need(state)) is not None}
        for agent in self._agents:
            while needs and agent in self._living and len(self._busy[agent]) < self.window:
                choice = self._choose(agent, needs)
                if choice is None:
                    break
                state, share = choice
                state.flying[agent, share] = self._now
                self._begun[state.word.group].add(agent)
                self._busy[agent][state.word.id, share] = self._now
                out.append(SendShare(agent, state.word.id, share))
                need = self._need(state)
                if need is None:
                    del needs[state.word.id]
                else:
                    needs[state.word.id] = need

    def _need(self, state: _Open) -> _Need | None:
        """What a codeword lacks beyond what has arrived or is on its way in time."""
        if self._given_up(state):
            return None
        expected = frozenset(state.arrived) | state.on_time(self._now, self._limit(state.word.group, LATE))
        lacking = state.word.code.deficit(expected)
        return _Need(state, expected, lacking) if lacking else None

    def _choose(self, agent: str, needs: dict[int, _Need]) -> tuple[_Open, int] | None:
        """The neediest codeword to which this agent can contribute, and the share."""
        ranked = sorted(needs.values(), key=lambda need: self._rank(agent, need))
        for need in ranked:
            if agent in self._barred[need.state.word.group]:
                continue
            share = self._share_for(agent, need)
            if share is not None:
                return need.state, share
        return None

    def _rank(self, agent: str, need: _Need) -> tuple[int, int]:
        """Smallest first: an agent begins at its own start, then goes where most is lacking."""
        word = need.state.word
        lacking = need.lacking if agent in self._begun[word.group] else 0
        return -lacking, self._distance(agent, word)

    def _share_for(self, agent: str, need: _Need) -> int | None:
        """The agent's own share, else one that cannot be expected from its home."""
        state, word, code = need.state, need.state.word, need.state.word.code
        homes = word.homes
        own = homes.index(agent) if agent in homes else None
        if own is not None and self._may_send(agent, own, state) and code.useful(own, need.expected):
            return own
        coming = (
            self._may_send(other, share, state) and code.useful(share, need.expected)
            for share, other in enumerate(homes)
            if other != agent and not self._absent(other, state)
        )
        if sum(coming) >= need.lacking:
            return None
        for share in range(code.shares or len(homes)):
            if not self._may_send(agent, share, state) or not code.useful(share, need.expected):
                continue
            home = homes[share] if share < len(homes) else None
            late = any(held == share for _, held in state.flying)
            if late or home is None or (home, share) in state.refused or self._absent(home, state):
                return share
        return None

    def _may_send(self, agent: str, share: int, state: _Open) -> bool:
        key = (agent, share)
        return share not in state.arrived and key not in state.flying and key not in state.refused

    def _absent(self, agent: str, state: _Open, patience: Patience = LATE) -> bool:
        """Whether an agent is gone, unwilling, or held up by overdue or unwanted shares."""
        if agent not in self._living or agent in self._barred[state.word.group]:
            return True
        busy = self._busy[agent]
        return len(busy) >= self.window and all(
            self._is_stale(word, sent, patience) for (word, _), sent in busy.items()
        )

    def _is_stale(self, codeword: int, sent: float, patience: Patience) -> bool:
        state = self._open.get(codeword)
        if state is None:
            return True
        limit = self._limit(state.word.group, patience)
        return limit is not None and self._now - sent >= limit

    def _distance(self, agent: str, word: Codeword) -> int:
        """Steps from the strip at which this agent starts, cyclically."""
        place = word.homes.index(agent) if agent in word.homes else 0
        start = place * word.strips // len(word.homes) if word.homes else 0
        return (word.order - start) % word.strips

    # --- when agents are not enough --------------------------------------------

    def _given_up(self, state: _Open) -> bool:
        """Whether agents get no further share of this codeword."""
        overdue = bool(self._overdue) and state.word.requests <= self._overdue
        return overdue or (not state.word.fallback and self._able(state) < state.word.code.pieces)

    def _able(self, state: _Open) -> int:
        return len(self._living - self._barred[state.word.group])

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

    def _stuck(self, state: _Open) -> bool:
        if state.word.code.deficit(frozenset(state.arrived) | state.hosted) == 0:
            return False
        if self._given_up(state):
            return True
        # What flies may still come; what is late and cannot be replaced need not be waited for by a host that may help.
        if any(
            not (state.word.fallback and self._is_stale(state.word.id, sent, HOPELESS))
            for sent in state.flying.values()
        ):
            return False
        return not any(self._could_ever(agent, state) for agent in self._living)

    def _could_ever(self, agent: str, state: _Open) -> bool:
        """Whether an agent may take a share of this codeword, now or when it is free."""
        if self._absent(agent, state, HOPELESS):
            return False
        code = state.word.code
        arrived = frozenset(state.arrived) | state.hosted
        return any(
            self._may_send(agent, share, state) and code.useful(share, arrived)
            for share in range(code.shares or len(state.word.homes))
        )

    def _compute_on_host(self, state: _Open, out: list[Instruction]) -> None:
        """Add data shares until the code is content; those that arrived already are kept."""
        code = state.word.code
        have = frozenset(state.arrived) | state.hosted
        added: list[int] = []
        for piece in range(code.pieces):
            if code.deficit(have) == 0:
                break
            share = code.share_of(piece)
            if code.useful(share, have):
                have |= {share}
                added.append(share)
        state.hosted.update(added)
        out.append(ComputeLocally(state.word.id, tuple(added)))

    def _failure(self, request: int) -> RequestFailed:
        states = [state for state in self._open.values() if request in state.word.requests]
        overdue = request in self._overdue
        answering = len(self._answered.get(request, set())) if overdue else min(self._able(state) for state in states)
        return RequestFailed(request, answering, max(state.word.code.pieces for state in states), overdue)

    def _wake(self, out: list[Instruction]) -> None:
        """Ask to be woken when the next share becomes overdue, in either sense."""
        moments = [
            sent + limit
            for state in self._open.values()
            for patience in (LATE, HOPELESS)
            if (limit := self._limit(state.word.group, patience)) is not None
            for sent in state.flying.values()
            if sent + limit > self._now
        ]
        moment = min(moments, default=None)
        if moment is not None and moment != self._woken_at:
            self._woken_at = moment
            out.append(WakeAt(moment))
