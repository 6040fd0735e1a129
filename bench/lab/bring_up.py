"""Making a rig: groups, network, agents, and only then the quotas."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.lab import agents, network
from bench.lab.cgroups import HOST_WEIGHT
from bench.lab.control_file import make_control_file
from bench.lab.delay_settings import make_file
from bench.lab.errors import MACHINE, USAGE, RigError
from bench.lab.layout import HOST, KERNELS, Rig
from bench.lab.measuring import calibrate
from bench.lab.quota import quota_of
from bench.lab.shaping import DELAYS, NETEM, Quality, has_netem
from bench.lab.state import DELAY_LINE, TICKER, Faults, State, control_file, find, locked, settings_file
from bench.lab.system import boot_id, inside, joining, run, tool
from bench.lab.take_down import remove_folder, take_down

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK_US: Final = 500  # 3 % of each core; a quota of 1 ms is then kept to its half
FOLDER: Final = Path(__file__).resolve().parent

_READY_S: Final = 30.0
_PERFECT: Final = Quality(0, 0.0)


def check_machine() -> None:
    """Refuse what cannot work here, before anything is touched.

    Raises:
        RigError: Saying what is missing.
    """
    if sys.platform != "linux":
        raise RigError("the rig needs Linux", "namespaces and cgroups exist nowhere else", status=MACHINE)
    if os.geteuid() != 0:
        raise RigError("the rig needs root", "start it with `sudo`", status=MACHINE)
    for command in ("ip", "tc", "nsenter", "gcc"):
        tool(command)


def bring_up(rig: Rig) -> State:
    """Make it, ready for inference; after a failure nothing of it is left.

    Raises:
        RigError: If there is one already, or something on this machine is in the way.
    """
    check_machine()
    with locked(rig.prefix):
        _refuse_second(rig.prefix)
        left = take_down(rig.prefix)
        if left:
            print(f"rig: removed what an earlier one left: {len(left)} things, first {left[0]}", file=sys.stderr)
        try:
            return _Builder(rig).build()
        except BaseException:
            take_down(rig.prefix)
            remove_folder(rig.prefix)
            raise


def _refuse_second(prefix: str) -> None:
    state = find(prefix)
    if state is not None and state.ready and state.boot == boot_id() and Path("/run/netns", state.rig.hub).exists():
        hint = f"bench/lab/rig --prefix {prefix} down, or choose another --prefix and --net"
        raise RigError(f"the rig `{prefix}` is up already", hint, status=USAGE)


class _Builder:
    """One step after another; the state is written down as it grows."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.state = State(rig, boot=boot_id())
        self.groups = self.state.groups

    def build(self) -> State:
        """All steps."""
        self._measure_core()
        self.state.save()
        self._make_groups()
        self._compile(TICKER, "-pthread")
        self._start(TICKER, [], [str(TICK_US)])
        self._make_network()
        self._make_files()
        self._start_agents()
        self._apply_quotas()
        self._keep(replace(self.state, ready=True))
        return self.state

    def _keep(self, state: State) -> None:
        self.state = state
        state.save()

    def _measure_core(self) -> None:
        """Turn speeds into shares of a core."""
        rig = self.rig
        if rig.host_gflops is None and all(node.gflops is None for node in rig.nodes):
            return
        full = calibrate(rig)
        print(f"rig: one core convolves {full:.1f} GFLOP/s", file=sys.stderr)
        nodes = tuple(replace(node, cpu=100 * node.gflops / full) if node.gflops else node for node in rig.nodes)
        host_cpu = 100 * rig.host_gflops / full if rig.host_gflops else rig.host_cpu
        self.rig = replace(rig, nodes=nodes, host_cpu=host_cpu)
        self.state = replace(self.state, rig=self.rig)

    def _make_groups(self) -> None:
        self.groups.create(HOST, HOST_WEIGHT)
        self.groups.create(KERNELS, HOST_WEIGHT)
        self.groups.limit(KERNELS, quota_of(self.rig.host_cpu))
        for node in self.rig.nodes:
            self.groups.create(node.name)

    def _make_network(self) -> None:
        rig = self.rig
        network.make_switch(rig)
        self._keep(replace(self.state, shaper=NETEM if has_netem(rig) else DELAYS))
        if self.state.shaper == DELAYS:
            self._start_delay_line()
        shaper = self.state.make_shaper()
        for node in (None, *rig.nodes):
            network.connect(rig, node)
            shaper.make(node, _PERFECT if node is None else Faults().quality(node))

    def _start_delay_line(self) -> None:
        tool("iptables-legacy")
        links = max(node.number for node in self.rig.nodes) + 1
        make_file(settings_file(self.rig), links)
        self._compile(DELAY_LINE)
        self._start(DELAY_LINE, inside(self.rig.hub), [str(settings_file(self.rig)), str(2 * links)])
        network.let_iptables_see(self.rig)

    def _make_files(self) -> None:
        self.rig.fleet_file.write_text(agents.fleet_text(self.rig))
        for node in self.rig.nodes:
            (self.rig.folder / node.name).mkdir(mode=0o700, exist_ok=True)
            make_control_file(control_file(self.rig, node))
        if self.rig.security == "tls":
            agents.make_keys(self.rig)

    def _start_agents(self) -> None:
        started = {node.name: agents.start(self.rig, self.groups, node) for node in self.rig.nodes}
        for name, process in started.items():
            self.state = self.state.with_pid(name, process.pid)
        self._keep(replace(self.state, faults={name: Faults() for name in started}))
        agents.wait_until_listening(self.rig, started)

    def _apply_quotas(self) -> None:
        """Last: under its quota an agent would take half a minute to start."""
        for node in self.rig.nodes:
            self.groups.limit(node.name, self.state.faults[node.name].quota(node))

    def _compile(self, name: str, *flags: str) -> None:
        run("gcc", "-O2", "-Wall", *flags, "-o", self.rig.folder / name, FOLDER / f"{name}.c")

    def _start(self, name: str, place: Sequence[str], words: Sequence[str]) -> None:
        """Start a program of ours outside of all groups, where real-time priority is allowed; wait for its `ready`."""
        call = [*joining(self.groups.outside()), *place, str(self.rig.folder / name), *words]
        with (self.rig.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                call, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
            )
        assert process.stdout is not None
        self._keep(self.state.with_pid(name, process.pid))
        with process.stdout as out:
            readable, _, _ = select.select([out], [], [], _READY_S)
            if not readable or out.readline() != b"ready\n":
                words_said = (self.rig.folder / f"{name}.log").read_text(errors="replace").strip()
                raise RigError(f"{name} did not start: {words_said or 'it said nothing'}", status=MACHINE)
