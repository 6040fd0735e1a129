"""The command line of `cocoi-agent`, as a record."""

from __future__ import annotations

import argparse
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cocoi_agent import __version__
from cocoi_agent.wire.limits import MEBIBYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PORT: Final = 52600

_UNITS: Final = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30,
}  # fmt: skip

_EPILOGUE = """\
An agent computes shares of a network for hosts that run `cocoi`. Usually `cocoi
deploy` installs it as a service; `cocoi infer --embedded N` starts N of them as
local processes.

It listens with mutual TLS 1.3: give its certificate and key, and the certificates
of the hosts that may connect. `--security none` leaves connections unprotected and
must be asked for by that name.

examples:
  cocoi-agent --host 0.0.0.0 --id pi-3 --store /var/lib/cocoi \\
              --cert agent.crt --key agent.key --peer hosts.crt
  cocoi-agent --embedded --security none

exit status: 0 stopped as asked, 1 failed, 2 usage, 3 a file, address or folder is unfit
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; sizes in bytes. `store` None keeps blobs in memory."""

    host: str
    port: int
    name: str
    store: Path | None
    store_limit: int
    memory_limit: int
    queue_limit: int
    connection_limit: int
    threads: int
    cert: Path | None
    key: Path | None
    peer: Path | None
    secure: bool
    embedded: bool


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; exits with status 2 and a sentence where it makes no sense."""
    parser = _parser()
    found = parser.parse_args(arguments)
    files = (found.cert, found.key, found.peer)
    if found.security == "tls" and None in files:
        parser.error("mutual TLS needs --cert, --key and --peer; or ask for --security none")
    if found.security == "none" and any(files):
        parser.error("--security none takes no --cert, --key or --peer")
    return Options(
        host=found.host,
        port=found.port if found.port is not None else 0 if found.embedded else DEFAULT_PORT,
        name=found.id or platform.node() or "agent",
        store=found.store,
        store_limit=found.store_limit,
        memory_limit=found.memory_limit,
        queue_limit=found.queue_limit,
        connection_limit=found.connection_limit,
        threads=found.threads,
        cert=found.cert,
        key=found.key,
        peer=found.peer,
        secure=found.security == "tls",
        embedded=found.embedded,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "cocoi-agent",
        description="The agent of cocoi: computes shares of neural networks on a device.",
        epilog=_EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--version", action="version", version=f"cocoi-agent {__version__}")
    add("--id", metavar="NAME", help="what the agent calls itself (default: the name of the machine)")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on (default: %(default)s)")
    add("--port", type=_port, metavar="PORT", help=f"port to listen on (default: {DEFAULT_PORT}; 0 picks a free one)")
    add("--cert", type=Path, metavar="FILE", help="the agent's certificate (PEM)")
    add("--key", type=Path, metavar="FILE", help="its private key (PEM)")
    add("--peer", type=Path, metavar="FILE", help="certificates of the hosts that may connect (PEM)")
    add("--security", choices=("tls", "none"), default="tls", help="mutual TLS, or nothing at all (default: tls)")
    state = os.environ.get("STATE_DIRECTORY")
    add(
        "--store",
        type=Path,
        metavar="FOLDER",
        default=Path(state) if state else None,
        help="folder for graphs and weights, kept over restarts (default: $STATE_DIRECTORY, else memory)",
    )
    add("--store-limit", type=size_bytes, default=2 << 30, metavar="SIZE", help="size of the store (default: 2GiB)")
    add(
        "--memory-limit",
        type=size_bytes,
        default=256 * MEBIBYTE,
        metavar="SIZE",
        help="tensors of all runs together (default: 256MiB)",
    )
    add("--queue-limit", type=_count, default=1024, metavar="N", help="parts that may wait (default: %(default)s)")
    add("--connection-limit", type=_count, default=32, metavar="N", help="hosts at once (default: %(default)s)")
    add("--threads", type=_count, default=1, metavar="N", help="threads of one computation (default: %(default)s)")
    add(
        "--embedded",
        action="store_true",
        help="run under a local host: own session, one line of JSON with port and pid on stdout, "
        "end when standard input does",
    )
    return parser


def size_bytes(text: str) -> int:
    """Bytes from text such as `2GiB`, `300 MB` or `65536`.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in _UNITS:
        raise argparse.ArgumentTypeError(f"`{text}` is no size such as 2GiB, 300MB or 65536")
    return int(float(found[1]) * _UNITS[found[2]])


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"`{text}` is no port between 0 and 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no count of 1 or more")
    return int(text)
