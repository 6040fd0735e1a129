"""Looking at real processes from outside: who lives, who listens, what lies about."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

PS = shutil.which("ps") or "/bin/ps"
PATIENCE_S = 30.0  # what is bounded takes well below a second; the rest is for a loaded machine
LINES = {"fleet": "fleet: ", "plan": "plan: ", "stage": "stage "}


def until(condition: Callable[[], bool], what: str) -> None:
    """Look until something holds; fail when it does not within `PATIENCE_S`."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


def unexpected(warnings: Iterable[str], frozen: str | None = None) -> list[str]:
    """Warnings of an inference without those that say only that this machine stood still for a moment.

    The heartbeat may notice the agent that a test has `frozen`: that depends on how long the rest takes.
    """
    late = " is not waited for: it has not taken the weights in time"
    missed = f"{frozen} was lost: "
    return [text for text in warnings if not text.endswith(late) and not text.startswith(missed)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    done = subprocess.run([PS, "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state = done.stdout.strip()
    return bool(state) and not state.startswith("Z")


def children(pid: int) -> list[int]:
    """The processes that this one has started and that run."""
    done = subprocess.run([PS, "-Ao", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return [int(child) for child, parent, stat in rows if int(parent) == pid and not stat.startswith("Z")]


def listening(pids: Iterable[int]) -> set[int]:
    """Inodes of the listening sockets that these processes hold; nothing where /proc is absent."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return set()
    rows = [line.split() for line in table.read_text().splitlines()[1:]]
    waiting = {row[9] for row in rows if row[3] == "0A"}
    held = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                name = str(link.readlink())
            except OSError:
                continue
            if name.startswith("socket:[") and name[8:-1] in waiting:
                held.add(int(name[8:-1]))
    return held


def still_listening(inodes: set[int]) -> set[int]:
    """Those of the sockets that anybody still listens on."""
    table = Path("/proc/net/tcp")
    rows = [line.split() for line in table.read_text().splitlines()[1:]] if table.exists() else []
    return {int(row[9]) for row in rows if row[3] == "0A"} & inodes


def deep_network(layers: int, *, size: int = 64, channels: int = 8, unfit: bool = False) -> ModelProto:
    """So many convolutions in a row, input `x` `(1, channels, size, size)`; with `unfit` the last node fails."""
    rng = np.random.default_rng(11)
    nodes, weights, name = [], [], "x"
    for layer in range(layers):
        values = rng.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels)
        weights.append(numpy_helper.from_array(values.astype(np.float32), f"w{layer}"))
        nodes.append(helper.make_node("Conv", [name, f"w{layer}"], [f"c{layer}"], name=f"conv{layer}", pads=[1] * 4))
        nodes.append(helper.make_node("Tanh", [f"c{layer}"], [f"t{layer}"]))
        name = f"t{layer}"
    if unfit:
        weights.append(numpy_helper.from_array(np.array([1, 1, 7], np.int64), "shape"))
        nodes.append(helper.make_node("Reshape", [name, "shape"], ["y"]))
    else:
        nodes.append(helper.make_node("Identity", [name], ["y"]))
    shape = [1, channels, size, size]
    graph = helper.make_graph(
        nodes,
        "deep",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None if unfit else shape)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@dataclass
class Running:
    """A `cocoi` that was started: its standard error as far as it was read, its agents, its temporary folder."""

    process: subprocess.Popen
    folder: Path
    seen: list[str] = field(default_factory=list)

    def read_until(self, line: str) -> None:
        """Read standard error until a line begins like this."""
        for text in self.process.stderr:
            self.seen.append(text)
            if text.startswith(line):
                return
        raise AssertionError(f"no line `{line}` in {self.seen}")

    def agents(self) -> list[int]:
        """Process ids of its agents."""
        return children(self.process.pid)

    def finish(self) -> tuple[int, str, str]:
        """Exit status, standard output and the rest of standard error."""
        out, err = self.process.communicate(timeout=2 * PATIENCE_S)
        return self.process.returncode, out, "".join(self.seen) + err

    def left(self) -> list[str]:
        """Temporary files of ours that are still there; ONNX Runtime leaves one of its own."""
        return sorted(path.name for path in self.folder.glob("cocoi-*"))


class Commands:
    """Starts `cocoi` with a temporary folder of its own; whatever still runs at the end is killed."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self._repository = repository
        self._folder = folder
        self._started: list[Running] = []

    def start(self, *arguments: object, more_path: Path | None = None) -> Running:
        """Start it in a process group of its own, as a shell would."""
        temporary = self._folder / f"tmp{len(self._started)}"
        temporary.mkdir()
        paths = [*([more_path] if more_path else []), self._repository, self._repository / "agent"]
        process = subprocess.Popen(
            [sys.executable, "-m", "cocoi_cli", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "TMPDIR": str(temporary)},
            process_group=0,
        )
        running = Running(process, temporary)
        self._started.append(running)
        return running

    def close(self) -> None:
        """Kill what the tests left running, and let go of the pipes."""
        for running in self._started:
            running.process.kill()
            running.process.wait(PATIENCE_S)
            for pipe in (running.process.stdout, running.process.stderr):
                pipe.close()
