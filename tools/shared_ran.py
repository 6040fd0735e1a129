"""Check that every test on the development data ran.

    python tools/shared_ran.py REPORT COLLECTED

REPORT is pytest's JUnit document of a whole run, COLLECTED the output of
`pytest -m shared --collect-only -q`. Exit 1 if one of the tests was skipped, is not in
the report, or if there are none.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET  # a document that our own pytest has just written
from pathlib import Path


def main(report: Path, collected: Path) -> int:
    """Compare the two files; return the exit status."""
    wanted = {test_name(line) for line in collected.read_text(encoding="utf-8").splitlines() if "::" in line}
    ran, skipped = outcomes(report)
    missing = wanted - ran
    if not wanted or missing or skipped:
        names = "".join(f"\n       {name}" for name in sorted({*missing, *skipped}))
        sys.stderr.write(f"error: of {len(wanted)} tests on the development data, {len(missing)} did not run{names}\n")
        return 1
    sys.stdout.write(f"==> all {len(wanted)} tests on the development data ran\n")
    return 0


def test_name(node: str) -> str:
    """`tests/a/test_b.py::TestC::test_d[e]` as the report has it: `tests.a.test_b.TestC::test_d[e]`."""
    place, bracket, parameters = node.partition("[")
    file, *groups, test = place.split("::")
    return f"{'.'.join([file.removesuffix('.py').replace('/', '.'), *groups])}::{test}{bracket}{parameters}"


def outcomes(report: Path) -> tuple[set[str], set[str]]:
    """Names of the tests that ran, and of those skipped for want of the development data."""
    ran: set[str] = set()
    absent: set[str] = set()
    for case in ET.parse(report).iter("testcase"):  # noqa: S314 - as above
        name = f"{case.get('classname')}::{case.get('name')}"
        skip = case.find("skipped")
        if skip is None:
            ran.add(name)
        elif "development data" in (skip.get("message") or ""):
            absent.add(name)
    return ran, absent


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
