"""The network of a rig: a switch in a namespace of its own, a cable to each device and to the host.

    namespace <prefix>-node-1          namespace <prefix>-hub             namespace <prefix>-host
    eth0 10.79.0.11 ── veth ── port p1 ─┐                   ┌─ port p0 ── veth ── eth0 10.79.0.1
                               port p2 ─┴─ bridge `switch` ─┘

Interfaces live and die with their namespaces, so that removing these removes everything.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.lab.errors import MACHINE, RigError
from bench.lab.layout import is_namespace_of
from bench.lab.system import attempt, inside, run, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.lab.layout import Node, Rig

CARD: Final = "eth0"
BRIDGE: Final = "switch"

# A burst that fits into the bucket of tbf passes whole; a larger one would be taken apart into
# packets of 1500 bytes, at ten times the cost.
BURST_BYTES: Final = 15_000

_BRIDGE_CALLS: Final = {"iptables": 1, "ip6tables": 0, "arptables": 0}
_PATIENCE_S: Final = 5.0


def port(node: Node | None) -> str:
    """The switch's port of a device, or of the host for None."""
    return "p0" if node is None else f"p{node.number}"


def make_switch(rig: Rig) -> None:
    """Make the namespace of the switch, without ports."""
    run("ip", "netns", "add", rig.hub)
    run("ip", "-n", rig.hub, "link", "set", "lo", "up")
    run("ip", "-n", rig.hub, "link", "add", BRIDGE, "type", "bridge")
    run("ip", "-n", rig.hub, "link", "set", BRIDGE, "up")


def let_iptables_see(rig: Rig) -> None:
    """Have frames pass the rules of iptables on their way through the switch.

    Raises:
        RigError: If the kernel cannot.
    """
    if not Path("/proc/sys/net/bridge").is_dir() and shutil.which("modprobe"):
        attempt("modprobe", "br_netfilter")
    if not Path("/proc/sys/net/bridge").is_dir():
        hint = "load the module `br_netfilter`, or use a kernel that has it, or netem"
        raise RigError("this kernel has no netem, and shows iptables no bridged packets", hint, status=MACHINE)
    for call, wanted in _BRIDGE_CALLS.items():
        _set(rig.hub, f"net/bridge/bridge-nf-call-{call}", wanted)


def connect(rig: Rig, node: Node | None) -> None:
    """Make the namespace of a device, or of the host for None, and its cable to the switch."""
    namespace = rig.namespace(node)
    run("ip", "netns", "add", namespace)
    _set(namespace, "net/ipv6/conf/all/disable_ipv6", 1)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", rig.hub, "link", "add", port(node), "type", "veth", "peer", "name", CARD, "netns", namespace)
    for place, interface in ((rig.hub, port(node)), (namespace, CARD)):
        run("ip", "-n", place, "link", "set", interface, "gso_max_size", BURST_BYTES)
    run("ip", "-n", rig.hub, "link", "set", port(node), "master", BRIDGE, "up")
    run("ip", "-n", namespace, "addr", "add", f"{rig.address(node)}/24", "dev", CARD)
    run("ip", "-n", namespace, "link", "set", CARD, "up")


def plug(rig: Rig, node: Node, *, plugged: bool) -> None:
    """Pull the cable of a device out of the switch, or put it back."""
    run("ip", "-n", rig.hub, "link", "set", port(node), "up" if plugged else "down")


def namespaces(prefix: str) -> list[str]:
    """The namespaces of a rig that exist."""
    listed = (line.split()[0] for line in run("ip", "netns", "list").splitlines() if line.strip())
    return sorted(name for name in listed if is_namespace_of(prefix, name))


def processes_in(namespace: str) -> list[int]:
    """Processes that are in a namespace."""
    _, out, _ = attempt("ip", "netns", "pids", namespace)
    return [int(word) for word in out.split()]


def remove(namespace: str) -> None:
    """Remove a namespace in which nobody is any more, with its interfaces."""
    run("ip", "netns", "delete", namespace)
    end = time.monotonic() + _PATIENCE_S
    while Path("/run/netns", namespace).exists() and time.monotonic() < end:
        time.sleep(0.01)


@contextlib.contextmanager
def entered(namespace: str) -> Iterator[None]:
    """This thread in another network namespace; sockets stay where they were made.

    Raises:
        OSError: If there is no such namespace, or root is needed.
    """
    import ctypes  # noqa: PLC0415 - for this alone, and not light

    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        place = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if libc.setns(place, 0):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            os.close(place)
        try:
            yield
        finally:
            libc.setns(home, 0)
    finally:
        os.close(home)


def _set(namespace: str, key: str, value: int) -> None:
    """Write a setting of the kernel that each network namespace has its own of; absent ones stay absent."""
    file = Path("/proc/sys", key)
    script = f"[ ! -e {file} ] || echo {value} >{file}"
    run(*inside(namespace), tool("sh"), "-c", script)
