"""Starting: `cocoi --help` against importing typer, the demo from start to answer, an agent's memory.

    python bench/startup.py [--rounds 9] [--demos 3] [--json FILE]

`cocoi --help` and `python -c 'import typer'` are whole processes of the same interpreter that
take turns; the ratio is the median of the ratios within a turn. The demo is the command of
`make demo`, from the start of its process to its end, answer and check included. Memory is
the resident set of an agent that has greeted and computed nothing, where /proc tells it;
what it becomes with programs at work is measured by bench/agent.py.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COCOI = [sys.executable, "-m", "cocoi_cli"]
TYPER = [sys.executable, "-c", "import typer"]
DEMO = ("infer", "models/samples/stop.png", "--embedded", "6", "--k", "4", "--kill", "1", "--check")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="turns of the two short commands (default 9)")
    parser.add_argument("--demos", type=int, default=3, help="runs of the demo (default 3)")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    report = measure(options.rounds, options.demos)
    for name, value in report.items():
        print(f"{name:16}{value if value is None else round(value, 3)}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(rounds: int, demos: int) -> dict[str, float | None]:
    """Medians; seconds, megabytes and one ratio."""
    help_command = [*_cocoi(), "--help"]
    turns = [(seconds(help_command), seconds(TYPER)) for _ in range(rounds + 1)][1:]
    return {
        "help_s": statistics.median(turn[0] for turn in turns),
        "typer_s": statistics.median(turn[1] for turn in turns),
        "help_by_typer": statistics.median(turn[0] / turn[1] for turn in turns),
        "demo_s": statistics.median(seconds([*_cocoi(), *DEMO]) for _ in range(demos)),
        "agent_mb": resident_megabytes(),
    }


def seconds(command: list[str]) -> float:
    """Wall time of a process that must succeed."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    return time.perf_counter() - begun


def resident_megabytes() -> float | None:
    """Resident set of a fresh agent; None where the system does not tell."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "agent")}
    command = [sys.executable, "-m", "cocoi_agent", "--embedded", "--security", "none"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as agent:
        assert agent.stdin is not None
        assert agent.stdout is not None
        agent.stdout.readline()  # it listens
        status = Path(f"/proc/{agent.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        agent.stdin.close()  # and ends
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:")), None)


def _cocoi() -> list[str]:
    """The installed command, so that what its launcher costs counts too."""
    installed = Path(sys.executable).parent / "cocoi"
    return [str(installed)] if installed.exists() else COCOI


if __name__ == "__main__":
    main()
