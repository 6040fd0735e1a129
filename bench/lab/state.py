"""What is known of a rig between two commands: a file in its folder, and a lock on that folder."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.lab.behaviour import Behaviour, parse_delay, parse_lie
from bench.lab.cgroups import open_groups
from bench.lab.errors import FAILED, RigError
from bench.lab.layout import Rig, folder_of, group_of, rig_from
from bench.lab.quota import quota_of
from bench.lab.shaping import NETEM, NetemShaper, Quality, QueueShaper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.lab.cgroups import Groups
    from bench.lab.layout import Node
    from bench.lab.quota import Quota
    from bench.lab.shaping import Shaper

TICKER: Final = "ticker"
DELAY_LINE: Final = "delayline"


@dataclass(frozen=True, slots=True)
class Faults:
    """What is presently wrong with a device.

    Attributes:
        slow: Its quota is divided by this.
        frozen, killed, cut: Whether its processes stand still, its agent is dead, its cable is out.
        loss: Percent of packets lost; None where its link is as it was made.
        delay, lie: As the fault words have them.
    """

    slow: float = 1.0
    frozen: bool = False
    killed: bool = False
    cut: bool = False
    loss: float | None = None
    delay: str = "none"
    lie: str = "none"

    @property
    def behaviour(self) -> Behaviour:
        """What its agent is told."""
        return Behaviour(parse_delay(self.delay.split()), parse_lie(self.lie.split()))

    def quality(self, node: Node) -> Quality:
        """What its link is like."""
        return Quality(node.delay_us, node.loss if self.loss is None else self.loss)

    def quota(self, node: Node) -> Quota | None:
        """What its processor time is."""
        return quota_of(node.cpu, self.slow, os.cpu_count() or 1)

    @property
    def text(self) -> str:
        """Those that are there, for people."""
        words = [word for word in ("killed", "frozen", "cut") if getattr(self, word)]
        words += [f"slow {self.slow:g}"] if self.slow != 1 else []
        words += [f"loss {self.loss:g} %"] if self.loss is not None else []
        words += [f"delay {self.delay}"] if self.delay != "none" else []
        words += [f"lie {self.lie}"] if self.lie != "none" else []
        return ", ".join(words)


@dataclass(frozen=True, slots=True)
class State:
    """A rig that is up, or was being brought up.

    Attributes:
        rig: What was asked for.
        ready: Whether `up` came to its end.
        boot: The run of the machine that it belongs to.
        shaper: `netem` or `delay line`.
        pids: Of the agents by device, of the ticker and of the delay line.
        faults: By device.
    """

    rig: Rig
    ready: bool = False
    boot: str = ""
    shaper: str = ""
    pids: dict[str, int] = field(default_factory=dict)
    faults: dict[str, Faults] = field(default_factory=dict)

    @property
    def groups(self) -> Groups:
        """Its cgroups."""
        return open_groups(group_of(self.rig.prefix))

    def make_shaper(self) -> Shaper:
        """What shapes its links."""
        if self.shaper == NETEM:
            return NetemShaper(self.rig)
        return QueueShaper(self.rig, settings_file(self.rig))

    def with_faults(self, name: str, faults: Faults) -> State:
        """The same with other faults of a device."""
        return replace(self, faults={**self.faults, name: faults})

    def with_pid(self, name: str, pid: int) -> State:
        """The same with one more process."""
        return replace(self, pids={**self.pids, name: pid})

    def save(self) -> None:
        """Write it down, whole or not at all."""
        file = state_file(self.rig.prefix)
        partial = file.with_suffix(".new")
        partial.write_text(json.dumps(asdict(self), indent=1))
        partial.replace(file)


def state_file(prefix: str) -> Path:
    """Where the state of a rig is written down."""
    return folder_of(prefix) / "rig.json"


def settings_file(rig: Rig) -> Path:
    """What the delay line reads."""
    return rig.folder / "delays"


def control_file(rig: Rig, node: Node) -> Path:
    """What the agent of a device reads."""
    return rig.folder / node.name / "control"


def find(prefix: str) -> State | None:
    """The state of a rig; None where there is no record, or one that cannot be read."""
    try:
        tree = json.loads(state_file(prefix).read_text())
        faults = {name: Faults(**each) for name, each in tree.pop("faults").items()}
        return State(**{**tree, "rig": rig_from(tree["rig"]), "faults": faults})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def load(prefix: str) -> State:
    """The state of a rig that is up.

    Raises:
        RigError: If it is not up.
    """
    state = find(prefix)
    if state is None or not state.ready or not Path("/run/netns", state.rig.hub).exists():
        raise RigError(f"no rig `{prefix}` is up", f"bench/lab/rig --prefix {prefix} up --nodes 10", status=FAILED)
    return state


@contextlib.contextmanager
def locked(prefix: str) -> Iterator[None]:
    """One command at a time changes a rig; the folder of its state is there meanwhile."""
    folder = folder_of(prefix)
    while True:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                # While we waited, `down` may have removed this folder and `up` have made another.
                if os.path.samestat(os.fstat(handle), folder.stat()):
                    yield
                    return
            finally:
                os.close(handle)
