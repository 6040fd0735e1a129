"""The benchmark's scripts start: what they import and measure has not moved away from under them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
SCRIPTS = sorted(path.name for path in BENCH.glob("*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_starts(name: str) -> None:
    done = subprocess.run([sys.executable, str(BENCH / name), "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_cost_of_a_share_on_the_host_is_measured(script) -> None:
    """One inference over real agents: every clock finds the function that it is put around."""
    host = script("host")
    figures = host.measure(rounds=1, sizes=((3, 2),), secure=(False,))
    assert figures["(3,2)"]["shares"] > 0
    assert 0 < figures["(3,2)"]["us_per_frame"] < figures["(3,2)"]["all_us_per_frame"]
