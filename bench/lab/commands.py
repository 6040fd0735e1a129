"""What each command of `rig` does."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, NoReturn

from bench.lab import agents
from bench.lab.bring_up import bring_up, check_machine
from bench.lab.cgroups import enter
from bench.lab.delay_settings import read_counted
from bench.lab.errors import usage
from bench.lab.layout import HOST, KERNELS, Node, Rig, check_net, make_nodes, parse_cpu
from bench.lab.measuring import Reach, Speed, measure_reach, measure_speeds
from bench.lab.shaping import DELAYS
from bench.lab.state import DELAY_LINE, TICKER, Faults, State, load, locked, settings_file
from bench.lab.system import command_line, inside, joining
from bench.lab.take_down import remove_folder, take_down
from bench.lab.units import parse_percent, parse_positive, parse_rate, parse_size, parse_time, rate_text

if TYPE_CHECKING:
    import argparse

DEFAULT_CPU: Final = "9"  # about 10 GFLOP/s where a core has 110


def up(options: argparse.Namespace) -> int:
    """Make a rig."""
    rig = rig_of(options)
    state = bring_up(rig)
    rig = state.rig
    print(f"rig `{rig.prefix}` is up: {len(rig.nodes)} devices, {state.shaper}, security {rig.security}")
    print(f"fleet file: {rig.fleet_file}")
    print(f"coordinator: bench/lab/rig --prefix {rig.prefix} exec {HOST} -- cocoi status")
    return 0


def rig_of(options: argparse.Namespace) -> Rig:
    """What the options of `up` ask for.

    Raises:
        RigError: If they cannot be read, or ask for what cannot be.
    """
    gflops = None if options.gflops is None else parse_positive(options.gflops, "speed in GFLOP/s")
    cpu = parse_cpu(options.cpu or DEFAULT_CPU)
    like = Node(
        number=0,
        cpu=cpu,
        gflops=gflops,
        rate=parse_rate(options.rate),
        delay_us=parse_time(options.delay),
        loss=parse_percent(options.loss),
    )
    check_machine()  # before the interpreter is asked: whoever has no root should hear of that
    return Rig(
        prefix=options.prefix,
        net=check_net(options.net),
        nodes=make_nodes(options.nodes, like, options.node),
        host_cpu=cpu if options.host_cpu is None else parse_cpu(options.host_cpu),
        host_gflops=gflops if options.host_cpu is None else None,
        host_rate=parse_rate(options.host_rate),
        buffer=parse_size(options.buffer),
        security=options.security,
        python=agents.find_python(options.python),
    )


def down(options: argparse.Namespace) -> int:
    """Remove a rig, or what is left of one."""
    check_machine()
    with locked(options.prefix):
        found = take_down(options.prefix)
        remove_folder(options.prefix)
    print(f"rig `{options.prefix}` is down" if found else f"there is nothing of a rig `{options.prefix}`")
    return 0


def status(options: argparse.Namespace) -> int:
    """Say how the devices are."""
    state = load(options.prefix)
    rows = [_row(state, node) for node in state.rig.nodes]
    lost = [name for name in (TICKER, DELAY_LINE) if name in state.pids and not command_line(state.pids[name])]
    if options.json:
        print(json.dumps({"rig": asdict(state.rig), "shaper": state.shaper, "lost": lost, "devices": rows}, indent=1))
        return 0
    for row in rows:
        cpu = "none" if row["cpu"] is None else f"{row['cpu']:.3g} %"
        print(
            f"{row['name']:9} {row['address']:13} cpu {cpu:8} {row['rate']:>8} {row['delay_us'] / 1000:g} ms"
            f"  {'listens' if row['listens'] else 'silent':8} {row['faults']}".rstrip()
        )
    for name in lost:
        print(f"warning: {name} has ended; this rig is not true any more", file=sys.stderr)
    return 0


def _row(state: State, node: Node) -> dict[str, Any]:
    quota = state.groups.quota(node.name)
    pid = state.pids.get(node.name, 0)
    row: dict[str, Any] = {
        "name": node.name,
        "address": state.rig.address(node),
        "cpu": None if quota is None else quota.percent,
        "rate": rate_text(node.rate),
        "delay_us": node.delay_us,
        "pid": pid,
        "listens": agents.is_listening(pid),
        "faults": state.faults.get(node.name, Faults()).text,
    }
    if state.shaper == DELAYS:
        away, towards = read_counted(settings_file(state.rig), node.number)
        row |= {"delayed": away.packets + towards.packets, "lost": away.lost + towards.lost}
    return row


def execute(options: argparse.Namespace) -> NoReturn:
    """Become a command inside the rig; does not return."""
    check_machine()
    rig, groups = (state := load(options.prefix)).rig, state.groups
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise usage("there is no command to run", f"rig exec {options.place} -- COMMAND")
    node = None if options.place == HOST else rig.node(options.place)
    if node is None:
        os.environ.update(agents.host_environment(rig))
    words = [*joining(groups.entrances(HOST if node is None else node.name)), *inside(rig.namespace(node)), *command]
    sys.stdout.flush()
    os.execv(words[0], words)  # noqa: S606 - that is what this command is for


def fleet(options: argparse.Namespace) -> int:
    """Print the path of the fleet file."""
    print(load(options.prefix).rig.fleet_file)
    return 0


def host_quota(options: argparse.Namespace) -> int:
    """Put a process under the quota of the coordinator's kernels."""
    check_machine()
    enter(load(options.prefix).groups.entrances(KERNELS), options.pid)
    return 0


def measure(options: argparse.Namespace) -> int:
    """Measure processors and links."""
    check_machine()
    state = load(options.prefix)
    rig = state.rig
    speeds = measure_speeds(rig, state.groups, [*rig.names, HOST], options.seconds)
    reaches = {node.name: measure_reach(rig, node) for node in rig.nodes}
    if options.json:
        tree = {name: {"speed": asdict(speed), "reach": _tree(reaches.get(name))} for name, speed in speeds.items()}
        print(json.dumps({"load": os.getloadavg()[0], "places": tree}, indent=1))
        return 0
    print(f"{'':9} {'GFLOP/s':>8} {'median':>9} {'p99/med':>8} {'cv':>6} {'to it':>12} {'from it':>12} {'rtt':>9}")
    for name, speed in speeds.items():
        print(_line(name, speed, reaches.get(name)))
    print(
        f"load {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores; {min(s.turns for s in speeds.values())}+ turns each"
    )
    return 0


def _tree(reach: Reach | None) -> dict[str, float] | None:
    return None if reach is None else asdict(reach)


def _line(name: str, speed: Speed, reach: Reach | None) -> str:
    text = (
        f"{name:9} {speed.gflops:8.2f} {speed.median_ms:6.1f} ms {speed.p99_ms / speed.median_ms:8.2f} {speed.cv:6.3f}"
    )
    if reach is not None:
        text += f" {reach.up_mbit:5.0f} Mbit/s {reach.down_mbit:5.0f} Mbit/s {reach.rtt_ms:6.2f} ms"
    return text
