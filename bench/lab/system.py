"""Commands of this machine: found, run, and their failures in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.lab.errors import MACHINE, RigError

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES: Final = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "gcc": "gcc libc6-dev linux-libc-dev",
    "iptables-legacy": "iptables",
}
"""The Debian package of each command."""

_SYSTEM_FOLDERS: Final = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")


def tool(name: str) -> str:
    """The path of a command.

    Raises:
        RigError: If the machine has none.
    """
    folders = os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_FOLDERS])
    found = shutil.which(name, path=folders)
    if found is None:
        package = PACKAGES.get(name, name)
        raise RigError(f"no `{name}` on this machine", f"on Debian: apt-get install {package}", status=MACHINE)
    return found


def run(name: str, *words: object) -> str:
    """Run a command to its end; return its standard output.

    Raises:
        RigError: If it is absent, or fails: with its own last line.
    """
    status, out, err = attempt(name, *words)
    if status:
        called = " ".join([name, *map(str, words)])
        lines = [line for line in err.splitlines() if line.strip()]
        raise RigError(f"`{called}`: {lines[-1].strip() if lines else f'exit status {status}'}")
    return out


def attempt(name: str, *words: object) -> tuple[int, str, str]:
    """As `run`, for commands that may fail: exit status, standard output and error."""
    call = [tool(name), *map(str, words)]
    done = subprocess.run(call, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def inside(namespace: str) -> list[str]:
    """Words that run a command in a network namespace and change nothing else.

    Not `ip netns exec`: that one mounts another /sys, without the groups.
    """
    return [tool("nsenter"), f"--net=/run/netns/{namespace}", "--"]


def joining(entrances: Sequence[Path]) -> list[str]:
    """Words that run a command as a member of groups."""
    script = 'while [ "$1" != -- ]; do echo $$ >"$1" || exit 125; shift; done; shift; exec "$@"'
    return [tool("sh"), "-c", script, "join", *map(str, entrances), "--"]


def boot_id() -> str:
    """Changes with every start of the machine: what a record of an earlier one says is gone."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def command_line(pid: int) -> list[str]:
    """The words of a process; none where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def processes() -> list[int]:
    """All there are."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
