"""The command line of `rig`."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING, Final, NoReturn

from bench.lab import commands
from bench.lab.door import named_prefix, reported
from bench.lab.errors import usage
from bench.lab.layout import check_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_EPILOGUE: Final = """\
examples:
  bench/lab/rig up --nodes 10 --cpu 9 --rate 940mbit --delay 0.2ms
  bench/lab/rig exec host -- cocoi infer cat.jpg --model vgg16.onnx
  cocoi fleet list --fleet "$(bench/lab/rig fleet)"
  bench/lab/rig measure
  bench/lab/rig down

A second rig beside the first has another --prefix, before the command, and
another --net.

exit status: 0 done, 1 failed, 2 usage, 3 this machine lacks something; of
`exec`, that of its command
"""


def main(arguments: Sequence[str]) -> int:
    """Run `rig`; return its exit status."""
    return reported(lambda: _rig(arguments))


def _rig(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    options.prefix = check_prefix(options.prefix)
    work: Callable[[argparse.Namespace], int] = options.work
    return work(options)


class _Parser(argparse.ArgumentParser):
    """Complains as the rest of the rig does: one line, and one of advice."""

    def error(self, message: str) -> NoReturn:
        """End with what was wrong.

        Raises:
            RigError: Always.
        """
        unknown = re.match(r"argument COMMAND: invalid choice: '([^']*)'", message)
        text = f"`{unknown[1]}` is no command" if unknown else re.sub(r"'([^']*)'", r"`\1`", message)
        raise usage(text, f"`{self.prog} --help` shows how it is used")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "rig",
        description="An emulated fleet of slow devices on this machine: namespaces, shaped links,\nprocessor quotas.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--prefix", default=named_prefix(), help="first part of all names (default: %(default)s)")
    words = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_up(words)
    down = words.add_parser("down", help="end everything and remove it; safe to repeat, and after a crash")
    down.set_defaults(work=commands.down)
    status = words.add_parser("status", help="devices, their agents, and what is wrong with them")
    status.add_argument("--json", action="store_true", help="one document")
    status.set_defaults(work=commands.status)
    execute = words.add_parser("exec", help="run a command as the coordinator (`host`) or inside a device")
    execute.add_argument("place", help="`host`, or the name or number of a device")
    execute.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND")
    execute.set_defaults(work=commands.execute)
    fleet = words.add_parser("fleet", help="print the path of the fleet file")
    fleet.set_defaults(work=commands.fleet)
    kernels = words.add_parser("host-quota", help="put a process under the quota of the coordinator's kernels")
    kernels.add_argument("pid", type=int)
    kernels.set_defaults(work=commands.host_quota)
    measure = words.add_parser("measure", help="measure processors, all at once, and links, one by one")
    measure.add_argument("--seconds", type=float, default=8.0, help="of convolving (default: %(default)s)")
    measure.add_argument("--json", action="store_true", help="one document")
    measure.set_defaults(work=commands.measure)
    return parser


def _add_up(words: argparse._SubParsersAction[_Parser]) -> None:
    up = words.add_parser("up", help="make the fleet and start its agents", allow_abbrev=False)
    add = up.add_argument
    add("--nodes", type=int, default=10, help="devices (default: %(default)s)")
    speed = up.add_mutually_exclusive_group()
    speed.add_argument("--cpu", metavar="PERCENT", help="of a core, or `none` (default: 9)")
    speed.add_argument(
        "--gflops", metavar="SPEED", help="instead: as much of a core as convolves so fast, measured now"
    )
    add("--rate", default="940mbit", help="of each device's link, in each direction (default: %(default)s)")
    add("--delay", default="0.2ms", help="of each packet, one way (default: %(default)s)")
    add("--loss", default="0%", metavar="PERCENT", help="of packets, in each direction (default: %(default)s)")
    add(
        "--node",
        action="append",
        default=[],
        metavar="N:KEY=VALUE,...",
        help="a device that differs, `3:cpu=4.5,rate=50mbit`; repeatable",
    )
    add("--host-cpu", metavar="PERCENT", help="of the coordinator's kernels, or `none` (default: as a device)")
    add("--host-rate", default="940mbit", help="of the coordinator's link (default: %(default)s)")
    add("--buffer", default="1m", metavar="BYTES", help="of each port of the switch (default: %(default)s)")
    add("--security", choices=("none", "tls"), default="none", help="of the connections (default: %(default)s)")
    add("--net", default="10.79.0", help="first three numbers of the addresses (default: %(default)s)")
    add("--python", help="interpreter of the agents (default: this one, or the checkout's .venv)")
    up.set_defaults(work=commands.up)
