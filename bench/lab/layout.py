"""What a rig consists of: its devices, their links, their names and addresses.

Everything that a rig leaves on the machine carries its prefix, so that it can be found
again without any record of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.lab.errors import usage
from bench.lab.units import parse_percent, parse_positive, parse_rate, parse_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOST: Final = "host"
KERNELS: Final = "host-kernels"
"""The group of the process in which the coordinator convolves."""

MOST_NODES: Final = 240
PORT: Final = 52600
STATES: Final = Path("/run/cocoi-rig")
NODE_KEYS: Final = ("cpu", "gflops", "rate", "delay", "loss")


@dataclass(frozen=True, slots=True)
class Node:
    """One emulated device.

    Attributes:
        number: From 1.
        cpu: Percent of one core of this machine; None for no quota.
        gflops: What `cpu` is to be computed from, once a core has been measured; None where it is given.
        rate: Bits per second of its link, in each direction.
        delay_us: One way, in each direction.
        loss: Percent of packets, in each direction.
    """

    number: int
    cpu: float | None = 9.0
    gflops: float | None = None
    rate: int = 940_000_000
    delay_us: int = 200
    loss: float = 0.0

    @property
    def name(self) -> str:
        """As in the fleet file."""
        return f"node-{self.number}"


@dataclass(frozen=True, slots=True)
class Rig:
    """All that `up` was asked for.

    Attributes:
        prefix: First part of every name on this machine.
        net: First three numbers of the addresses.
        nodes: The devices.
        host_cpu: Quota of the coordinator's kernels, percent of a core; None for none.
        host_gflops: As `Node.gflops`.
        host_rate: Bits per second of the coordinator's link, in each direction.
        buffer: Bytes that a port of the switch holds before it drops.
        security: `none` or `tls`.
        python: The interpreter of the agents.
    """

    prefix: str
    net: str
    nodes: tuple[Node, ...]
    host_cpu: float | None
    host_gflops: float | None
    host_rate: int
    buffer: int
    security: str
    python: str

    @property
    def folder(self) -> Path:
        """Where its state lies."""
        return folder_of(self.prefix)

    @property
    def fleet_file(self) -> Path:
        """What `cocoi --fleet` is given."""
        return self.folder / "fleet.toml"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the devices, in order."""
        return tuple(node.name for node in self.nodes)

    def node(self, name: str) -> Node:
        """The device of this name, or of this number.

        Raises:
            RigError: If there is none.
        """
        found = next((node for node in self.nodes if name in {node.name, str(node.number)}), None)
        if found is None:
            raise usage(f"the rig has no device `{name}`", f"there are {self.names[0]} to {self.names[-1]}")
        return found

    def address(self, node: Node | None) -> str:
        """Of a device, or of the host for None."""
        return f"{self.net}.{1 if node is None else 10 + node.number}"

    def namespace(self, node: Node | None) -> str:
        """Network namespace of a device, or of the host for None."""
        return f"{self.prefix}-{HOST if node is None else node.name}"

    @property
    def hub(self) -> str:
        """Network namespace of the switch."""
        return f"{self.prefix}-hub"


def folder_of(prefix: str) -> Path:
    """The folder of a rig's state."""
    return STATES / prefix


def group_of(prefix: str) -> str:
    """The cgroup that holds the groups of a rig."""
    return f"cocoi-rig-{prefix}"


def is_namespace_of(prefix: str, namespace: str) -> bool:
    """Whether a network namespace was made by a rig of this prefix."""
    return re.fullmatch(rf"{re.escape(prefix)}-(hub|host|node-\d+)", namespace) is not None


def check_prefix(text: str) -> str:
    """A prefix that can stand in names of namespaces, groups and files.

    Raises:
        RigError: If it cannot.
    """
    if re.fullmatch(r"[a-z][a-z0-9]{0,15}", text) is None:
        raise usage(f"`{text}` is no prefix", "up to 16 lower-case letters and digits, a letter first")
    return text


def check_net(text: str) -> str:
    """Three numbers of an IPv4 address.

    Raises:
        RigError: If they are none.
    """
    found = re.fullmatch(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})", text)
    if found is None or any(int(part) > 255 for part in found.groups()):
        raise usage(f"`{text}` is no network", "write its first three numbers, such as `10.79.0`")
    return text


def make_nodes(count: int, like: Node, exceptions: Sequence[str]) -> tuple[Node, ...]:
    """So many devices like one, but for the exceptions, each `NUMBER:key=value,...`.

    Raises:
        RigError: If there are none or too many, or an exception cannot be read.
    """
    if not 1 <= count <= MOST_NODES:
        raise usage(f"a rig has 1 to {MOST_NODES} devices, not {count}")
    nodes = {number: replace(like, number=number) for number in range(1, count + 1)}
    for text in exceptions:
        number, _, settings = text.partition(":")
        if not number.isdigit() or int(number) not in nodes:
            raise usage(f"`--node {text}`: there is no device `{number}`", f"devices have the numbers 1 to {count}")
        nodes[int(number)] = _changed(nodes[int(number)], settings)
    return tuple(nodes.values())


def _changed(node: Node, settings: str) -> Node:
    for setting in settings.split(","):
        key, _, value = setting.partition("=")
        match key.strip():
            case "cpu":
                node = replace(node, cpu=parse_cpu(value), gflops=None)
            case "gflops":
                node = replace(node, gflops=parse_positive(value, "speed in GFLOP/s"))
            case "rate":
                node = replace(node, rate=parse_rate(value))
            case "delay":
                node = replace(node, delay_us=parse_time(value))
            case "loss":
                node = replace(node, loss=parse_percent(value))
            case other:
                raise usage(f"a device has no setting `{other}`", f"there are {', '.join(NODE_KEYS)}")
    return node


def parse_cpu(text: str) -> float | None:
    """Percent of a core, or None from `none`.

    Raises:
        RigError: If it is neither.
    """
    return None if text.strip() == "none" else parse_positive(text.strip().removesuffix("%"), "share of a core")


def rig_from(tree: Mapping[str, Any]) -> Rig:
    """The record that `dataclasses.asdict` made a tree of."""
    known = {field.name: tree[field.name] for field in fields(Rig)}
    return Rig(**{**known, "nodes": tuple(Node(**node) for node in tree["nodes"])})
