"""The words of a fault script, carried out on a rig that is up.

    names                      slow NAME FACTOR         freeze NAME     thaw NAME
    kill NAME                  revive NAME              cut NAME        heal NAME
    loss NAME PERCENT          clear
    delay NAME none            delay NAME exp MEAN [SEED]               delay NAME trace SEED
    lie NAME none              lie NAME FRACTION        lie NAME flip

Each says how a device is to be from now on; said twice it changes nothing, but for `delay`,
which begins its draws anew. What is changed is written down, so that `clear` can undo it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bench.lab import agents
from bench.lab.behaviour import parse_delay, parse_lie
from bench.lab.cgroups import kill_members
from bench.lab.control_file import write_behaviour
from bench.lab.errors import RigError, usage
from bench.lab.network import plug
from bench.lab.state import Faults, State, control_file
from bench.lab.units import parse_percent, parse_positive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.lab.layout import Node


class Saboteur:
    """Changes devices; `state` is what holds afterwards."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._groups = state.groups

    def do(self, words: Sequence[str]) -> None:
        """Carry out one line of a fault script, `names` excepted.

        Raises:
            RigError: If it is none, or does not work on this device now.
        """
        if list(words) == ["clear"]:
            self._clear()
            return
        word, rest = words[0] if words else "", list(words[1:])
        if word not in WORDS:
            raise usage(f"`{word}` is no fault", f"there are names, clear, {', '.join(WORDS)}")
        if not WORDS[word][1] <= len(rest) <= WORDS[word][2]:
            raise usage(f"`{word}` is not followed by {len(rest)} words", f"write `{word} {WORDS[word][0]}`")
        _HANDLERS[word](self, self.state.rig.node(rest[0]), rest[1:])

    def faults(self, node: Node) -> Faults:
        """What is presently wrong with a device."""
        return self.state.faults.get(node.name, Faults())

    def _note(self, node: Node, faults: Faults) -> None:
        self.state = self.state.with_faults(node.name, faults)
        self.state.save()

    def slow(self, node: Node, words: Sequence[str]) -> None:
        """Divide its processor time; 1 is as it was."""
        faults = replace(self.faults(node), slow=parse_positive(words[0], "factor"))
        self._groups.limit(node.name, faults.quota(node))
        self._note(node, faults)

    def freeze(self, node: Node, _words: Sequence[str]) -> None:
        """Stop its processes where they are; its connections stay."""
        if not self._lives(node):
            raise RigError(f"`{node.name}` has no agent to freeze", f"`faults revive {node.name}` starts it")
        self._groups.freeze(node.name, frozen=True)
        self._note(node, replace(self.faults(node), frozen=True))

    def thaw(self, node: Node, _words: Sequence[str]) -> None:
        """Let them go on."""
        self._groups.freeze(node.name, frozen=False)
        self._note(node, replace(self.faults(node), frozen=False))

    def kill(self, node: Node, _words: Sequence[str]) -> None:
        """End its agent at once; it stays dead."""
        kill_members(self._groups, node.name)
        faults = replace(self.faults(node), frozen=False, killed=True)
        self._groups.limit(node.name, faults.quota(node))
        self._note(node, faults)

    def revive(self, node: Node, _words: Sequence[str]) -> None:
        """Start its agent again; returns when it listens."""
        self._revive([node])

    def cut(self, node: Node, _words: Sequence[str]) -> None:
        """Pull its cable."""
        plug(self.state.rig, node, plugged=False)
        self._note(node, replace(self.faults(node), cut=True))

    def heal(self, node: Node, _words: Sequence[str]) -> None:
        """Put its cable back."""
        plug(self.state.rig, node, plugged=True)
        self._note(node, replace(self.faults(node), cut=False))

    def loss(self, node: Node, words: Sequence[str]) -> None:
        """Lose packets in both directions; what the rig was made with is as it was."""
        percent = parse_percent(words[0])
        faults = replace(self.faults(node), loss=None if percent == node.loss else percent)
        self.state.make_shaper().change(node, faults.quality(node))
        self._note(node, faults)

    def delay(self, node: Node, words: Sequence[str]) -> None:
        """Delay each of its tasks at random."""
        self._behave(node, replace(self.faults(node), delay=parse_delay(words).text))

    def lie(self, node: Node, words: Sequence[str]) -> None:
        """Spoil each of its answers."""
        self._behave(node, replace(self.faults(node), lie=parse_lie(words).text))

    def _behave(self, node: Node, faults: Faults) -> None:
        write_behaviour(control_file(self.state.rig, node), faults.behaviour)
        self._note(node, faults)

    def _lives(self, node: Node) -> bool:
        return self.state.pids.get(node.name) in self._groups.members(node.name)

    def _revive(self, nodes: Iterable[Node]) -> None:
        dead = [node for node in nodes if not self._lives(node)]
        for node in dead:
            # A quota would stretch the start to half a minute; a device that starts is busy for long enough.
            self._groups.limit(node.name, None)
        started = {node.name: agents.start(self.state.rig, self._groups, node) for node in dead}
        try:
            agents.wait_until_listening(self.state.rig, started)
        finally:
            for node in dead:
                self._groups.limit(node.name, self.faults(node).quota(node))
        for node in dead:
            self.state = self.state.with_pid(node.name, started[node.name].pid)
            self._note(node, replace(self.faults(node), killed=False))

    def _clear(self) -> None:
        """Undo everything, for all devices."""
        for node in self.state.rig.nodes:
            faults = self.faults(node)
            if faults.frozen:
                self.thaw(node, [])
            if faults.cut:
                self.heal(node, [])
            if faults.loss is not None:
                self.loss(node, [f"{node.loss:g}"])
            if faults.slow != 1:
                self.slow(node, ["1"])
            if (faults.delay, faults.lie) != ("none", "none"):
                self._behave(node, replace(self.faults(node), delay="none", lie="none"))
        self._revive(self.state.rig.nodes)


_HANDLERS: Final[dict[str, Callable[[Saboteur, Node, Sequence[str]], None]]] = {
    "slow": Saboteur.slow,
    "freeze": Saboteur.freeze,
    "thaw": Saboteur.thaw,
    "kill": Saboteur.kill,
    "revive": Saboteur.revive,
    "cut": Saboteur.cut,
    "heal": Saboteur.heal,
    "loss": Saboteur.loss,
    "delay": Saboteur.delay,
    "lie": Saboteur.lie,
}

WORDS: Final[dict[str, tuple[str, int, int]]] = {
    "slow": ("NAME FACTOR", 2, 2),
    "freeze": ("NAME", 1, 1),
    "thaw": ("NAME", 1, 1),
    "kill": ("NAME", 1, 1),
    "revive": ("NAME", 1, 1),
    "cut": ("NAME", 1, 1),
    "heal": ("NAME", 1, 1),
    "loss": ("NAME PERCENT", 2, 2),
    "delay": ("NAME none | exp MEAN [SEED] | trace SEED", 2, 4),
    "lie": ("NAME none | FRACTION | flip", 2, 2),
}
"""What follows each word, and how many words that are."""
