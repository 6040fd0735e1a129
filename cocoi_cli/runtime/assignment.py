"""Who is given which share: the rules by which free agents pull work.

The codeword that lacks most comes first, counting what is in flight elsewhere and on time; every agent begins at a
codeword of its own. An agent computes its own share, or one whose home is gone, unwilling, left out or held up.

Source: docs/methods.md, "Pulled strips".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cocoi_cli.runtime.codewords import LATE, Need
from cocoi_cli.runtime.events import SendShare

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cocoi_cli.runtime.agents import Agents
    from cocoi_cli.runtime.codewords import Open

MOST_SKIPPED = 16  # shares of a rateless code that are passed over because they would add nothing


class Assignment:
    """What is given out at one moment; agents and codewords are changed with every share."""

    def __init__(self, agents: Agents, words: Mapping[int, Open], now: float) -> None:
        """Give nothing out yet.

        Args:
            agents: Who computes.
            words: Every codeword that is not decoded.
            now: In seconds.
        """
        self._agents, self._words, self._now = agents, words, now
        self._left_out: frozenset[str] = frozenset()  # agents that are too slow for what is lacking now
        self._out: list[SendShare] = []

    def give(self, idle: Sequence[str], wanting: Iterable[Open]) -> list[SendShare]:
        """Give each agent that has room the share that is needed most.

        Args:
            idle: Living agents with room, in order.
            wanting: Codewords that agents may be given shares of.
        """
        needs = {state.word.id: need for state in wanting if (need := self._need(state)) is not None}
        if not needs:
            return []
        self._left_out = self._dispensable(idle, needs)
        quick = [agent for agent in idle if agent not in self._left_out]
        self._serve(quick, needs)
        if needs and self._left_out and any(not self._agents.held[agent] for agent in quick):
            rest, self._left_out = sorted(self._left_out, key=self._agents.pace.of), frozenset()
            self._serve(rest, needs)  # the others can or may not do it
        return self._out

    def _serve(self, idle: Sequence[str], needs: dict[int, Need]) -> None:
        """A first share for everybody who has none, then a second, up to the window."""
        for room in range(1, self._agents.window + 1):
            for agent in idle:
                if needs and len(self._agents.held[agent]) < room:
                    self._give(agent, needs)

    def _give(self, agent: str, needs: dict[int, Need]) -> None:
        """Send an agent one share, if it can contribute to anything."""
        choice = self._choose(agent, needs)
        if choice is None:
            return
        state, share = choice
        self._send(agent, state, share)
        need = self._need(state)
        if need is None:
            del needs[state.word.id]
        else:
            needs[state.word.id] = need

    def _send(self, agent: str, state: Open, share: int) -> None:
        state.flying[agent, share] = self._now
        state.group.begun.add(agent)
        self._agents.hold(agent, state.word.id, share, self._now)
        self._out.append(SendShare(agent, state.word.id, share))

    # --- what is needed -----------------------------------------------------------

    def _need(self, state: Open) -> Need | None:
        """What a codeword lacks beyond what has arrived or is on its way in time."""
        expected = state.expected(self._now)
        lacking = state.word.code.deficit(expected)
        if not lacking and state.word.eager:
            lacking = int(self._unsent(state))
        elif not lacking:
            state.provided_since = next(iter(state.flying.values()), math.inf)
        return Need(state, expected, lacking) if lacking else None

    def _unsent(self, state: Open) -> bool:
        """Whether a living agent has not been sent the share that is at home there."""
        return any(
            agent in self._agents.living and agent not in state.group.barred and state.may_go(agent, share)
            for share, agent in enumerate(state.word.homes)
        )

    # --- who is left out ----------------------------------------------------------

    def _dispensable(self, idle: Sequence[str], needs: Mapping[int, Need]) -> frozenset[str]:
        """Idle agents that are so slow that the others finish what is lacking before they would."""
        agents = self._agents
        slow = [agent for agent in agents.pace.slow(idle) if not agents.held[agent]]
        if not slow or any(need.state.group.patient or need.state.word.eager for need in needs.values()):
            return frozenset()
        barred = frozenset[str]().union(*(need.state.group.barred for need in needs.values()))
        free = {agent: self._until_free(agent) for agent in agents.living - barred}
        return agents.pace.dispensable(slow, free, sum(need.lacking for need in needs.values()))

    def _until_free(self, agent: str) -> float:
        """Median answering times until an agent has answered what it holds; infinite where that is overdue."""
        wait, pace = 0.0, self._agents.pace.of(agent)
        for (codeword, _), sent in self._agents.held[agent].items():
            state = self._words.get(codeword)
            age = state.group.answering_times(self._now - sent) if state is not None else 0.0
            if state is None or age > LATE.factor:
                return math.inf
            wait += max(pace - age, 0.0)
        return wait

    # --- which share --------------------------------------------------------------

    def _choose(self, agent: str, needs: Mapping[int, Need]) -> tuple[Open, int] | None:
        """The neediest codeword to which this agent can contribute, and the share."""
        ranked = sorted([(_rank(agent, need), at, need) for at, need in enumerate(needs.values())])
        for _, _, need in ranked:
            if agent in need.state.group.barred:
                continue
            share = self._share_for(agent, need)
            if share is not None:
                return need.state, share
        return None

    def _share_for(self, agent: str, need: Need) -> int | None:
        """The agent's own share, else one that cannot be expected from its home."""
        state, code = need.state, need.state.word.code
        if code.shares is None:
            return _rest_gain_share(need)
        own = state.home_of.get(agent)
        wanted = own is not None and (state.word.eager or code.useful(own, need.expected))
        if own is not None and wanted and state.may_go(agent, own):
            return own
        homes = state.word.homes
        if not code.movable or self._will_come_from_home(agent, need):
            return None
        for share in range(code.shares):
            if not code.useful(share, need.expected) or not state.may_go(agent, share):
                continue
            home = homes[share] if share < len(homes) else None
            late = any(held == share for _, held in state.flying)
            if late or home is None or (home, share) in state.refused or self._absent(home, state):
                return share
        return None

    def _will_come_from_home(self, agent: str, need: Need) -> bool:
        """Whether the agents at which the useful shares are at home suffice without this one."""
        state, useful = need.state, need.state.word.code.useful
        coming = 0
        for share, home in enumerate(state.word.homes):
            if home == agent or not useful(share, need.expected):
                continue
            if state.may_go(home, share) and not self._absent(home, state):
                coming += 1
                if coming == need.lacking:
                    return True
        return False

    def _absent(self, agent: str, state: Open) -> bool:
        """Whether an agent is gone, unwilling, left out, or held up by overdue or unwanted shares."""
        if agent not in self._agents.living or agent in state.group.barred or agent in self._left_out:
            return True
        return self._agents.is_held_up(agent, self._words, self._now)


def _rank(agent: str, need: Need) -> tuple[int, int]:
    """Smallest first: an agent begins at its own start, then goes where most is lacking."""
    lacking = need.lacking if agent in need.state.group.begun else 0
    return -lacking, need.state.distance(agent)


def _rest_gain_share(need: Need) -> int:
    """Of a rateless code: the next share that adds something, as far as that is found soon."""
    state, code = need.state, need.state.word.code
    first = state.next_share
    share = next((each for each in range(first, first + MOST_SKIPPED) if code.useful(each, need.expected)), first)
    state.next_share = share + 1
    return share
