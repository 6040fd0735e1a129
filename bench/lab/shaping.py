"""How fast, how far and how lossy the links are.

Rate: `tbf` at both ends of each cable. The device's end makes its sender wait; the switch's
end drops what does not fit into the port's buffer, as switches do. Delay and loss: `netem`
in front of `tbf`, where the kernel has it; elsewhere the delay line of this folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from bench.lab.delay_settings import queues as queues_of
from bench.lab.delay_settings import write_setting
from bench.lab.errors import MACHINE, RigError
from bench.lab.network import BURST_BYTES, CARD, port
from bench.lab.system import attempt, inside, run, tool

if TYPE_CHECKING:
    from pathlib import Path

    from bench.lab.layout import Node, Rig

NETEM: Final = "netem"
DELAYS: Final = "delay line"

CARD_BUFFER_BYTES: Final = 1 << 20
BUCKET_S: Final = 0.0005  # of tokens: an idle link passes so much at once, and a late timer costs nothing

_NETEM_PACKETS: Final = 20_000  # in flight; netem drops what is more
_LEAST_BUCKET_BYTES: Final = BURST_BYTES + 140  # headers


@dataclass(frozen=True, slots=True)
class Quality:
    """Delay, one way, and lost packets in percent; the same in both directions."""

    delay_us: int
    loss: float

    @property
    def is_perfect(self) -> bool:
        """Nothing to be done for it."""
        return not self.delay_us and not self.loss


class Shaper(Protocol):
    """Shapes the links of one rig."""

    def make(self, node: Node | None, quality: Quality) -> None:
        """Give a link its rate and its quality; once, after its cable was made."""

    def change(self, node: Node, quality: Quality) -> None:
        """Give a link another quality, while packets flow."""


def tbf_words(rate: int, limit: int) -> list[str]:
    """The words of `tc` for a rate in bits per second and a buffer in bytes."""
    bucket = max(_LEAST_BUCKET_BYTES, round(rate / 8 * BUCKET_S))
    return ["tbf", "rate", f"{rate}bit", "burst", str(bucket), "limit", str(limit)]


def netem_words(quality: Quality) -> list[str]:
    """The words of `tc` for a delay and a loss."""
    words = ["netem", "limit", str(_NETEM_PACKETS), "delay", f"{quality.delay_us}us"]
    return [*words, "loss", f"{quality.loss:g}%"] if quality.loss else words


def rule_words(link: int, interface: str) -> list[list[str]]:
    """The rules of iptables that bring both directions of a link to the delay line, after `-A` or `-D`."""
    away, towards = queues_of(link)
    return [
        [chain, "-m", "physdev", match, interface, "-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass"]
        for chain, match, queue in (("PREROUTING", "--physdev-in", away), ("POSTROUTING", "--physdev-out", towards))
    ]


def has_netem(rig: Rig) -> bool:
    """Whether the kernel has netem; tried on the loopback interface of the rig's own switch."""
    status, _, _ = attempt("tc", "-n", rig.hub, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
    if status == 0:
        run("tc", "-n", rig.hub, "qdisc", "del", "dev", "lo", "root")
    return status == 0


@dataclass(frozen=True, slots=True)
class NetemShaper:
    """With the kernel's own means."""

    rig: Rig

    def make(self, node: Node | None, quality: Quality) -> None:
        """Netem at the root of both ends, tbf below it."""
        for namespace, interface, limit in _ends(self.rig, node):
            device = ["-n", namespace, "qdisc", "add", "dev", interface]
            _tc(*device, "root", "handle", "1:", *netem_words(quality))
            _tc(*device, "parent", "1:", "handle", "10:", *tbf_words(_rate(self.rig, node), limit))

    def change(self, node: Node, quality: Quality) -> None:
        """At both ends; what is in flight stays."""
        for namespace, interface, _ in _ends(self.rig, node):
            _tc("-n", namespace, "qdisc", "change", "dev", interface, "root", "handle", "1:", *netem_words(quality))


@dataclass(frozen=True, slots=True)
class QueueShaper:
    """With the delay line; `settings` is its file."""

    rig: Rig
    settings: Path

    def make(self, node: Node | None, quality: Quality) -> None:
        """Tbf at both ends; rules where there is something to delay."""
        for namespace, interface, limit in _ends(self.rig, node):
            _tc("-n", namespace, "qdisc", "add", "dev", interface, "root", *tbf_words(_rate(self.rig, node), limit))
        if node is not None and not quality.is_perfect:
            self.change(node, quality)

    def change(self, node: Node, quality: Quality) -> None:
        """Write the setting; links that need no delay have no rules, and cost nothing."""
        write_setting(self.settings, node.number, quality.delay_us, quality.loss)
        iptables = [*inside(self.rig.hub), tool("iptables-legacy"), "-w", "-t", "mangle"]
        for rule in rule_words(node.number, port(node)):
            present = attempt(*iptables, "-C", *rule)[0] == 0
            if present == quality.is_perfect:
                run(*iptables, "-D" if present else "-A", *rule)


def _ends(rig: Rig, node: Node | None) -> list[tuple[str, str, int]]:
    """Namespace, interface and buffer of both ends of a cable."""
    return [(rig.namespace(node), CARD, CARD_BUFFER_BYTES), (rig.hub, port(node), rig.buffer)]


def _rate(rig: Rig, node: Node | None) -> int:
    return rig.host_rate if node is None else node.rate


def _tc(*words: str) -> None:
    try:
        run("tc", *words)
    except RigError as error:
        if "qdisc kind is unknown" not in error.message:
            raise
        hint = "load the module `sch_tbf`, or use a kernel with CONFIG_NET_SCH_TBF"
        raise RigError("this kernel cannot limit the rate of a link: it has no `tbf`", hint, status=MACHINE) from error
