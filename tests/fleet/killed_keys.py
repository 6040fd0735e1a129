"""Does one thing to a folder of keys again and again, each time killed one system call later.

    python -m tests.fleet.killed_keys FOLDER OPERATION

FOLDER holds `before`, a data folder. For each moment there is then `after-<n>`, what SIGKILL left of a copy;
the last one was not killed any more. Prints how many there are.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cocoi_cli.fleet import keys
from cocoi_cli.fleet.records import Device, Inventory

FLEET = "0123456789abcdef"
DEVICES = tuple(Device(name, f"pi@{name}", name) for name in ("one", "two.b"))
NEW = Device("new", "pi@new", "new")

# What touches the disk; each of them is a moment to be killed at, just before it is done.
EVENTS = frozenset({
    "open", "os.chmod", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.rmtree", "tempfile.mkdtemp",
})  # fmt: skip

OPERATIONS: dict[str, Callable[[Inventory], object]] = {
    "ensure_host_identity": keys.ensure_host_identity,
    "ensure_agent_identity": lambda fleet: keys.ensure_agent_identity(fleet, NEW),
    "agent_files": lambda fleet: keys.agent_files(fleet, NEW, {}),
    "make_next": lambda fleet: keys.make_next(fleet, DEVICES),
    "adopt_next": keys.adopt_next,
    "drop_next": keys.drop_next,
    "forget": lambda fleet: keys.forget(fleet, "one"),
}


def inventory(parent: Path) -> Inventory:
    return Inventory(parent / "fleet.toml", FLEET, "tls", DEVICES)


def main(folder: Path, operation: str) -> None:
    number = 0
    killed = True
    while killed:
        number += 1
        after = folder / f"after-{number}"
        shutil.copytree(folder / "before", after)
        killed = run_and_kill(after, operation, number)
    sys.stdout.write(f"{number}\n")


def run_and_kill(parent: Path, operation: str, moment: int) -> bool:
    """Whether it was still running at that moment."""
    child = os.fork()
    if child == 0:
        os.environ["COCOI_DATA"] = str(parent)
        left = moment

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in EVENTS:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        fleet = inventory(parent)
        os.fsync = lambda _: None
        sys.addaudithook(count)
        OPERATIONS[operation](fleet)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return status != 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
