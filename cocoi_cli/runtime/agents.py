"""The agents of a session: who lives, what each holds, and how quickly it answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cocoi_cli.runtime.codewords import HOPELESS, LATE
from cocoi_cli.runtime.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence, Set

    from cocoi_cli.runtime.codewords import Open

OTHER_WORK = (-1, -1)  # stands among an agent's shares for what is no share; codewords begin at 0


class Agents:
    """Who can compute, and since when it does.

    A running convolution cannot be stopped: an agent holds a share until it has answered or refused it, whether or
    not somebody still wants it. One that is occupied otherwise holds what counts as an unwanted share.

    Attributes:
        window: Shares that an agent may hold at once.
        order: All that have ever been there; free ones are served in this order.
        living: Those that have not been lost; the others hold nothing.
        held: By agent: the shares it holds, codeword and number, and when each was sent.
        pace: How slow each is.
    """

    def __init__(self, agents: Sequence[str], window: int) -> None:
        """Begin with living agents that hold nothing."""
        self.window = window
        self.order = tuple(agents)
        self.living = set(agents)
        self.held: dict[str, dict[tuple[int, int], float]] = {agent: {} for agent in agents}
        self.pace = Pace()
        self._free_since: dict[str, float] = {}  # agent -> when it last answered
        self._unwanted: dict[tuple[str, int, int], float] = {}  # shares held in vain -> the stage's `typical_s`

    def join(self, agent: str) -> None:
        """An agent is there that was not, or was `lose`d before; nothing is known of it."""
        if agent not in self.order:
            self.order = (*self.order, agent)
        self.living.add(agent)
        self.held[agent] = {}
        self.pace.forget(agent)

    def lose(self, agent: str) -> None:
        """An agent is gone, and every share it held with it."""
        self.living.discard(agent)
        for codeword, share in self.held.setdefault(agent, {}):
            self._unwanted.pop((agent, codeword, share), None)
        self.held[agent].clear()

    def occupy(self, agent: str, now: float) -> None:
        """An agent does something else until it is `free`."""
        self.held[agent][OTHER_WORK] = now

    def free(self, agent: str) -> None:
        """An agent does nothing else any more."""
        self.held[agent].pop(OTHER_WORK, None)

    def hold(self, agent: str, codeword: int, share: int, now: float) -> None:
        """An agent is sent a share."""
        self.held[agent][codeword, share] = now

    def answer(self, agent: str, codeword: int, share: int, now: float) -> float | None:
        """An agent has answered a share; return the seconds it took, or None if it did not hold it."""
        sent = self.held[agent].pop((codeword, share), None)
        if sent is None:
            return None
        seconds = now - max(sent, self._free_since.get(agent, 0.0))
        self._free_since[agent] = now
        self.learn(agent, seconds, self._unwanted.pop((agent, codeword, share), 0.0))
        return seconds

    def refuse(self, agent: str, codeword: int, share: int) -> None:
        """An agent will not answer a share that it may hold."""
        self.held[agent].pop((codeword, share), None)
        self._unwanted.pop((agent, codeword, share), None)

    def learn(self, agent: str, seconds: float, typical_s: float) -> None:
        """An answer took so long where `typical_s` is usual; 0 or infinite where nobody knows."""
        if 0 < typical_s < math.inf:
            self.pace.answered(agent, seconds / typical_s)

    def hold_in_vain(self, agent: str, codeword: int, share: int, typical_s: float, now: float) -> None:
        """Nobody wants a share any more that an agent still holds."""
        self._unwanted[agent, codeword, share] = typical_s
        held = now - max(self.held[agent][codeword, share], self._free_since.get(agent, 0.0))
        if typical_s > 0 and LATE.limit(typical_s) < held:
            self.pace.overdue(agent, held / typical_s)

    def fade(self, begun: Set[str]) -> None:
        """A stage is over: trust those a little more that were not asked in it."""
        self.pace.fade(agent for agent in self.order if agent not in begun)

    def with_room(self) -> list[str]:
        """Living agents that may be sent a share now, in order."""
        return [agent for agent in self.order if agent in self.living and len(self.held[agent]) < self.window]

    def is_held_up(self, agent: str, words: Mapping[int, Open], now: float, *, hopeless: bool = False) -> bool:
        """Whether an agent has no room because all that it holds is late, or hopelessly late, or unwanted.

        Args:
            agent: A living one.
            words: Every codeword that is not decoded; what is held of others is unwanted.
            now: In seconds.
            hopeless: Whether late is not late enough.
        """
        held = self.held[agent]
        return len(held) >= self.window and all(
            _is_stale(words.get(codeword), now - sent, hopeless=hopeless) for (codeword, _), sent in held.items()
        )

    def next_hopeless(self, words: Mapping[int, Open], now: float) -> float:
        """When the next agent that holds an unwanted share is not waited for any more; infinite where none does."""
        moments = (
            sent + HOPELESS.shortest_s
            for held in self.held.values()
            for (codeword, _), sent in held.items()
            if codeword not in words
        )
        return min((moment for moment in moments if moment > now), default=math.inf)


def _is_stale(state: Open | None, age: float, *, hopeless: bool) -> bool:
    """Whether a share that was sent so long ago is overdue; one that is unwanted belongs to no open codeword."""
    if state is None:  # it counts as late at once, but its agent may soon be free
        return not hopeless or age >= HOPELESS.shortest_s
    return age >= (state.group.hopeless_s if hopeless else state.group.late_s)
