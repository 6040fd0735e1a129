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
from cocoi_agent.bounds import automatic_limit
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

signals: SIGTERM stops; SIGHUP reads the certificates and the key anew, and closes the
connections made under the old ones.

exit status: 0 stopped as asked, 1 failed (`--self-test`: not passed), 2 usage, 3 a
file, address, folder or limit is unfit, 4 the self-test at start was not passed
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asked for; sizes in bytes.

    Attributes:
        interface: Network interface that `host` belongs to; empty where it is not known.
            None unless the option was given: then `host` must exist at the start.
        store: None keeps blobs in memory.
        data_limit: None where the system's own limit is to hold.
        cert, key, peer: May be given without `secure`; they are not read then.
    """

    host: str
    port: int
    interface: str | None
    name: str
    store: Path | None
    store_limit: int
    memory_limit: int
    data_limit: int | None
    queue_limit: int
    connection_limit: int
    threads: int
    cert: Path | None
    key: Path | None
    peer: Path | None
    secure: bool
    embedded: bool
    self_test: bool


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line; exits with status 2 and a sentence where it makes no sense."""
    parser = _parser()
    found = parser.parse_args(arguments)
    files = (found.cert, found.key, found.peer)
    if found.security == "tls" and None in files and not found.self_test:
        parser.error("mutual TLS needs --cert, --key and --peer; or ask for --security none")
    return Options(
        host=found.host,
        port=found.port if found.port is not None else 0 if found.embedded else DEFAULT_PORT,
        interface=found.interface,
        name=found.id or platform.node() or "agent",
        store=found.store,
        store_limit=found.store_limit,
        memory_limit=found.memory_limit,
        data_limit=found.data_limit,
        queue_limit=found.queue_limit,
        connection_limit=found.connection_limit,
        threads=found.threads,
        cert=found.cert,
        key=found.key,
        peer=found.peer,
        secure=found.security == "tls",
        embedded=found.embedded,
        self_test=found.self_test,
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
    add(
        "--interface",
        metavar="NAME",
        help="network interface of --host: listen before the address exists, and follow its IPv4 address where "
        "that changes (empty: only the first)",
    )
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
    add(
        "--data-limit",
        type=_data_limit,
        metavar="SIZE",
        help="memory of the whole process; `auto` is 75 %% of the machine's, 0 none (default: 0)",
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
    add(
        "--self-test",
        action="store_true",
        help="only compute something small, compare it, and print one line of JSON (a service does so at every start)",
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


def _data_limit(text: str) -> int | None:
    size = automatic_limit() if text.strip().lower() == "auto" else size_bytes(text)
    return size or None


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"`{text}` is no port between 0 and 65535")
    return int(text)


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is no count of 1 or more")
    return int(text)
