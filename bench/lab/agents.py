"""The agents of a rig: started as members of their device, awaited, and found again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.lab.errors import MACHINE, RigError
from bench.lab.layout import PORT
from bench.lab.state import control_file
from bench.lab.system import inside, joining

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.lab.cgroups import Groups
    from bench.lab.layout import Node, Rig

ROOT: Final = Path(__file__).resolve().parents[2]
NEEDED: Final = ("msgpack", "numpy", "onnxruntime")

_START_S: Final = 180.0  # ten imports of ONNX Runtime at once on one loaded core
_LISTENING: Final = "0A"  # in /proc/net/tcp
_PAUSE_S: Final = 0.02


def find_python(asked: str | None) -> str:
    """The interpreter of the agents: the one asked for, else this one, else that of the checkout.

    Raises:
        RigError: If it lacks what an agent needs.
    """
    here = ROOT / ".venv" / "bin" / "python"
    candidates = [asked] if asked else [sys.executable, str(here)]
    found = next((each for each in candidates if _can_run_agents(each)), None)
    if found is None:
        hint = "`make venv` makes one that has everything; --python names another"
        raise RigError(f"`{candidates[-1]}` has no {', '.join(NEEDED)} for the agents", hint, status=MACHINE)
    return found


def _can_run_agents(python: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {NEEDED})))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def environment() -> dict[str, str]:
    """Of everything that the rig starts in the agents' interpreter: this checkout, one thread, no remarks."""
    own = {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "agent")]),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    return {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"} | own


def module(rig: Rig, name: str) -> list[str]:
    """Words that run a module of this folder in the agents' interpreter; nothing is imported from where they run."""
    return [rig.python, "-P", "-m", f"bench.lab.{name}"]


def start(rig: Rig, groups: Groups, node: Node) -> subprocess.Popen[bytes]:
    """Start the agent of a device; it outlives this process.

    Its store is kept, as that of a device is when its power fails.
    """
    folder = rig.folder / node.name
    words = ["--id", node.name, "--host", rig.address(node), "--port", str(PORT), "--store", str(folder / "store")]
    words += ["--security", rig.security]
    if rig.security == "tls":
        files = {"--cert": "agent.crt", "--key": "agent.key", "--peer": "hosts.crt"}
        words += [word for option, name in files.items() for word in (option, str(folder / name))]
    call = [*joining(groups.entrances(node.name)), *inside(rig.namespace(node)), *module(rig, "agent")]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [*call, str(control_file(rig, node)), *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=environment(),
            start_new_session=True,
        )


def wait_until_listening(rig: Rig, started: Mapping[str, subprocess.Popen[bytes]]) -> None:
    """Wait until every agent takes connections.

    Raises:
        RigError: If one ends instead, with its last words, or does not within three minutes.
    """
    end = time.monotonic() + _START_S
    for name, process in started.items():
        while not is_listening(process.pid):
            log = rig.folder / name / "log"
            if process.poll() is not None:
                raise RigError(f"the agent of `{name}` ended with status {process.returncode}: {_last_line(log)}")
            if time.monotonic() > end:
                raise RigError(f"the agent of `{name}` does not listen after {_START_S:g} s: {_last_line(log)}")
            time.sleep(_PAUSE_S)


def is_listening(pid: int) -> bool:
    """Whether somebody in the network namespace of this process listens on the agents' port."""
    try:
        rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    except OSError:  # gone
        return False
    return any(row[3] == _LISTENING and row[1].endswith(f":{PORT:04X}") for row in rows)


def fleet_text(rig: Rig) -> str:
    """The fleet file of the rig."""
    lines = [
        "# Made by bench/lab/rig. Inside `rig exec host` only: these addresses exist nowhere else,",
        "# and there is no SSH behind them.",
        f'id = "rig-{rig.prefix}"',
        f'security = "{rig.security}"',
    ]
    for node in rig.nodes:
        lines += ["", f"[devices.{node.name}]", f'ssh = "{node.name}"', f'address = "{rig.address(node)}"']
        lines += [f"port = {PORT}"]
    return "\n".join(lines) + "\n"


def make_keys(rig: Rig) -> None:
    """Make the certificates of host and agents.

    Raises:
        RigError: With the last line of what went wrong.
    """
    done = subprocess.run(
        [*module(rig, "keys"), str(rig.fleet_file), str(rig.folder)],
        env={**environment(), **host_environment(rig)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RigError(f"no certificates could be made: {(done.stderr.strip() or 'no reason given').splitlines()[-1]}")


def host_environment(rig: Rig) -> dict[str, str]:
    """What `cocoi` and the fault script read, for commands in the coordinator's place."""
    return {
        "COCOI_FLEET": str(rig.fleet_file),
        "COCOI_DATA": str(rig.folder / "data"),
        "COCOI_RIG_PREFIX": rig.prefix,
        "PATH": os.pathsep.join([str(Path(rig.python).parent), os.environ.get("PATH", os.defpath)]),
    }


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it said nothing"
