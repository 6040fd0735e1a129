"""The benchmark: every part in turn, one table, one JSON document.

    python bench/run.py [--only wire,host] [--json FILE]

A part is a script of this folder that measures and writes JSON; bench/bars.py says what is
held against which bar. All bars but those in seconds, microseconds and megabytes are ratios
of things measured in turns within one run, so they hold on a slower machine too; none is a
test. A missed bar is said plainly and changes nothing about the exit status.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bars import PARTS, Row

FOLDER = Path(__file__).resolve().parent
PACKAGES = ("cocoi", "numpy", "onnxruntime", "msgpack", "typer")
NAME_WIDTH, FIGURE_WIDTH = 52, 9


def main() -> int:
    """Measure, print, write; 1 if a part failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    options = parser.parse_args()
    names = options.only.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"no part `{unknown[0]}`; there are {', '.join(PARTS)}")
    conditions, parts, rows = conditions_now(), {}, []
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        load, begun = load_average(), time.perf_counter()
        report = run_part(name)
        if report is not None:
            found = PARTS[name](report)
            rows += found
            parts[name] = {
                "seconds": time.perf_counter() - begun,
                "load": load,
                "rows": [{**asdict(row), "name": row.name.strip(), "met": row.met} for row in found],
                "figures": report,
            }
    print_table(conditions, rows)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"conditions": conditions, "parts": parts}, indent=2) + "\n")
        print(f"\nall figures: {options.json}")
    return 0 if len(parts) == len(names) else 1


def run_part(name: str) -> dict[str, Any] | None:
    """Run the script of a part in a process of its own; None if it failed, which has then been said."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        done = subprocess.run(
            [sys.executable, str(FOLDER / f"{name}.py"), "--json", str(out)],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode == 0:
            report: dict[str, Any] = json.loads(out.read_text())
            return report
    print(f"{name} failed with status {done.returncode}:\n{done.stdout}", file=sys.stderr)
    return None


def conditions_now() -> dict[str, Any]:
    """The machine and what runs on it."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "load": load_average(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
    }


def processor() -> str:
    """The processor's name as far as the system tells it."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text().splitlines() if listing.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def load_average() -> float | None:
    """Processes that wanted to run during the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def print_table(conditions: dict[str, Any], rows: list[Row]) -> None:
    """Conditions, then a line for each row; 80 columns."""
    packages = ", ".join(f"{name} {version}" for name, version in conditions["packages"].items())
    print(f"\n{conditions['processor']}, {conditions['cores']} cores, load {conditions['load']} at the start")
    print(f"Python {conditions['python']}, {packages}\n")
    print(f"{'':{NAME_WIDTH}}{'measured':>{FIGURE_WIDTH}}{'bar':>{FIGURE_WIDTH}}")
    for row in rows:
        sign = ">=" if row.at_least else "<="
        bar = "" if row.bar is None else f"{sign} {row.bar:g}"
        verdict = {True: "  met", False: "  missed", None: ""}[row.met]
        print(f"{row.name:{NAME_WIDTH}}{figure(row):>{FIGURE_WIDTH}}{bar:>{FIGURE_WIDTH}}{verdict}".rstrip())
    held = [row for row in rows if row.met is not None]
    print(
        f"\n{sum(bool(row.met) for row in held)} of {len(held)} bars met; ratios are medians of turns within this run"
    )


def figure(row: Row) -> str:
    """A number with three digits and its unit."""
    digits = 0 if row.measured >= 100 else 1 if row.measured >= 10 else 2
    return f"{row.measured:.{digits}f}{' ' if row.unit else ''}{row.unit}"


if __name__ == "__main__":
    sys.exit(main())
